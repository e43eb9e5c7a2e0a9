//! What the search of a method tried, what that cost, and what the method took.

use super::Evidence;
use crate::record::{Candidate, Outcome, Role, Score, Trained};
use crate::score::Scoring;
use crate::words::list;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The learning rate's name among the settings.
const LEARNING_RATE: &str = "learning_rate";

/// The search of one method, judged on validation rows alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Searched {
    /// Every candidate, by rising learning rate.
    pub tried: Vec<Tried>,
    /// Optimizer steps of all candidates, a candidate that was trained on from rung to rung counted once, and one that
    /// failed as far as the last rung that it came through.
    pub steps: u64,
    /// Real tokens that passed through training.
    pub tokens: u64,
    /// Seconds of training, beside other trials on the same machine.
    pub seconds: f64,
    /// Settings of which the method took the lowest or the highest value that was tried: what lies beyond is unknown.
    pub edges: Vec<Edge>,
    /// True if on no rung a candidate's score rose above another's by more than a standard error, so that the loss alone
    /// decided.
    pub alike: bool,
    /// True if all that came to the last rung failed in it, so that the method took one that was trained less far.
    pub cut_short: bool,
}

/// A setting that the search ended at the edge of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Edge {
    /// The setting: "learning_rate", "r".
    pub setting: String,
    /// What the method took.
    pub value: f64,
    /// Which of those tried it is.
    pub end: End,
    /// Different values of it that were tried.
    pub tried: usize,
}

/// An end of what was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Nothing lower was tried.
    Lowest,
    /// Nothing higher was tried.
    Highest,
}

/// One candidate, as far as it came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    /// What was tried.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// The last rung that it came to, from 0.
    pub rung: usize,
    /// Optimizer steps by the end of the last rung that it came through.
    pub steps: usize,
    /// The task's score on the validation rows; none if it failed or the score is not defined.
    pub score: Option<f64>,
    /// The loss on the validation rows, in nats; of regressions the mean squared error.
    pub loss: Option<f64>,
    /// Whether the method took it.
    pub chosen: bool,
}

/// A candidate's way through the rungs, each with its seconds of training; none where it failed.
type Course<'e> = BTreeMap<usize, Option<(&'e Trained, f64)>>;

/// The search of a method; `None` if it has none.
pub fn searched<'e>(evidence: &Evidence<'e>, method: &str) -> Option<Searched> {
    let chosen = evidence.method(method).and_then(|facts| facts.chosen.as_ref());
    let mut courses: Vec<(&Candidate, Course)> = Vec::new();
    for record in evidence.records.iter().filter(|record| record.trial.method == method) {
        let Role::Search { candidate, rung } = &record.trial.role else { continue };
        let run = match &record.outcome {
            Outcome::Trained(run) => {
                Some((&**run, record.measured.training.as_ref().map_or(0.0, |training| training.seconds)))
            }
            _ => None,
        };
        match courses.iter_mut().find(|(other, _)| *other == candidate) {
            Some((_, course)) => drop(course.insert(*rung, run)),
            None => courses.push((candidate, Course::from([(*rung, run)]))),
        }
    }
    courses.sort_by(|(a, _), (b, _)| {
        a.learning_rate.total_cmp(&b.learning_rate).then_with(|| a.to_string().cmp(&b.to_string()))
    });
    // Of one that failed what it was trained until then is known by its last rung before.
    let furthest = |course: &Course<'e>| course.values().rev().find_map(|run| *run);
    let runs = || courses.iter().filter_map(|(_, course)| furthest(course));
    let tried = |(candidate, course): &(&Candidate, Course<'e>)| {
        let (rung, run) = course.last_key_value().map_or((0, None), |(rung, run)| (*rung, *run));
        let look = run.and_then(|(run, _)| best_look(run));
        Tried {
            candidate: (*candidate).clone(),
            rung,
            steps: furthest(course).map_or(0, |(run, _)| run.steps),
            score: look.and_then(|score| score.value),
            loss: look.map(|score| score.loss),
            chosen: chosen == Some(*candidate),
        }
    };
    let candidates: Vec<&Candidate> = courses.iter().map(|(candidate, _)| *candidate).collect();
    let rungs: BTreeSet<usize> = courses.iter().flat_map(|(_, course)| course.keys().copied()).collect();
    let of_rung = |rung| {
        courses.iter().filter_map(move |(_, course)| best_look((*course.get(rung)?)?.0)).collect::<Vec<_>>()
    };
    let contests: Vec<Vec<&Score>> = rungs.iter().map(of_rung).filter(|scores| scores.len() > 1).collect();
    let last = |(candidate, course): &&(&Candidate, Course)| {
        chosen == Some(*candidate) && course.keys().max() < rungs.last()
    };
    (!courses.is_empty()).then(|| Searched {
        edges: chosen.map_or_else(Vec::new, |chosen| edges(chosen, &candidates)),
        alike: !contests.is_empty() && contests.iter().all(|scores| are_alike(evidence.scoring(), scores)),
        cut_short: courses.iter().any(|course| last(&course)),
        tried: courses.iter().map(tried).collect(),
        steps: runs().map(|(run, _)| run.steps as u64).sum(),
        tokens: runs().map(|(run, _)| run.tokens).sum(),
        seconds: runs().map(|(_, seconds)| seconds).sum(),
    })
}

