//! Metric 9: how steadily a method trains, and how alike its seeds come out.

use std::borrow::Cow;

use super::{Direction, Evidence, Figure, Metric, Reading, TakenFrom, Unit};
use crate::record::Trained;
use crate::score::Kind;
use crate::statistics::{Estimate, cohens_kappa, deviation, fleiss_kappa, mean, raw_agreement, seeds_for};

/// The loss has fallen this share of its whole fall.
const FALLEN: f64 = 0.9;
/// The shortest run that a trend can be drawn through.
const SHORTEST_RUN: usize = 15;

pub(super) static METRIC: Metric = Metric {
    number: 9,
    name: "consistency",
    title: "Training consistency",
    unit: "variance of the loss around its trend (nats²; squared errors have no unit), spread and agreement over seeds",
    direction: Direction::Lower,
    source: "Trend: centred moving average over a tenth of the steps (at least 5, odd), only where the window is whole. \
             Spread: standard deviation of the score over seeds, chi-squared interval. Agreement: same label on the same \
             test row (of answers in words: right or wrong alike), mean over pairs of seeds; Cohen's kappa (1960) \
             likewise; Fleiss' (1971) over all seeds at once. Seeds: how many it takes for an interval of the mean \
             over seeds as narrow as the study wants. Repeat: first steps run twice, losses compared bit by bit.",
    taken_from: TakenFrom::Main,
    compute,
};

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let runs: Vec<&Trained> = evidence.main(method).into_iter().map(|(_, run)| run).collect();
    let none = evidence.why_no_main(method);
    let short = if runs.is_empty() { none.clone() } else { format!("fewer than {SHORTEST_RUN} steps") };
    let single = if runs.is_empty() { none.clone() } else { "one seed shows no spread".to_owned() };
    let over = |f: fn(&[f32]) -> Option<f64>, why: &str| {
        let values: Vec<f64> = runs.iter().filter_map(|run| f(&run.losses)).collect();
        Reading::measured(mean(&values).map(at_least_zero), why)
    };
    let unfallen = if runs.is_empty() {
        none.clone()
    } else {
        "the loss did not fall, or the run is too short".to_owned()
    };
    let scores: Vec<f64> = runs.iter().filter_map(|run| run.tests.first()?.score.value).collect();
    let unalike = if runs.len() < 2 {
        single.as_str()
    } else if categories(&runs).is_none() {
        "the answers are neither labels nor plainly right or wrong"
    } else {
        "every answer is the same, so that chance alone would agree"
    };
    let pairs = |f: fn(&[u32], &[u32]) -> Option<f64>| Reading::measured(mean_over_pairs(&runs, f), unalike);
    use Direction::{Higher, Lower};
    vec![
        Figure::new(
            "loss_variance",
            "Loss variance around trend",
            if evidence.scoring().of == Kind::Numbers { Unit::Number } else { Unit::SquareNats },
            Lower,
            over(loss_variance, &short),
        ),
        Figure::new(
            "steps_to_fall",
            "Steps to 90 % of the fall",
            Unit::Steps,
            Lower,
            over(steps_to_fall, &unfallen),
        ),
        Figure::new(
            "score_deviation",
            "Score spread over seeds",
            evidence.scoring().unit.of_difference(),
            Lower,
            Reading::measured(deviation(&scores), &single),
        ),
        Figure::new("agreement", "Agreement between seeds", Unit::Share, Higher, pairs(raw_agreement)),
        Figure::new("kappa", "Cohen's kappa", Unit::Correlation, Higher, pairs(cohens_kappa)),
        Figure::new("fleiss", "Fleiss' kappa", Unit::Correlation, Higher, all_together(&runs, unalike)),
        Figure::new(
            "seeds_needed",
            format!(
                "Seeds for ± {}",
                evidence.scoring().unit.of_difference().write(evidence.study.wanted_half_width)
            ),
            Unit::Count,
            Lower,
            seeds_needed(&scores, evidence.study.wanted_half_width, &single),
        ),
        Figure::new("repeat", "Bitwise repeat", Unit::Number, Direction::Neither, repeat(evidence, method)),
    ]
}

fn at_least_zero(e: Estimate) -> Estimate {
    Estimate { low: e.low.map(|low| low.max(0.0)), ..e }
}

fn window(steps: usize) -> usize {
    (steps / 10).max(5) | 1
}

/// Centred moving average, one value for each whole window.
fn trend(losses: &[f32]) -> Option<(usize, Vec<f64>)> {
    if losses.len() < SHORTEST_RUN || losses.iter().any(|x| !x.is_finite()) {
        return None;
    }
    let width = window(losses.len());
    let average = |w: &[f32]| w.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64;
    Some((width, losses.windows(width).map(average).collect()))
}

/// Mean squared distance from the trend; a window of w follows its centre by 1/w, which is given back.
fn loss_variance(losses: &[f32]) -> Option<f64> {
    let (width, trend) = trend(losses)?;
    let centres = &losses[width / 2..];
    let squares: f64 = trend.iter().zip(centres).map(|(t, x)| (f64::from(*x) - t).powi(2)).sum();
    Some(squares / trend.len() as f64 / (1.0 - 1.0 / width as f64))
}

/// Steps until the trend has done nine tenths of its fall from its start to its lowest point.
fn steps_to_fall(losses: &[f32]) -> Option<f64> {
    let (width, trend) = trend(losses)?;
    let start = *trend.first()?;
    let lowest = trend.iter().copied().fold(f64::INFINITY, f64::min);
    if start - lowest <= 1e-6 {
        return None;
    }
    let place = trend.iter().position(|t| *t <= start - FALLEN * (start - lowest))?;
    Some((place + width / 2 + 1) as f64)
}

