//! Metric 3: peak memory of training and of inference, by class, and how it grows with the batch and its rows' length.

use super::{Direction, Evidence, Figure, Metric, Reading, Unit};
use crate::record::{Memory, Point};
use crate::statistics::{Estimate, Line, line};

const CLASSES: [&str; 6] = ["base", "trainable", "gradients", "optimizer", "activations", "workspace"];

pub(super) static METRIC: Metric = Metric {
    number: 3,
    name: "memory",
    title: "Memory",
    unit: "bytes at the peak",
    direction: Direction::Lower,
    source: "Probe: the engine's own account of every buffer at the moment of the peak, next to the operating \
             system's peak of the process. Growth: least-squares line through the peaks at several batch sizes and row \
             lengths, of training and of inference, by tokens; standard errors and intervals take its errors to be independent and of one size.",
    compute,
};

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let probe = evidence.probe(method);
    let why = evidence.why_no_probe(method);
    let exact = |bytes: Option<u64>, why: &str| {
        Reading::measured(bytes.map(|bytes| Estimate::exact(bytes as f64)), why)
    };
    let bytes =
        |key: &str, label: &str, reading| Figure::new(key, label, Unit::Bytes, Direction::Lower, reading);
    let training = probe.map(|p| &p.training_memory);
    let inference = probe.map(|p| &p.inference_memory);
    let untold = if probe.is_some() { "the operating system does not tell" } else { &why };
    let process = |memory: Option<&Memory>| exact(memory.and_then(|m| m.process_peak_bytes), untold);
    let mut figures = vec![
        bytes("train_peak_bytes", "Training peak", exact(training.map(|m| m.peak_bytes), &why)),
        Figure::new(
            "reduction",
            "Reduction against full",
            Unit::Share,
            Direction::Higher,
            reduction(evidence, method, &why),
        ),
        bytes("train_process_bytes", "Training, process peak", process(training)),
        bytes("infer_peak_bytes", "Inference peak", exact(inference.map(|m| m.peak_bytes), &why)),
        bytes("infer_process_bytes", "Inference, process peak", process(inference)),
    ];
    for class in CLASSES {
        let of_class = training.map(|m| m.by_class.get(class).copied().unwrap_or(0));
        figures.push(bytes(&format!("train_{class}"), &format!("Training: {class}"), exact(of_class, &why)));
    }
    let unswept = if probe.is_some() { "not probed over sizes of the batch" } else { &why };
    figures.extend(growth(probe.map_or(&[], |p| &p.points), "", "", unswept));
    figures.extend(growth(probe.map_or(&[], |p| &p.inference_points), "infer_", "Inference: ", unswept));
    figures
}

fn reduction(evidence: &Evidence, method: &str, why: &str) -> Reading {
    let Some(full) = evidence.full() else {
        return Reading::unavailable("the study has no full fine-tuning to compare with");
    };
    if full.name == method {
        return Reading::unavailable("it is the yardstick itself");
    }
    let peak = |name: &str| evidence.probe(name).map(|p| p.training_memory.peak_bytes as f64);
    match (peak(method), peak(&full.name)) {
        (Some(own), Some(of_full)) if of_full > 0.0 => {
            Reading::Measured { estimate: Estimate::exact(1.0 - own / of_full) }
        }
        (None, _) => Reading::unavailable(why),
        _ => Reading::unavailable("full fine-tuning was not probed"),
    }
}

/// The line through the peaks by tokens of the batch: what a method takes before any row, and for each token. `key` and
/// `label` begin those of the figures.
fn growth(points: &[Point], key: &str, label: &str, why: &str) -> [Figure; 5] {
    let points: Vec<(f64, f64)> =
        points.iter().map(|point| (point.tokens() as f64, point.peak_bytes as f64)).collect();
    let fit = line(&points);
    let why = if points.is_empty() { why } else { "fewer than three sizes of the batch measured" };
    let read = |value: fn(&Line) -> Estimate| match &fit {
        Some(fit) => Reading::Estimated {
            estimate: value(fit),
            how: format!("least-squares line through {} batches by their real tokens", fit.n),
        },
        None => Reading::unavailable(why),
    };
    let figure = |own: &str, words: &str, unit, reading| {
        let words =
            if label.is_empty() { words.to_owned() } else { format!("{label}{}", words.to_lowercase()) };
        Figure::new(format!("{key}{own}"), words, unit, Direction::Lower, reading)
    };
    [
        figure("fixed_bytes", "Fixed part", Unit::Bytes, read(|l| l.intercept)),
        figure("fixed_error", "Its standard error", Unit::Bytes, read(|l| counted(l.n, l.intercept_error))),
        figure("bytes_per_token", "For each token of the batch", Unit::Bytes, read(|l| l.slope)),
        figure("token_error", "Its standard error", Unit::Bytes, read(|l| counted(l.n, l.slope_error))),
        figure(
            "fit_error",
            "Worst error of the line",
            Unit::Share,
            read(|l| counted(l.n, l.worst_relative_error)),
        ),
    ]
}

fn counted(n: usize, value: f64) -> Estimate {
    Estimate { n, ..Estimate::exact(value) }
}