/// The score by which a run was judged.
fn best_look(run: &Trained) -> Option<&Score> {
    run.validation.iter().find(|look| look.step == run.best_step).map(|look| &look.score)
}

/// The ends at which a candidate stands. A candidate that failed was tried as well: it bounds what can be taken.
fn edges(chosen: &Candidate, candidates: &[&Candidate]) -> Vec<Edge> {
    let settings = std::iter::once(LEARNING_RATE).chain(chosen.settings.keys().map(String::as_str));
    let edge = |setting: &str| {
        let value = number(chosen, setting)?;
        // Where some values are words, none is the highest.
        let mut values: Vec<f64> =
            candidates.iter().map(|other| number(other, setting)).collect::<Option<_>>()?;
        values.sort_by(f64::total_cmp);
        values.dedup();
        let (lowest, highest) = (*values.first()?, *values.last()?);
        let end = match values.len() {
            1 => return None,
            // Of two values one is always the highest. Who lists two ranks asks which of these; who tries two learning
            // rates does not mean that there are no others.
            2 if setting != LEARNING_RATE => return None,
            _ if value >= highest => End::Highest,
            // There is no dropout and no weight decay below 0.
            _ if value <= lowest && value > 0.0 => End::Lowest,
            _ => return None,
        };
        Some(Edge { setting: setting.to_owned(), value, end, tried: values.len() })
    };
    settings.filter_map(edge).collect()
}

fn number(candidate: &Candidate, setting: &str) -> Option<f64> {
    if setting == LEARNING_RATE {
        return Some(candidate.learning_rate);
    }
    candidate.settings.get(setting)?.as_f64()
}

fn are_alike(scoring: &Scoring, scores: &[&Score]) -> bool {
    let defined = scores.iter().filter_map(|score| Some((score.value?, score.examples)));
    let scores: Vec<(f64, usize)> = defined.collect();
    let better = |a: &(f64, usize), b: &(f64, usize)| scoring.is_better(Some(a.0), Some(b.0));
    let Some(best) = scores.iter().reduce(|best, next| if better(next, best) { next } else { best }) else {
        return false;
    };
    scores.len() > 1 && scores.iter().all(|(value, _)| scoring.is_alike(best.0, *value, best.1))
}

/// What to know of the searches before relying on what they took: a sentence for each kind, which names its methods.
pub(super) fn cautions(evidence: &Evidence) -> Vec<String> {
    let (mut ends, mut alike): (Vec<(Edge, Vec<String>)>, Vec<&str>) = Default::default();
    let mut cut_short = Vec::new();
    for method in &evidence.study.methods {
        let Some(found) = searched(evidence, &method.name) else { continue };
        if found.alike {
            alike.push(&method.name);
        }
        if found.cut_short {
            cut_short.push(method.name.as_str());
        }
        for edge in found.edges {
            let named = format!("{} ({})", method.name, written(&edge));
            let same = |other: &Edge| {
                (&other.setting, other.end, other.tried == 2) == (&edge.setting, edge.end, edge.tried == 2)
            };
            match ends.iter_mut().find(|(other, _)| same(other)) {
                Some((_, methods)) => methods.push(named),
                None => ends.push((edge, vec![named])),
            }
        }
    }
    let ends = ends.iter().map(|(edge, methods)| sentence(edge, methods));
    let alike = (!alike.is_empty()).then(|| {
        format!(
            "The search could not tell the candidates of {} apart: all their scores on the validation rows are within a \
             standard error of the best, so that the lowest loss decided.",
            list(&alike)
        )
    });
    let cut_short = (!cut_short.is_empty()).then(|| {
        format!(
            "All candidates of {} that came to the last rung of the search failed in it: the best of those before was \
             taken, which was trained less far.",
            list(&cut_short)
        )
    });
    ends.chain(alike).chain(cut_short).collect()
}

