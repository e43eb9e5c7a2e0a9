//! Metric 5: how good a method is with few examples.

use super::{Direction, Evidence, Figure, Metric, Reading, TakenFrom, Unit};
use crate::score::Scoring;
use crate::statistics::{Estimate, mean};
use std::collections::{BTreeMap, BTreeSet};

/// Share of the score with all data that counts as enough.
const ENOUGH: f64 = 0.95;

pub(super) static METRIC: Metric = Metric {
    number: 5,
    name: "small_data",
    title: "Small data",
    unit: "the task's own score after training on n rows",
    direction: Direction::Higher,
    source: "Each size n is drawn several times, each label with its share, larger draws holding the smaller; every draw \
             has rows and a seed of its own. Mean over draws, Student's t interval over both. Area: mean height over log n \
             of each draw's curve. Rows for 95 %: where the curve reaches that share of the full-data score, and the rows at \
             which the intervals do; none for a method whose full-data score is not shown to be better than a constant answer. \
             Gap: score on training rows minus score on test rows. \
             Rates are those of the whole comparison, found with all of its training and validation rows.",
    taken_from: TakenFrom::SmallData,
    compute,
};

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let curve = curve(evidence, method);
    let why = evidence.why_no_small_data(method);
    let Scoring { unit, direction, .. } = *evidence.scoring();
    let mut figures = vec![
        Figure::new("area", "Area under the curve", unit, direction, area(evidence, method, &why)),
        Figure::new(
            "enough",
            "Rows for 95 % of full-data score",
            Unit::Examples,
            Direction::Lower,
            enough(evidence, method, &curve),
        ),
    ];
    for n in sizes(evidence, &curve) {
        let unseen = "no run of this size: sizes of all training rows or more are left out";
        let why = if curve.is_empty() { &why } else { unseen };
        let reading = Reading::measured(curve.get(&n).copied(), why);
        figures.push(Figure::new(format!("at_{n}"), format!("n = {n}"), unit, direction, reading));
    }
    figures.push(Figure::new(
        "gap",
        "Train–test gap, all data",
        unit.of_difference(),
        Direction::Lower,
        gap(evidence, method),
    ));
    figures
}

/// Mean test score over the draws of each size.
pub(crate) fn curve(evidence: &Evidence, method: &str) -> BTreeMap<usize, Estimate> {
    let mut scores: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (examples, _, run) in evidence.small_data(method) {
        if let Some(test) = run.tests.first() {
            scores.entry(examples).or_default().extend(test.score.value);
        }
    }
    let within = |e| within_range(evidence, e);
    scores.into_iter().filter_map(|(n, scores)| Some((n, within(mean(&scores)?)))).collect()
}

fn sizes(evidence: &Evidence, curve: &BTreeMap<usize, Estimate>) -> Vec<usize> {
    let mut sizes: Vec<usize> = evidence.study.small_data.iter().chain(curve.keys()).copied().collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Scores of each draw by size: draw → size → score. A draw of more rows holds those of fewer.
fn draws(evidence: &Evidence, method: &str) -> BTreeMap<usize, BTreeMap<usize, f64>> {
    let mut draws: BTreeMap<usize, BTreeMap<usize, f64>> = BTreeMap::new();
    for (examples, draw, run) in evidence.small_data(method) {
        if let Some(test) = run.tests.first().filter(|_| examples > 0) {
            draws.entry(draw).or_default().extend(test.score.value.map(|value| (examples, value)));
        }
    }
    draws
}

/// Mean over draws of the area under each draw's own curve; draws that lack a size are left out.
fn area(evidence: &Evidence, method: &str, why: &str) -> Reading {
    let draws = draws(evidence, method);
    let sizes: BTreeSet<usize> = draws.values().flat_map(|curve| curve.keys().copied()).collect();
    match sizes.len() {
        0 => return Reading::unavailable(why),
        1 => return Reading::unavailable("only one size was run"),
        _ => {}
    }
    let whole = draws.values().filter(|curve| curve.len() == sizes.len());
    let areas: Vec<f64> = whole.filter_map(mean_height).collect();
    let area = mean(&areas).map(|area| within_range(evidence, area));
    Reading::measured(area, "no draw was run at every size")
}

/// Trapezoids over ln n, divided by the width: the mean height of a curve.
fn mean_height(curve: &BTreeMap<usize, f64>) -> Option<f64> {
    let points: Vec<(f64, f64)> = curve.iter().map(|(n, score)| ((*n as f64).ln(), *score)).collect();
    let width = points.last()?.0 - points.first()?.0;
    let sum: f64 = points.windows(2).map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0).sum();
    (width > 0.0).then_some(sum / width)
}