/// What every run said to the rows of the task's own domain, where that can be counted.
fn categories<'a>(runs: &[&'a Trained]) -> Option<Vec<Cow<'a, [u32]>>> {
    runs.iter().map(|run| run.tests.first()?.answers.categories()).collect()
}

fn mean_over_pairs(runs: &[&Trained], f: fn(&[u32], &[u32]) -> Option<f64>) -> Option<Estimate> {
    let said = categories(runs)?;
    let pairs = said.iter().enumerate().flat_map(|(index, a)| said[index + 1..].iter().map(move |b| (a, b)));
    let values: Vec<f64> = pairs.filter_map(|(a, b)| f(a, b)).collect();
    // Pairs share seeds, so they are not independent: no interval.
    mean(&values).map(|e| Estimate { low: None, high: None, n: runs.len(), ..e })
}

/// Agreement of all seeds at once.
fn all_together(runs: &[&Trained], why: &str) -> Reading {
    let said = categories(runs);
    let kappa = said.and_then(|said| fleiss_kappa(&said.iter().map(AsRef::as_ref).collect::<Vec<_>>()));
    Reading::measured(kappa.map(|value| Estimate { n: runs.len(), ..Estimate::exact(value) }), why)
}

/// Seeds in all after which the interval of the mean score over seeds is as narrow as the study wants it.
fn seeds_needed(scores: &[f64], half_width: f64, why: &str) -> Reading {
    if scores.len() < 2 {
        return Reading::unavailable(why);
    }
    match seeds_for(half_width, scores) {
        Some(seeds) => Reading::Estimated {
            estimate: Estimate { n: scores.len(), ..Estimate::exact(seeds as f64) },
            how: format!(
                "Stein's two-stage sample (1945) from {} seeds; the {} that were run are among them",
                scores.len(),
                scores.len()
            ),
        },
        None if deviation(scores).is_some_and(|spread| spread.value == 0.0) => {
            Reading::unavailable("all seeds score alike, which shows nothing of further ones")
        }
        None => Reading::unavailable("more than a million"),
    }
}

fn repeat(evidence: &Evidence, method: &str) -> Reading {
    match evidence.repeat(method) {
        Some(repeat) if repeat.steps == 0 => Reading::unavailable("its trial left no losses to repeat"),
        Some(repeat) => {
            let (verdict, because) = match repeat.first_difference {
                None => ("identical".to_owned(), format!("{} steps, every loss the same bits", repeat.steps)),
                Some(step) => (format!("differs at step {step}"), format!("of {} steps", repeat.steps)),
            };
            Reading::Judged { verdict, good: Some(repeat.first_difference.is_none()), because }
        }
        None => Reading::unavailable(evidence.why_no_probe(method)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;
    use crate::record::{Answers, Outcome};
    use crate::statistics::SplitMix;

    /// What `key` says of a world whose runs all answered so.
    fn reading(key: &str, answers: impl Fn(usize) -> Answers) -> Reading {
        let mut world = World::new();
        for (place, record) in world.records.iter_mut().enumerate() {
            if let Outcome::Trained(run) = &mut record.outcome {
                run.tests[0].answers = answers(place);
            }
        }
        let figures = compute(&world.evidence(), "full");
        figures.into_iter().find(|figure| figure.key == key).unwrap().reading
    }

    #[test]
    fn answers_in_words_agree_where_they_are_right_or_wrong_alike() {
        let alike = |_| Answers::Worths(vec![1.0, 0.0, 1.0]);
        for key in ["agreement", "kappa", "fleiss"] {
            let Reading::Measured { estimate } = reading(key, alike) else { panic!("{key}") };
            assert!((estimate.value - 1.0).abs() < 1e-12, "{key}");
        }
        let Reading::Unavailable { reason } = reading("kappa", |_| Answers::Worths(vec![1.0])) else {
            panic!()
        };
        assert!(reason.contains("chance"), "{reason}");
        let Reading::Unavailable { reason } = reading("kappa", |_| Answers::Worths(vec![0.5])) else {
            panic!()
        };
        assert!(reason.contains("plainly"), "{reason}");
        let unlike = |place| Answers::Worths(vec![f64::from(u32::from(place % 2 == 0)), 1.0, 0.0]);
        let Reading::Measured { estimate } = reading("kappa", unlike) else { panic!() };
        assert!(estimate.value < 1.0);
    }

    #[test]
    fn nothing_that_was_repeated_is_not_called_identical() {
        let mut world = World::new();
        let read = |world: &World| repeat(&world.evidence(), "full");
        assert!(matches!(read(&world), Reading::Judged { good: Some(true), .. }));
        for record in &mut world.records {
            if let Outcome::Probed(repeat) = &mut record.outcome {
                repeat.steps = 0;
            }
        }
        assert!(matches!(read(&world), Reading::Unavailable { reason } if reason.contains("no losses")));
    }

    #[test]
    fn variance_is_that_of_the_noise_and_not_of_the_fall() {
        let mut random = SplitMix::new(1);
        let losses: Vec<f32> =
            (0..4000).map(|i| (2.0 - 1.5 * f64::from(i) / 4000.0 + 0.1 * random.normal()) as f32).collect();
        assert!((loss_variance(&losses).unwrap() - 0.01).abs() < 0.001);
        assert!(loss_variance(&losses[..10]).is_none());
    }

    #[test]
    fn the_fall_is_found_and_a_flat_loss_has_none() {
        let losses: Vec<f32> = (0..100).map(|i| if i < 50 { 2.0 } else { 1.0 }).collect();
        let steps = steps_to_fall(&losses).unwrap();
        assert!((50.0..=60.0).contains(&steps), "{steps}");
        assert!(steps_to_fall(&[1.0; 100]).is_none());
    }
}
