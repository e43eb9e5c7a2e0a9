//! The score of always giving the same answer: a model that is not shown to be better has learnt nothing of use.

use super::{Evidence, Outcomes};
use crate::record::Answers;
use crate::statistics::{Judgement, Runs, Verdict, compare_with_constant};
use std::collections::BTreeMap;

/// The best constant answer to the test rows of the domain trained on. By accuracy that is the most frequent label.
#[derive(Debug, Clone)]
pub struct Baseline {
    /// Its name in quotation marks, or its number: `"good"`, `label 1`.
    pub answer: String,
    /// What it scores.
    pub value: f64,
    /// By how much each method is better, by name, with intervals that are simultaneous over all methods.
    leads: BTreeMap<String, Judgement>,
}

impl Baseline {
    /// `None` where answers are no labels.
    pub(super) fn of(evidence: &Evidence) -> Option<Baseline> {
        let mut runs = evidence.study.methods.iter().flat_map(|method| evidence.main(&method.name));
        let Answers::Labels { labels, .. } = &runs.next()?.1.tests.first()?.answers else { return None };
        let scoring = evidence.scoring();
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        labels.iter().for_each(|label| *counts.entry(*label).or_default() += 1);
        // The most frequent first, so that it stands where several score the same.
        let mut met: Vec<u32> = counts.keys().copied().collect();
        met.sort_by_key(|label| (std::cmp::Reverse(counts[label]), *label));
        let constant = |label: u32| {
            let answers = Answers::Labels { labels: labels.clone(), predictions: vec![label; labels.len()] };
            Some((label, Outcomes::of_answers(scoring, vec![answers])?))
        };
        let better = |a: &Outcomes, b: &Outcomes| scoring.is_better(Some(a.mean()), Some(b.mean()));
        let (label, outcomes) = met
            .into_iter()
            .filter_map(constant)
            .reduce(|best, next| if better(&next.1, &best.1) { next } else { best })?;
        let names = evidence.study.methods.iter().map(|method| &method.name);
        let (scored, runs): (Vec<&String>, Vec<Runs>) = names
            .filter_map(|name| {
                let own = evidence.outcomes(name, None).filter(|own| own.rows() == outcomes.rows())?;
                Some((name, own.by_row()?.clone()))
            })
            .unzip();
        let leads = compare_with_constant(&runs, outcomes.by_row()?);
        Some(Baseline {
            answer: evidence.study.label(label),
            value: outcomes.mean(),
            leads: scored
                .into_iter()
                .cloned()
                .zip(leads)
                .filter_map(|(name, lead)| Some((name, lead?)))
                .collect(),
        })
    }

    /// By how much a method is better; `None` for one without a score.
    pub fn lead(&self, method: &str) -> Option<Judgement> {
        self.leads.get(method).copied()
    }

    /// Whether the data show that a method is better.
    pub fn is_beaten_by(&self, method: &str) -> bool {
        self.lead(method).is_some_and(|lead| lead.verdict == Verdict::Better)
    }

    /// `always answering "good" (51.0 %)`.
    pub fn words(&self, evidence: &Evidence) -> String {
        format!("always answering {} ({})", self.answer, evidence.scoring().unit.write(self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::World;

    #[test]
    fn the_most_frequent_label_is_the_answer_and_good_methods_beat_it() {
        let mut world = World::new();
        world.answer(|labels, _| labels[..500].iter_mut().for_each(|label| *label = 1));
        let mut evidence = world.evidence();
        evidence.study.labels = vec!["bad".into(), "good".into()];
        let baseline = evidence.baseline().unwrap();
        // 500 rows of label 1, and every second of the other 300.
        assert_eq!((baseline.answer.as_str(), baseline.value), ("\"good\"", 0.8125));
        assert_eq!(baseline.words(&evidence), "always answering \"good\" (81.2 %)");
        assert!(baseline.lead("adalora").is_none());

        let world = World::new();
        let baseline = world.evidence().baseline().unwrap();
        assert_eq!((baseline.answer.as_str(), baseline.value), ("label 0", 0.5));
        assert!(baseline.is_beaten_by("prompt_tuning") && !baseline.is_beaten_by("adalora"));
    }

    #[test]
    fn a_method_that_guesses_does_not_beat_it() {
        let mut world = World::new();
        world.answer(|labels, predictions| {
            for (row, said) in predictions.iter_mut().enumerate() {
                *said = if row % 16 == 1 { labels[row] } else { (row / 2 % 2) as u32 };
            }
        });
        let evidence = world.evidence();
        let baseline = evidence.baseline().unwrap();
        let lead = baseline.lead("lora").unwrap();
        assert!(lead.lead.value > 0.0 && !baseline.is_beaten_by("lora"), "{lead:?}");
    }
}
