//! Metric 2: how fast a method trains and answers, and how soon it is good enough.

use super::{Direction, Evidence, Figure, Metric, Pace, Reading, TakenFrom, Unit};
use crate::record::{Point, Speed};
use crate::statistics::{Estimate, line, mean};

/// Share of full fine-tuning's final validation score that counts as good enough.
const TARGET_SHARE: f64 = 0.95;

pub(super) static METRIC: Metric = Metric {
    number: 2,
    name: "speed",
    title: "Processing speed",
    unit: "real tokens and examples per second (padding and virtual tokens not counted)",
    direction: Direction::Higher,
    source: "Probe: the methods in turn, each in a process of its own, in rounds of another order each; warm-up left out. \
             Rounds in which other work disturbed a part are measured again, and left out where others are at least half. \
             Interval: Student's t over rounds. Against full: how many times as fast, within each round, which what slows the \
             whole machine down does not change; Student's t over the rounds' logarithms. Large \
             batches: the slope of the least-squares line through seconds of a step, or of a pass of inference, by tokens of the batch, \
             over several batch sizes and row lengths, turned round. Time to \
             target: steps until 95 % of full fine-tuning's final validation score, times the probe's seconds per step.",
    taken_from: TakenFrom::Probe,
    compute,
};

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let probe = evidence.probe(method);
    let why = evidence.why_no_probe(method);
    let stretches = [
        ("train", "Training", probe.map(|p| &p.training)),
        ("infer", "Inference", probe.map(|p| &p.inference)),
    ];
    let mut figures = Vec::new();
    for (key, label, speed) in stretches {
        let why_tokens = match speed {
            Some(speed) if speed.examples > 0 && speed.tokens == 0 => {
                "a language model that is asked reads and writes other tokens than its rows have: not counted"
            }
            _ => &why,
        };
        let tokens = Reading::measured(speed.and_then(|s| rate(s, s.tokens)), why_tokens);
        let examples = Reading::measured(speed.and_then(|s| rate(s, s.examples)), &why);
        let (tokens_key, examples_key) =
            (format!("{key}_tokens_per_second"), format!("{key}_examples_per_second"));
        let disturbance = speed.and_then(|speed| speed.disturbance.as_ref());
        let figure = |key, unit, reading| {
            Figure::new(key, label, unit, Direction::Higher, reading).disturbed_by([disturbance])
        };
        figures.push(figure(examples_key, Unit::ExamplesPerSecond, examples));
        figures.push(figure(tokens_key, Unit::TokensPerSecond, tokens));
    }
    figures.extend(PACES.iter().map(|(key, label, pace)| against_full(evidence, method, key, label, *pace)));
    let unswept = if probe.is_some() { "not probed over sizes of the batch" } else { &why };
    figures.extend(growth(
        probe.map_or(&[], |p| &p.points),
        [
            ("train_tokens_per_second_limit", "Training, large batches"),
            ("step_seconds", "A step before any token"),
        ],
        unswept,
    ));
    figures.extend(growth(
        probe.map_or(&[], |p| &p.inference_points),
        [
            ("infer_tokens_per_second_limit", "Inference, large batches"),
            ("infer_pass_seconds", "A pass of inference before any token"),
        ],
        unswept,
    ));
    let time = time_to_target(evidence, method);
    let time = Figure::new("time_to_target", "Time to target score", Unit::Seconds, Direction::Lower, time);
    figures.push(time.disturbed_by([probe.and_then(|probe| probe.training.disturbance.as_ref())]));
    figures
}

/// What is compared with full fine-tuning within rounds: key, label.
const PACES: [(&str, &str, Pace); 3] = [
    ("train_against_full", "Training, times as fast as full", Pace::Training),
    ("infer_against_full", "Inference, times as fast as full", Pace::Inference),
    ("request_against_full", "A request, not merged, times as fast as full", Pace::Request),
];