/// Rows at which the mean curve reaches the share of the full-data score that is enough, straight over ln n between two
/// sizes. The interval holds the numbers of rows at which the data do not rule out that it is just reached: the ends of
/// the difference's interval at each size, draws and full-data seeds together, reach 0 there.
fn enough(evidence: &Evidence, method: &str, curve: &BTreeMap<usize, Estimate>) -> Reading {
    let scores = evidence.main(method).into_iter().filter_map(|(_, run)| run.tests.first()?.score.value);
    let Some(all) = mean(&scores.collect::<Vec<f64>>()) else {
        return Reading::unavailable(evidence.why_no_main(method));
    };
    let Some(largest) = curve.keys().next_back() else {
        return Reading::unavailable(evidence.why_no_small_data(method));
    };
    let scoring = evidence.scoring();
    if scoring.kept(all.value, all.value).is_nan() {
        return Reading::unavailable("its score with all rows is not above 0, of which there is no share");
    }
    let target = all.map(|score| scoring.part(score, ENOUGH));
    if let Some(baseline) = evidence.baseline() {
        let words = baseline.words(evidence);
        if !baseline.is_beaten_by(method) {
            return Reading::unavailable(format!(
                "its score with all rows is not shown to be better than {words}"
            ));
        }
        if !scoring.is_better(Some(target.value), Some(baseline.value)) {
            return Reading::unavailable(format!(
                "95 % of its score with all rows is no better than {words}"
            ));
        }
    }
    let ahead = |score: &Estimate| match scoring.direction {
        Direction::Lower => minus(&target, score),
        _ => minus(score, &target),
    };
    let differences: Vec<(f64, Estimate)> =
        curve.iter().map(|(n, score)| ((*n as f64).ln(), ahead(score))).collect();
    let reached = |end: fn(&Estimate) -> Option<f64>| crossing(&differences, end);
    let Some(value) = reached(|e| Some(e.value)) else {
        return Reading::unavailable(format!("more than {largest}"));
    };
    // Below the first size nobody looked: there is no lower end where the upper end is above 0 there.
    let first = differences.first().map(|(n, _)| n.exp());
    let low = reached(|e| e.high).filter(|low| first.is_some_and(|first| *low > first * (1.0 + 1e-9)));
    let draws = curve.values().map(|e| e.n).min().unwrap_or(1);
    Reading::Measured { estimate: Estimate { value, low, high: reached(|e| e.low), n: draws } }
}

/// The first n at which a curve over ln n is at 0 or above.
fn crossing(points: &[(f64, Estimate)], height: impl Fn(&Estimate) -> Option<f64>) -> Option<f64> {
    let points: Vec<(f64, f64)> =
        points.iter().map(|(n, e)| Some((*n, height(e)?))).collect::<Option<_>>()?;
    let place = points.iter().position(|(_, y)| *y >= 0.0)?;
    let (to, above) = points[place];
    let Some((from, below)) = place.checked_sub(1).map(|before| points[before]) else {
        return Some(to.exp());
    };
    Some((from + (to - from) * below / (below - above)).exp())
}

/// Difference of two independent means out of their own intervals (MOVER: Zou and Donner, *Statistics in Medicine* 27,
/// 2008).
fn minus(a: &Estimate, b: &Estimate) -> Estimate {
    let end = |own: Option<f64>, other: Option<f64>| Some((a.value - own?).hypot(b.value - other?));
    let value = a.value - b.value;
    let (down, up) = (end(a.low, b.high), end(a.high, b.low));
    Estimate { value, low: down.map(|d| value - d), high: up.map(|u| value + u), n: a.n.min(b.n) }
}

/// The interval cut to what the score cannot leave.
fn within_range(evidence: &Evidence, e: Estimate) -> Estimate {
    let (least, most) = evidence.scoring().range;
    Estimate { low: e.low.map(|x| x.max(least)), high: e.high.map(|x| x.min(most)), ..e }
}

fn gap(evidence: &Evidence, method: &str) -> Reading {
    let gaps: Vec<f64> = evidence
        .main(method)
        .iter()
        .filter_map(|(_, run)| {
            Some(evidence.scoring().shortfall(run.train_score.value?, run.tests.first()?.score.value?))
        })
        .collect();
    Reading::measured(mean(&gaps), &evidence.why_no_main(method))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes_of(scores: &[(usize, f64)]) -> BTreeMap<usize, f64> {
        scores.iter().copied().collect()
    }

    #[test]
    fn the_area_is_the_mean_height_over_log_n() {
        assert!((mean_height(&sizes_of(&[(16, 0.5), (32, 0.7), (64, 0.9)])).unwrap() - 0.7).abs() < 1e-12);
        assert!((mean_height(&sizes_of(&[(16, 0.5), (256, 0.7)])).unwrap() - 0.6).abs() < 1e-12);
        assert_eq!(mean_height(&sizes_of(&[(16, 0.5)])), None);
    }

    #[test]
    fn every_draw_has_an_area_of_its_own_and_their_spread_is_the_interval() {
        let world = super::super::synthetic::World::new();
        let reading = area(&world.evidence(), "lora", "");
        let found = reading.estimate().unwrap();
        assert!(found.n == 3 && found.low.unwrap() < found.value && found.value < found.high.unwrap());
    }

    #[test]
    fn what_is_enough_lies_between_the_sizes_and_says_how_surely() {
        let at = |value: f64, margin: f64| Estimate {
            value,
            low: Some(value - margin),
            high: Some(value + margin),
            n: 5,
        };
        let points: Vec<(f64, Estimate)> =
            [(16.0f64, at(-0.1, 0.05)), (64.0, at(0.1, 0.15)), (256.0, at(0.2, 0.05))]
                .map(|(n, e)| (n.ln(), e))
                .to_vec();
        assert!((crossing(&points, |e| Some(e.value)).unwrap() - 32.0).abs() < 1e-9);
        let (low, high) = (crossing(&points, |e| e.high).unwrap(), crossing(&points, |e| e.low).unwrap());
        assert!(16.0 < low && low < 32.0 && 64.0 < high && high < 256.0, "{low} {high}");
        assert_eq!(crossing(&points[..1], |e| Some(e.value)), None);
        assert_eq!(crossing(&points[1..], |e| Some(e.value)).map(f64::round), Some(64.0));
        let difference = minus(&at(0.8, 0.03), &at(0.7, 0.04));
        assert!((difference.margin().unwrap() - 0.05).abs() < 1e-12);
    }
}
