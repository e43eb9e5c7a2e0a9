//! Metric 5: how good a method is with few examples.

use super::{Direction, Evidence, Figure, Metric, Reading, Unit};
use crate::score::Scoring;
use crate::statistics::{Estimate, mean};
use std::collections::BTreeMap;

/// Share of the score with all data that counts as enough.
const ENOUGH: f64 = 0.95;

pub(super) static METRIC: Metric = Metric {
    number: 5,
    name: "small_data",
    title: "Small data",
    unit: "the task's own score after training on n rows",
    direction: Direction::Higher,
    source: "Each size n is drawn several times (larger draws hold the smaller). Mean over draws, Student's t \
             interval. Area: mean height of the curve over log n. Gap: score on training rows minus score on test rows.",
    compute,
};

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let curve = curve(evidence, method);
    let why = evidence.why_no_small_data(method);
    let Scoring { unit, direction, .. } = *evidence.scoring();
    let mut figures = vec![
        Figure::new("area", "Area under the curve", unit, direction, area(&curve, &why)),
        Figure::new(
            "enough",
            "Rows for 95 % of full-data score",
            Unit::Examples,
            Direction::Lower,
            enough(evidence, method, &curve),
        ),
    ];
    for n in sizes(evidence, &curve) {
        let reading = Reading::measured(curve.get(&n).copied(), &why);
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
    let (least, most) = evidence.scoring().range;
    let clamp =
        |e: Estimate| Estimate { low: e.low.map(|x| x.max(least)), high: e.high.map(|x| x.min(most)), ..e };
    scores.into_iter().filter_map(|(n, scores)| mean(&scores).map(|e| (n, clamp(e)))).collect()
}

fn sizes(evidence: &Evidence, curve: &BTreeMap<usize, Estimate>) -> Vec<usize> {
    let mut sizes: Vec<usize> = evidence.study.small_data.iter().chain(curve.keys()).copied().collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Trapezoids over ln n, divided by the width: the mean height of the curve.
fn area(curve: &BTreeMap<usize, Estimate>, why: &str) -> Reading {
    let points: Vec<(f64, f64)> =
        curve.iter().filter(|(n, _)| **n > 0).map(|(n, e)| ((*n as f64).ln(), e.value)).collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Reading::unavailable(why);
    };
    if last.0 <= first.0 {
        return Reading::unavailable("only one size was run");
    }
    let sum: f64 = points.windows(2).map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0).sum();
    let draws = curve.values().map(|e| e.n).min().unwrap_or(1);
    Reading::Measured { estimate: Estimate { n: draws, ..Estimate::exact(sum / (last.0 - first.0)) } }
}

fn enough(evidence: &Evidence, method: &str, curve: &BTreeMap<usize, Estimate>) -> Reading {
    let Some(all) = evidence.outcomes(method, None).map(|outcomes| outcomes.mean()) else {
        return Reading::unavailable(evidence.why_no_main(method));
    };
    let Some(largest) = curve.keys().next_back() else {
        return Reading::unavailable(evidence.why_no_small_data(method));
    };
    let scoring = evidence.scoring();
    match curve.iter().find(|(_, e)| scoring.kept(e.value, all) >= ENOUGH) {
        Some((n, e)) => Reading::Measured { estimate: Estimate { n: e.n, ..Estimate::exact(*n as f64) } },
        None => Reading::unavailable(format!("more than {largest}")),
    }
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

    #[test]
    fn the_area_is_the_mean_height_over_log_n() {
        let curve = BTreeMap::from([
            (16, Estimate::exact(0.5)),
            (32, Estimate::exact(0.7)),
            (64, Estimate::exact(0.9)),
        ]);
        assert!((area(&curve, "").estimate().unwrap().value - 0.7).abs() < 1e-12);
        assert!(area(&BTreeMap::from([(16, Estimate::exact(0.5))]), "").estimate().is_none());
    }
}