/// How many times as fast as full fine-tuning, within the rounds that timed both.
fn against_full(evidence: &Evidence, method: &str, key: &str, label: &str, pace: Pace) -> Figure {
    let figure = |reading| Figure::new(key, label, Unit::Number, Direction::Higher, reading);
    let Some(full) = evidence.full() else {
        return figure(Reading::unavailable("the study has no full fine-tuning to compare with"));
    };
    if full.name == method {
        return figure(Reading::unavailable("it is the yardstick itself"));
    }
    if evidence.probe(method).is_none() {
        return figure(Reading::unavailable(evidence.why_no_probe(method)));
    }
    if evidence.probe(&full.name).is_none() {
        return figure(Reading::unavailable("full fine-tuning was not probed"));
    }
    match evidence.ratio(&full.name, method, pace) {
        Some((ratio, disturbance)) => {
            figure(Reading::measured(Some(ratio), "")).disturbed_by([disturbance.as_ref()])
        }
        None => figure(Reading::unavailable("not timed in the same rounds as full fine-tuning")),
    }
}

/// Work per second, with the interval of the mean batch time turned into one of the rate.
fn rate(speed: &Speed, work: u64) -> Option<Estimate> {
    let per_batch = work as f64 / speed.batch_seconds.len() as f64;
    let seconds = mean(&speed.batch_seconds)?;
    if seconds.value <= 0.0 || work == 0 {
        return None;
    }
    let rate = seconds.map(|s| per_batch / s);
    // A lower end of the batch time at or below zero bounds the rate on neither side.
    Some(if seconds.low.is_some_and(|low| low <= 0.0) {
        Estimate { low: None, high: None, ..rate }
    } else {
        rate
    })
}

/// The line through the seconds of a step or pass by tokens of the batch: how many tokens a second are neared with
/// large batches, and what one takes before any token; each with its key and label.
fn growth(points: &[Point], [rate, rest]: [(&str, &str); 2], why: &str) -> [Figure; 2] {
    let of = |point: &Point| Some((point.tokens() as f64, mean(&point.seconds)?.value));
    let disturbances = || points.iter().map(|point| point.disturbance.as_ref());
    let points: Vec<(f64, f64)> = points.iter().filter_map(of).collect();
    let fit = line(&points);
    let read = |found: Option<Estimate>| match (&fit, found) {
        (Some(fit), Some(estimate)) => Reading::Estimated {
            estimate,
            how: format!(
                "least-squares line through the seconds of {} batches by their real tokens, worst error {}",
                fit.n,
                Unit::Share.write(fit.worst_relative_error)
            ),
        },
        (Some(_), None) => Reading::unavailable("more tokens took no longer"),
        (None, _) if points.is_empty() => Reading::unavailable(why),
        (None, _) => Reading::unavailable("fewer than three sizes of the batch measured"),
    };
    let rising = fit.map(|l| l.slope).filter(|slope| slope.value > 0.0);
    let limit = rising.map(|slope| match slope.low {
        Some(low) if low > 0.0 => slope.map(|seconds| 1.0 / seconds),
        // A slope that may be 0 bounds the rate on one side alone.
        _ => Estimate {
            low: slope.high.map(|high| 1.0 / high),
            high: None,
            value: 1.0 / slope.value,
            n: slope.n,
        },
    });
    [
        Figure::new(rate.0, rate.1, Unit::TokensPerSecond, Direction::Higher, read(limit))
            .disturbed_by(disturbances()),
        Figure::new(rest.0, rest.1, Unit::Seconds, Direction::Lower, read(fit.map(|l| l.intercept)))
            .disturbed_by(disturbances()),
    ]
}

