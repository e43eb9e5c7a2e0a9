//! Studies of any size, for measuring how long a report of them takes.

use super::{METHODS, World, record, trained};
use crate::metric::{Evidence, MethodFacts, StudyFacts};
use crate::record::{Answers, Outcome, Record, Role, Trained};
use crate::score::Kind;
use crate::statistics::SplitMix;

/// Share of rows on which a run differs from the other runs of its method by chance.
const OWN: f64 = 0.06;

/// A study of so many methods, seeds and test rows in one domain.
pub(crate) struct Sized {
    records: Vec<Record>,
    study: StudyFacts,
}

impl Sized {
    /// A study whose answers are of this kind and scored by `metric`; two labels where they are labels.
    pub(crate) fn new(methods: usize, seeds: usize, rows: usize, (kind, metric): (Kind, &str)) -> Sized {
        let mut random = SplitMix::new(7);
        let truth: Vec<f64> = (0..rows).map(|_| random.uniform()).collect();
        let hardness: Vec<f64> = (0..rows).map(|_| random.uniform()).collect();
        let row = &METHODS[0];
        let blank = trained(&mut random, row, 0.8, &[vec![0.5; 8]], 40);
        let (mut records, mut facts) = (Vec::new(), Vec::new());
        for method in 0..methods {
            let name = if method == 0 { "full".to_owned() } else { format!("lora-{method}") };
            for seed in 0..seeds as u64 {
                let skill = 0.9 - 0.2 * method as f64 / methods as f64 + 0.004 * random.normal();
                let answers = answers(kind, &truth, &hardness, skill, &mut random);
                let run = answered(&blank, metric, answers);
                records.push(record(&name, Role::Main, seed, Outcome::Trained(Box::new(run))));
            }
            let kind = if method == 0 { "full" } else { "lora" };
            let title = format!("Method {method}");
            facts.push(MethodFacts { name, title, kind: kind.to_owned(), ..MethodFacts::default() });
        }
        let seeds = (0..seeds as u64).collect();
        let study = StudyFacts { methods: facts, seeds, ..World::drawn(0).evidence().study };
        Sized { records, study }
    }

    /// What the metrics look at.
    pub(crate) fn evidence(&self) -> Evidence<'_> {
        Evidence::new(self.study.clone(), &self.records)
    }
}

fn answered(blank: &Trained, metric: &str, answers: Answers) -> Trained {
    let mut run = blank.clone();
    run.metric = metric.to_owned();
    run.tests.truncate(1);
    let scoring = crate::score::scoring(metric).unwrap();
    run.tests[0].score.value = scoring.score(&answers);
    run.tests[0].metric = metric.to_owned();
    run.tests[0].answers = answers;
    run
}

fn answers(kind: Kind, truth: &[f64], hardness: &[f64], skill: f64, random: &mut SplitMix) -> Answers {
    let mut draws = hardness.iter().map(|h| if random.uniform() < OWN { random.uniform() } else { *h });
    let label = |truth: &f64| u32::from(*truth < 0.3);
    match kind {
        Kind::Labels => {
            let said = truth.iter().zip(draws);
            let predictions = said.map(|(t, h)| if h < skill { label(t) } else { 1 - label(t) }).collect();
            Answers::Labels { labels: truth.iter().map(label).collect(), predictions }
        }
        Kind::Numbers => {
            let predictions = truth.iter().zip(draws).map(|(t, h)| skill * t + (1.0 - skill) * h).collect();
            Answers::Numbers { targets: truth.to_vec(), predictions }
        }
        Kind::Nats => Answers::Nats {
            nats: draws.by_ref().map(|h| 20.0 * (h + 1.0 - skill)).collect(),
            counts: truth.iter().map(|t| 5 + (t * 20.0) as u64).collect(),
        },
        _ => Answers::Worths(draws.map(|h| (skill - h).clamp(0.0, 1.0)).collect()),
    }
}