fn sentence(edge: &Edge, methods: &[String]) -> String {
    let (end, beyond) = match edge.end {
        End::Lowest => ("lowest", "lower"),
        End::Highest => ("highest", "higher"),
    };
    let what = if edge.setting == LEARNING_RATE { "learning rate" } else { &edge.setting };
    let of = if edge.tried == 2 { "of only two that were tried" } else { "that was tried" };
    let may = if methods.len() == 1 { format!("a {beyond} one") } else { format!("{beyond} ones") };
    format!("The search took the {end} {what} {of} for {}: {may} may do better.", list(methods))
}

/// "3e-4", "64": learning rates as candidates are written.
fn written(edge: &Edge) -> String {
    if edge.setting == LEARNING_RATE { format!("{:e}", edge.value) } else { edge.value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;
    use crate::record::TrainingTime;

    /// A study in which LoRA tried these candidates with these scores on 400 validation rows, and took one of them.
    fn lora(tried: &[(f64, serde_json::Value, Option<f64>)], took: usize) -> (Searched, Vec<String>) {
        let world = World::new();
        let mut evidence = world.evidence();
        let candidate = |(learning_rate, settings, _): &(f64, serde_json::Value, Option<f64>)| Candidate {
            learning_rate: *learning_rate,
            settings: settings.as_object().cloned().unwrap_or_default(),
        };
        let base = evidence.records.iter().find(|record| record.trial.method == "lora").unwrap();
        let mut records = vec![base.clone()];
        for entry in tried {
            let mut record = base.clone();
            record.trial.role = Role::Search { candidate: candidate(entry), rung: 0 };
            record.outcome = match entry.2 {
                None => Outcome::Failed { reason: "NaN".into() },
                Some(value) => {
                    let mut run = evidence.main("lora")[0].1.clone();
                    let best = run.best_step;
                    let look = run.validation.iter_mut().find(|look| look.step == best).unwrap();
                    look.score.value = Some(value);
                    Outcome::Trained(Box::new(run))
                }
            };
            records.push(record);
        }
        let place = evidence.study.methods.iter().position(|method| method.name == "lora").unwrap();
        evidence.study.methods[place].chosen = Some(candidate(&tried[took]));
        let evidence = Evidence::new(evidence.study.clone(), &records);
        (searched(&evidence, "lora").unwrap(), cautions(&evidence))
    }

    #[test]
    fn a_search_that_ended_at_its_edge_says_so() {
        let plain = serde_json::Value::Null;
        let rates = |scores: [Option<f64>; 3], took| {
            let of = |(rate, score)| (rate, plain.clone(), score);
            let tried: Vec<_> = [1e-4, 3e-4, 1e-3].into_iter().zip(scores).map(of).collect();
            lora(&tried, took)
        };
        let (found, words) = rates([Some(0.6), Some(0.7), Some(0.8)], 2);
        assert_eq!(found.edges[0].end, End::Highest);
        assert!(!found.alike);
        assert_eq!(
            words,
            [
                "The search took the highest learning rate that was tried for lora (1e-3): a higher one may do better."
            ]
        );
        assert!(rates([Some(0.9), Some(0.7), Some(0.8)], 0).1[0].contains("lowest learning rate"));
        assert_eq!(rates([Some(0.6), Some(0.8), Some(0.7)], 1).1, [""; 0]);
        // Where a higher one failed, it was tried.
        assert_eq!(rates([Some(0.6), Some(0.8), None], 1).1, [""; 0]);
        let two = lora(&[(1e-4, plain.clone(), Some(0.6)), (1e-3, plain, Some(0.8))], 1);
        assert!(two.1[0].contains("highest learning rate of only two that were tried"), "{two:?}");
    }

    #[test]
    fn other_numbers_have_edges_and_words_have_none() {
        let tried: Vec<_> = [(4, "a"), (8, "b"), (16, "c")]
            .map(|(r, word)| {
                let settings = serde_json::json!({"r": r, "init": word, "lora_dropout": 0.1 * (f64::from(r) / 4.0 - 1.0)});
                (1e-3, settings, Some(0.9 - f64::from(r) / 50.0))
            })
            .into();
        let (found, words) = lora(&tried, 0);
        assert_eq!(found.edges, [Edge { setting: "r".into(), value: 4.0, end: End::Lowest, tried: 3 }]);
        assert_eq!(
            words,
            ["The search took the lowest r that was tried for lora (4): a lower one may do better."]
        );
    }

    #[test]
    fn candidates_that_score_alike_are_not_told_apart() {
        let tried = |scores: [f64; 3]| {
            let of = |(rate, score)| (rate, serde_json::Value::Null, Some(score));
            lora(&[1e-4, 3e-4, 1e-3].into_iter().zip(scores).map(of).collect::<Vec<_>>(), 1)
        };
        let (found, words) = tried([0.574; 3]);
        assert!(found.alike && words.len() == 1, "{words:?}");
        assert!(words[0].starts_with("The search could not tell the candidates of lora apart"), "{words:?}");
        // A standard error of 80 % over 400 rows is two points.
        assert!(tried([0.785, 0.8, 0.79]).0.alike);
        assert!(!tried([0.77, 0.8, 0.79]).0.alike);
    }

    #[test]
    fn a_candidate_that_went_on_is_counted_once_as_far_as_it_came() {
        let world = World::new();
        let mut evidence = world.evidence();
        let mut records = Vec::new();
        let run = |steps: usize| {
            let mut trained = evidence.main("lora")[0].1.clone();
            (trained.steps, trained.tokens) = (steps, 10 * steps as u64);
            Outcome::Trained(Box::new(trained))
        };
        let base = evidence.records.iter().find(|record| record.trial.method == "lora").unwrap();
        let rate = |learning_rate| Candidate { learning_rate, settings: serde_json::Map::new() };
        for (learning_rate, rung, outcome) in [
            (1e-2, 0, run(4)),
            (1e-3, 1, run(12)),
            (1e-3, 0, run(4)),
            (1e-1, 0, Outcome::Failed { reason: "NaN".into() }),
            (3e-2, 0, run(4)),
            (3e-2, 1, Outcome::Failed { reason: "NaN".into() }),
        ] {
            let mut record = base.clone();
            record.trial.role = Role::Search { candidate: rate(learning_rate), rung };
            let seconds = if let Outcome::Trained(run) = &outcome { run.steps as f64 } else { 0.0 };
            record.measured.training = Some(TrainingTime { seconds, disturbance: None });
            record.outcome = outcome;
            records.push(record);
        }
        let place = evidence.study.methods.iter().position(|method| method.name == "lora").unwrap();
        evidence.study.methods[place].chosen = Some(rate(1e-3));
        let evidence = Evidence::new(evidence.study.clone(), &records);
        let found = searched(&evidence, "lora").unwrap();
        assert_eq!((found.steps, found.tokens, found.seconds), (20, 200, 20.0));
        let tried: Vec<_> = found
            .tried
            .iter()
            .map(|t| (t.candidate.learning_rate, t.rung, t.score.is_some(), t.chosen))
            .collect();
        let failed = [(3e-2, 1, false, false), (1e-1, 0, false, false)];
        assert_eq!(tried[..2], [(1e-3, 1, true, true), (1e-2, 0, true, false)]);
        assert_eq!((&tried[2..], found.cut_short), (&failed[..], false));
        // The three of the first rung scored alike, and nothing else was left to be compared.
        assert!(found.alike);
        let mut study = evidence.study.clone();
        study.methods[place].chosen = Some(rate(1e-2));
        let cut = Evidence::new(study, &records);
        assert!(searched(&cut, "lora").unwrap().cut_short);
        assert!(
            cautions(&cut)[1].starts_with("All candidates of lora that came to the last rung"),
            "{:?}",
            cautions(&cut)
        );
        assert_eq!(searched(&evidence, "ia3"), None);
    }
}
