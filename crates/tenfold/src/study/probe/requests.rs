//! Whole requests under a load.

use super::bench::Bench;
use crate::adapter::Tuning;
use crate::error::Result;
use crate::eval;
use crate::load::{self, Length, Plan, Wall};
use crate::record::{Arrivals, Load};
use crate::study::config::Probing;
use crate::train::{Rows, Source};

impl Bench<'_> {
    /// Whether there are requests: a language model that is asked nothing answers nothing.
    pub(super) fn answers_requests(&self) -> bool {
        !self.session.task.requests.is_empty() || self.asked().is_some()
    }

    /// Whole requests under one load, the round's share of them.
    pub(super) fn load(&self, tuning: &Tuning, arrivals: Arrivals) -> Result<Load> {
        let answer = |number: usize, token: &mut dyn FnMut()| self.answer(tuning, number, token);
        let Probing { servers, warm_up, seconds, requests, rounds, .. } = *self.probing;
        let seconds = (seconds > 0.0).then_some(Length::Seconds(seconds / rounds as f64));
        let length = seconds.unwrap_or(Length::Requests(requests.div_ceil(rounds)));
        let plan = Plan { arrivals, servers, warm_up, length, seed: self.seed };
        // Servers share out the threads, and have one each at the least.
        let threads = self.threads().max(servers);
        let (load, disturbance) = self.watched(threads, || load::run(&plan, &answer, &Wall::start()))?;
        Ok(Load { disturbance: Some(disturbance), ..load })
    }

    /// Test rows that a language model is asked about.
    fn asked(&self) -> Option<&Rows> {
        self.session
            .task
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
            let source = Source::new(&*self.session.base.model, &row);
            std::hint::black_box(eval::answers(tuning, &source, &|| self.go_on(), token)?);
            return Ok(());
        }
        if let Some(rows) = self.session.task.requests.rows(&self.session.base, &self.session.task, number)? {
            let source = Source::new(&*self.session.base.model, &rows);
            std::hint::black_box(eval::score(tuning, &source, || Ok(()))?.answers);
        }
        Ok(())
    }
}