fn time_to_target(evidence: &Evidence, method: &str) -> Reading {
    let Some(target) = target_score(evidence) else {
        return Reading::unavailable("the target comes from full fine-tuning, which has no finished run");
    };
    let runs = evidence.main(method);
    if runs.is_empty() {
        return Reading::unavailable(evidence.why_no_main(method));
    }
    let Some(step_seconds) = evidence.probe(method).map(|p| p.step_seconds) else {
        return Reading::unavailable(evidence.why_no_probe(method));
    };
    let scoring = evidence.scoring();
    let first = |run: &crate::record::Trained| {
        let reached = |value: Option<f64>| value.is_some_and(|value| scoring.shortfall(target, value) <= 0.0);
        let look = run.validation.iter().find(|look| reached(look.score.value));
        look.map(|look| look.step as f64 * step_seconds)
    };
    let reached: Vec<f64> = runs.iter().filter_map(|(_, run)| first(run)).collect();
    if reached.len() < runs.len() {
        let (some, all) = (reached.len(), runs.len());
        return Reading::unavailable(format!(
            "{} of {all} seeds reached {}",
            if some == 0 { "none".to_owned() } else { some.to_string() },
            scoring.unit.write(target)
        ));
    }
    let how = format!(
        "steps until a look at the validation split showed {}, times seconds per step measured alone",
        scoring.unit.write(target)
    );
    match mean(&reached) {
        Some(estimate) => {
            // Seeds that all reached it at the same look show no spread: the looks are too far apart.
            let spread = estimate.margin().is_some_and(|margin| margin > 0.0);
            let low = estimate.low.filter(|_| spread).map(|low| low.max(0.0));
            let high = estimate.high.filter(|_| spread);
            Reading::Estimated { estimate: Estimate { low, high, ..estimate }, how }
        }
        None => Reading::unavailable("no finished run"),
    }
}

fn target_score(evidence: &Evidence) -> Option<f64> {
    let runs = evidence.main(&evidence.full()?.name);
    let last: Vec<f64> = runs.iter().filter_map(|(_, run)| run.validation.last()?.score.value).collect();
    mean(&last).map(|e| evidence.scoring().part(e.value, TARGET_SHARE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inference_has_a_line_of_its_own_over_the_sizes_of_the_batch() {
        let world = crate::metric::synthetic::World::new();
        let evidence = world.evidence();
        let read = |evidence: &Evidence, key: &str| {
            compute(evidence, "lora").into_iter().find(|figure| figure.key == key).unwrap().reading
        };
        let Reading::Estimated { estimate, how } = read(&evidence, "infer_tokens_per_second_limit") else {
            panic!()
        };
        assert!(
            (estimate.value / 24_000.0 - 1.0).abs() < 1e-6 && how.contains("6 batches"),
            "{estimate:?} {how}"
        );
        let pass = *read(&evidence, "infer_pass_seconds").estimate().unwrap();
        assert!((pass.value - 0.001).abs() < 1e-6, "{pass:?}");
        // Records of before have no such points, and say so.
        let mut records = world.records.clone();
        for record in &mut records {
            if let Some(probed) = &mut record.measured.probe {
                probed.rounds[0].inference_points.clear();
            }
        }
        let before = Evidence::new(evidence.study.clone(), &records);
        let Reading::Unavailable { reason } = read(&before, "infer_pass_seconds") else { panic!() };
        assert!(reason.contains("sizes of the batch"), "{reason}");
        assert!(read(&before, "step_seconds").estimate().is_some());
    }

    #[test]
    fn tokens_that_were_not_counted_have_no_rate() {
        let mut world = crate::metric::synthetic::World::new();
        for record in &mut world.records {
            if let Some(probed) = &mut record.measured.probe {
                probed.rounds[0].inference.speed.tokens = 0;
            }
        }
        let figures = compute(&world.evidence(), "lora");
        let read = |key: &str| &figures.iter().find(|figure| figure.key == key).unwrap().reading;
        let Reading::Unavailable { reason } = read("infer_tokens_per_second") else { panic!() };
        assert!(reason.contains("not counted"), "{reason}");
        assert!(read("infer_examples_per_second").estimate().is_some());
        assert!(read("train_tokens_per_second").estimate().is_some());
    }

    #[test]
    fn the_rate_is_work_over_time() {
        let speed =
            Speed { examples: 40, tokens: 800, batch_seconds: vec![0.9, 1.1, 1.0, 1.0], disturbance: None };
        let e = rate(&speed, speed.tokens).unwrap();
        assert!((e.value - 200.0).abs() < 1e-9);
        assert!(e.low.unwrap() < 200.0 && e.high.unwrap() > 200.0);
        assert!(
            rate(&Speed { examples: 0, tokens: 0, batch_seconds: vec![], disturbance: None }, 0).is_none()
        );
    }
}
