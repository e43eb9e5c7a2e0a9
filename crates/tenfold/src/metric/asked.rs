//! Of metric 8: tasks that the tuned models were asked without being trained on them.

use super::{Direction, Evidence, Figure, Outcomes, Reading, Unit};
use crate::record::{Answers, Asked, Said};
use crate::score::{Scoring, mmlu_category, scoring};
use crate::statistics::Rows;
use std::collections::BTreeMap;

/// Of every task the score over all of its rows, the base model's own, and the gain on the same rows; of MMLU each
/// category as well.
pub(super) fn figures(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let methods = &evidence.study.methods;
    let mut tasks: BTreeMap<&str, &Asked> = BTreeMap::new();
    for method in methods {
        tasks.extend(evidence.asked(&method.name).into_iter().map(|(task, _, asked)| (task, asked)));
    }
    let mut figures = Vec::new();
    for (task, example) in tasks {
        let Ok(by) = scoring(&example.metric) else { continue };
        let runs: Vec<&Asked> = evidence
            .asked(method)
            .into_iter()
            .filter(|(name, ..)| *name == task)
            .map(|(.., run)| run)
            .collect();
        figures.extend(over(by, task, &runs, |_| true));
        for category in categories(example) {
            let of = |domain: &str| mmlu_category(domain) == Some(category);
            figures.extend(over(by, &format!("{task} {category}"), &runs, of));
        }
    }
    figures
}

/// The categories of MMLU, if every domain is one of its subjects.
fn categories(asked: &Asked) -> Vec<&'static str> {
    let known: Option<Vec<&str>> = asked.after.iter().map(|said| mmlu_category(&said.domain)).collect();
    let mut known = known.filter(|known| known.len() > 1).unwrap_or_default();
    known.sort_unstable();
    known.dedup();
    known
}

/// The figures over the domains that are wanted.
fn over(by: &'static Scoring, label: &str, runs: &[&Asked], wanted: impl Fn(&str) -> bool) -> [Figure; 3] {
    let all = |said: &[Said]| {
        let mut of = said.iter().filter(|said| wanted(&said.domain)).map(|said| said.answers.clone());
        let first = of.next()?;
        of.try_fold(first, Answers::and)
    };
    let tuned: Option<Vec<Answers>> = runs.iter().map(|run| all(&run.after)).collect();
    let tuned = tuned.and_then(|answers| Outcomes::of_answers(by, answers));
    let before = runs.first().and_then(|run| Outcomes::of_answers(by, vec![all(&run.before)?]));
    let both = tuned.as_ref().zip(before.as_ref());
    let gain = both.and_then(|(tuned, before)| {
        tuned.combined(before, Rows::Same, |tuned, before| by.shortfall(tuned, before))
    });
    let why = if runs.is_empty() { "no finished run" } else { "not defined on these answers" };
    let figure = |end: &str, words: &str, unit: Unit, direction, found| {
        let key = format!("{}{end}", label.replace(' ', "_"));
        Figure::new(key, format!("{label}{words}"), unit, direction, Reading::measured(found, why))
    };
    let estimate = |outcomes: Option<&Outcomes>| outcomes.map(Outcomes::estimate);
    [
        figure("", ", asked", by.unit, by.direction, estimate(tuned.as_ref())),
        figure("_before", ", before tuning", by.unit, by.direction, estimate(before.as_ref())),
        figure("_gain", ", gain", by.unit.of_difference(), Direction::Higher, gain),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;
    use crate::record::{Outcome, Role};

    fn said(domain: &str, right: &[u32]) -> Said {
        let answers = Answers::Labels { labels: vec![1; right.len()], predictions: right.to_vec() };
        Said { domain: domain.into(), answers }
    }

    #[test]
    fn a_task_is_scored_over_all_rows_before_and_after_and_mmlu_by_category() {
        let world = World::new();
        let evidence = world.evidence();
        let mut records = evidence.records.to_vec();
        records.retain(|record| record.trial.method == "lora" && record.trial.role == Role::Main);
        for record in &mut records {
            record.trial.role = Role::Asked { name: "mmlu".into() };
            record.outcome = Outcome::Asked(Box::new(Asked {
                metric: "accuracy".into(),
                num_fewshot: 0,
                before: vec![said("anatomy", &[1, 0]), said("econometrics", &[0, 0, 0, 0])],
                after: vec![said("anatomy", &[1, 1]), said("econometrics", &[1, 0, 0, 0])],
            }));
        }
        let evidence = Evidence::new(evidence.study.clone(), &records);
        let found = figures(&evidence, "lora");
        let value = |key: &str| {
            let figure = found.iter().find(|figure| figure.key == key).unwrap_or_else(|| panic!("{found:?}"));
            figure.reading.estimate().unwrap().value
        };
        assert_eq!((value("mmlu"), value("mmlu_before")), (0.5, 1.0 / 6.0));
        assert!((value("mmlu_gain") - 1.0 / 3.0).abs() < 1e-12);
        let categories = found.iter().filter(|figure| figure.key.ends_with("_before")).count();
        assert_eq!(categories, 3, "{found:?}");
        // A method that was not asked has none of it, and says so.
        let others = figures(&evidence, "full");
        assert_eq!(others.len(), found.len());
        assert!(others.iter().all(|figure| figure.reading.estimate().is_none()));
    }
}
