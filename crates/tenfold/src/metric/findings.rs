//! Every figure of every method, computed once and asked for by name.

use super::contrast::{Contrast, against_full, contrasts};
use super::{Evidence, Figure, METRICS, MethodFacts, Metric, Reading, conditions, search};
use crate::score::Scoring;
use crate::statistics::{Basis, Comparison, Estimate, FEW, Judgement, compare};
use crate::words::{be, count, list};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All that the report and the recommendation rest on.
#[derive(Debug)]
pub struct Findings<'a> {
    /// Where it comes from.
    pub evidence: &'a Evidence<'a>,
    /// How the methods stand to one another in the task's own score.
    pub standing: Arc<Standing>,
    /// Every pair of methods that have a score.
    pub contrasts: Vec<Contrast>,
    figures: BTreeMap<(usize, String), Vec<Figure>>,
}

/// Scores of the methods against one another.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Names of the methods with a score, in the study's order; indices of `comparison` point here.
    pub methods: Vec<String>,
    /// Mean score of each.
    pub means: Vec<f64>,
    /// How they are scored.
    pub scoring: &'static Scoring,
    /// Every pair; a difference is above 0 where the first is better, whatever the score's direction.
    pub comparison: Comparison,
}

impl<'a> Findings<'a> {
    /// Computes all figures. Takes a second for ten thousand test rows, and half a minute for a million.
    pub fn of(evidence: &'a Evidence<'a>) -> Findings<'a> {
        evidence.draw_together();
        let mut figures = BTreeMap::new();
        for metric in METRICS {
            for method in &evidence.study.methods {
                let found = (metric.compute)(evidence, &method.name);
                figures.insert((metric.number, method.name.clone()), found);
            }
        }
        let standing = evidence.standing();
        Findings { evidence, contrasts: contrasts(evidence, &standing), standing, figures }
    }

    /// What the data say of a method against full fine-tuning at the study's margin; `None` for the yardstick itself, or
    /// where either has no score.
    pub fn against_full(&self, method: &str) -> Option<Judgement> {
        against_full(self.evidence, method)
    }

    /// What to know of the figures before relying on them: sentences.
    pub fn cautions(&self) -> Vec<String> {
        let study = &self.evidence.study;
        let mut cautions: Vec<String> = self.not_run().into_iter().collect();
        cautions.extend(self.few_seeds().into_iter().chain(self.without_interval()));
        let draws = study.small_data_draws;
        if !study.small_data.is_empty() && draws < FEW {
            cautions.push(format!(
                "The small-data curves rest on {} of each size, fewer than {FEW}: their intervals are wide, or none.",
                count(draws, "draw")
            ));
        }
        cautions.extend(conditions::caution(self.evidence));
        cautions.extend(self.search_cautions());
        cautions
    }

    /// That a part of the study was not run, if it was not.
    fn not_run(&self) -> Option<String> {
        let missing = &self.evidence.study.missing;
        let trials: usize = missing.values().sum();
        let methods: Vec<&str> = missing.keys().map(String::as_str).collect();
        (trials > 0).then(|| {
            let (trials, are) = (count(trials, "trial"), be(trials));
            format!("Not all of the study was run: {trials} of {} {are} missing here.", list(&methods))
        })
    }

    /// That the scores rest on few seeds, if they do, or that some seeds of some methods came to none: sentences.
    pub fn few_seeds(&self) -> Option<String> {
        let seeds = self.evidence.study.seeds.len();
        let few = Basis::of(seeds).words().map(|words| format!("Scores rest on {words}."));
        let fewer = self.methods().iter().filter_map(|method| {
            let finished = self.evidence.main(&method.name).len();
            (1..seeds).contains(&finished).then(|| format!("{finished} of {}", method.title))
        });
        let fewer: Vec<String> = fewer.collect();
        let fewer = (!fewer.is_empty()).then(|| {
            format!(
                "Not all of the {seeds} seeds finished, and those that did may be the lucky ones: {}.",
                list(&fewer)
            )
        });
        let both: Vec<String> = few.into_iter().chain(fewer).collect();
        (!both.is_empty()).then(|| both.join(" "))
    }

    /// That drawing test rows anew says nothing of some scores, if so: a sentence.
    fn without_interval(&self) -> Option<String> {
        let titled = self.methods().iter().filter_map(|method| {
            let outcomes = self.evidence.outcomes(&method.name, None)?;
            outcomes.estimate().low.is_none().then(|| (method.title.as_str(), outcomes.rows()))
        });
        let (titles, rows): (Vec<&str>, Vec<usize>) = titled.unzip();
        let rows = rows.into_iter().min()?;
        let why = if rows == 1 {
            "one test row tells nothing of others".to_owned()
        } else {
            format!("drawing {} anew leaves them as they are, or undefined", count(rows, "test row"))
        };
        Some(format!("The scores of {} have no interval: {why}.", list(&titles)))
    }

    /// What to know of the searches before relying on what they took: sentences.
    pub fn search_cautions(&self) -> Vec<String> {
        search::cautions(self.evidence)
    }

    /// Marks a figure as measured on a disturbed machine.
    #[cfg(test)]
    pub(crate) fn disturb(&mut self, method: &str, metric: &str, key: &str, by: &str) {
        let number = METRICS.iter().find(|m| m.name == metric).map_or(0, |m| m.number);
        let figures = self.figures.get_mut(&(number, method.to_owned())).into_iter().flatten();
        figures.filter(|figure| figure.key == key).for_each(|figure| figure.disturbed = Some(by.to_owned()));
    }

    /// The study's methods.
    pub fn methods(&self) -> &[MethodFacts] {
        &self.evidence.study.methods
    }

    /// The figures of one metric for one method.
    pub fn figures(&self, metric: &Metric, method: &str) -> &[Figure] {
        self.figures.get(&(metric.number, method.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// One figure, by the metric's name and the figure's key.
    pub fn figure(&self, method: &str, metric: &str, key: &str) -> Option<&Figure> {
        let metric = METRICS.iter().find(|m| m.name == metric)?;
        self.figures(metric, method).iter().find(|figure| figure.key == key)
    }

    /// The number of one figure, where there is one.
    pub fn estimate(&self, method: &str, metric: &str, key: &str) -> Option<Estimate> {
        self.figure(method, metric, key)?.reading.estimate().copied()
    }

    /// The number of one figure that may decide something: `None` also where the machine was disturbed while it was
    /// measured. [`Findings::why_missing`] says which.
    pub fn deciding_estimate(&self, method: &str, metric: &str, key: &str) -> Option<Estimate> {
        let figure = self.figure(method, metric, key)?;
        figure.reading.estimate().filter(|_| figure.disturbed.is_none()).copied()
    }

    /// Whether the machine was disturbed while any figure was measured.
    pub fn any_disturbed(&self) -> bool {
        self.figures.values().flatten().any(|figure| figure.mark().is_some())
    }

    /// Why one figure is missing, or decides nothing.
    pub fn why_missing(&self, method: &str, metric: &str, key: &str) -> String {
        match self.figure(method, metric, key) {
            Some(Figure { reading: Reading::Unavailable { reason }, .. }) => reason.clone(),
            Some(Figure { disturbed: Some(disturbed), .. }) => {
                format!("disturbed while it was measured: {disturbed}")
            }
            _ => "not measured".to_owned(),
        }
    }
}

impl Standing {
    /// Compares all methods that have a score in the domain trained on.
    pub fn of(evidence: &Evidence) -> Standing {
        let (mut methods, mut means, mut runs) = (Vec::new(), Vec::new(), Vec::new());
        for method in &evidence.study.methods {
            let Some(outcomes) = evidence.outcomes(&method.name, None) else { continue };
            if let Some(by_row) = outcomes.by_row() {
                methods.push(method.name.clone());
                means.push(outcomes.mean());
                runs.push(by_row.clone());
            }
        }
        Standing { methods, means, scoring: evidence.scoring(), comparison: compare(&runs) }
    }

    /// Index of the method with the best mean score, the first of equals.
    pub fn best(&self) -> Option<usize> {
        let better = |a: usize, b: usize| self.scoring.is_better(Some(self.means[b]), Some(self.means[a]));
        (0..self.means.len()).reduce(|best, next| if better(best, next) { next } else { best })
    }

    /// Index of a method.
    pub fn place(&self, method: &str) -> Option<usize> {
        self.methods.iter().position(|name| name == method)
    }

    /// What the data say of a method against another at a margin in the score's unit. Every statement about a pair comes
    /// from here. `None` where either has no score, or they were not scored on the same rows.
    pub fn judged(&self, method: &str, other: &str, margin: f64) -> Option<Judgement> {
        Some(self.comparison.pair(self.place(method)?, self.place(other)?)?.judged(margin))
    }

    /// The letters of a method.
    pub fn letters(&self, method: &str) -> Option<String> {
        self.comparison.letters(self.place(method)?)
    }

    /// Whether the data do not tell a method from any other of the best one's group.
    pub fn is_in_best_group(&self, method: &str) -> bool {
        self.place(method).is_some_and(|place| self.comparison.groups[place].contains(&0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;
    use crate::record::Outcome;

    /// Findings of the study with its test splits cut to these rows.
    fn cautions(picks: &[u32]) -> Vec<String> {
        let mut world = World::new();
        for record in &mut world.records {
            if let Outcome::Trained(run) = &mut record.outcome {
                run.tests.iter_mut().for_each(|test| test.answers = test.answers.select(picks));
            }
        }
        Findings::of(&world.evidence()).cautions()
    }

    #[test]
    fn scores_without_an_interval_say_why() {
        let of = |picks: &[u32]| cautions(picks).into_iter().find(|caution| caution.contains("no interval"));
        let one = of(&[3]).unwrap();
        assert!(
            one.contains("Full fine-tuning; ") && one.ends_with("one test row tells nothing of others."),
            "{one}"
        );
        assert_eq!(of(&[0, 1, 2, 3, 4, 5, 6, 7]), None);
    }

    #[test]
    fn seeds_that_came_to_nothing_are_told() {
        let mut world = World::new();
        let lost = world.records.iter_mut().find(|record| record.trial.method == "lora").unwrap();
        lost.outcome = Outcome::Failed { reason: "NaN".into() };
        let cautions = Findings::of(&world.evidence()).cautions();
        assert!(cautions[0].contains("Not all of the 3 seeds finished"), "{cautions:?}");
        assert!(cautions[0].ends_with(": 2 of LoRA, rank 8."), "{cautions:?}");
    }

    #[test]
    fn two_seeds_say_what_their_intervals_are_worth() {
        let world = World::with_seeds(2);
        let cautions = Findings::of(&world.evidence()).cautions();
        assert!(cautions.iter().any(|caution| caution.contains("held the truth in 91 %")), "{cautions:?}");
    }
}
