//! Whole requests under loads, one after the other.

use super::Bench;
use crate::adapter::Tuning;
use crate::error::Result;
use crate::eval;
use crate::load::{self, Length, Plan, Wall};
use crate::record::{Arrivals, Load};
use crate::study::config::Probing;
use crate::train::{Rows, Source};
use std::collections::BTreeSet;

impl Bench<'_> {
    /// Whole requests under every load, the lightest first: clients, and then rates. A language model that is asked nothing
    /// answers nothing.
    pub(super) fn loads(&self, tuning: &Tuning, probing: &Probing) -> Result<Vec<Load>> {
        if self.session.requests.is_empty() && self.asked().is_none() {
            return Ok(Vec::new());
        }
        let answer = |number: usize, token: &mut dyn FnMut()| self.answer(tuning, number, token);
        let seconds = (probing.seconds > 0.0).then_some(Length::Seconds(probing.seconds));
        let length = seconds.unwrap_or(Length::Requests(probing.requests));
        let measure = |arrivals: Arrivals| {
            let Probing { servers, warm_up, .. } = *probing;
            let plan = Plan { arrivals, servers, warm_up, length, seed: self.seed };
            // Servers share out the threads, and have one each at the least.
            let threads = self.threads().max(servers);
            let run = || load::run(&plan, &answer, &Wall::start());
            let (load, disturbance) = self.least_disturbed(threads, run)?;
            Ok(Load { disturbance: Some(disturbance), ..load })
        };
        // As many clients as servers find the capacity.
        let clients: BTreeSet<usize> =
            [1, probing.servers].into_iter().chain(probing.clients.clone()).collect();
        let closed = clients.into_iter().map(|clients| measure(Arrivals::Closed { clients }));
        let mut loads = closed.collect::<Result<Vec<Load>>>()?;
        let capacity = loads.iter().map(Load::rate).fold(0.0, f64::max);
        let mut open: Vec<(f64, Option<f64>)> = probing.rates.iter().map(|rate| (*rate, None)).collect();
        open.extend(probing.utilisations.iter().map(|share| (share * capacity, Some(*share))));
        open.sort_by(|a, b| a.0.total_cmp(&b.0));
        open.dedup();
        for (rate, share) in open {
            loads.push(measure(Arrivals::Open { rate, share })?);
        }
        Ok(loads)
    }

    /// Test rows that a language model is asked about.
    fn asked(&self) -> Option<&Rows> {
        self.session
            .tests
            .first()
            .map(|(_, rows)| rows)
            .filter(|rows| rows.asked().is_some() && !rows.is_empty())
    }

    /// One whole request: text in, label out; or a question in, and which choice out, or what the model writes, `token` by
    /// token.
    fn answer(&self, tuning: &Tuning, number: usize, token: &mut dyn FnMut()) -> Result<()> {
        self.go_on()?;
        if let Some(rows) = self.asked() {
            let row = rows.select(&[number % rows.len()]);
            let source = Source::new(&*self.session.model, &row);
            std::hint::black_box(eval::answers(tuning, &source, &|| self.go_on(), token)?);
            return Ok(());
        }
        if let Some(rows) = self.session.requests.rows(self.session, number)? {
            let source = Source::new(&*self.session.model, &rows);
            std::hint::black_box(eval::score(tuning, &source, || Ok(()))?.answers);
        }
        Ok(())
    }
}
