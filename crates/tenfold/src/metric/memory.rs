//! Metric 3: peak memory of training and of inference, by class, and how it grows with the batch and its rows' length.

use super::{Direction, Evidence, Figure, Metric, Reading, TakenFrom, Unit};
use crate::record::{Memory, Point};
use crate::statistics::{Estimate, Line, line};
use crate::train::PROCESS_BYTES;

const CLASSES: [&str; 7] =
    ["base", "shared", "trainable", "gradients", "optimizer", "activations", "workspace"];

pub(super) static METRIC: Metric = Metric {
    number: 3,
    name: "memory",
    title: "Memory",
    unit: "bytes of the process at the peak",
    direction: Direction::Lower,
    source: "Probe: the peak of the process's resident memory, as the operating system counts it, over the steps of \
             training and over the batches of inference. A limit of memory (memory_limit) is of the same quantity. The \
             engine's own account of every buffer at the moment of its peak explains it by class; the rest is the program, \
             its rows, the allocator and what threads pack matrices into. A study keeps the base, which its trials share, beside \
             what full fine-tuning trains; alone, as in `bench train`, full fine-tuning takes the base's bytes less. Growth: least-squares line through the account's \
             peaks at several batch sizes and row lengths, of training and of inference, by tokens; standard errors and \
             intervals take its errors to be independent and of one size.",
    taken_from: TakenFrom::Probe,
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
    let process = |memory: Option<&Memory>| memory.map_or_else(|| Reading::unavailable(&why), of_process);
    let untold = if probe.is_some() { "not measured" } else { &why };
    let mut figures = vec![
        bytes("train_peak_bytes", "Training, process", process(training)),
        Figure::new(
            "reduction",
            "Reduction against full",
            Unit::Share,
            Direction::Higher,
            reduction(evidence, method, &why),
        ),
        bytes("infer_peak_bytes", "Inference, process", process(inference)),
        bytes("load_peak_bytes", "Loading, process", exact(probe.and_then(|p| p.loading_peak_bytes), untold)),
        bytes(
            "train_account_bytes",
            "Training, engine's account",
            exact(training.map(|m| m.peak_bytes), &why),
        ),
        bytes(
            "infer_account_bytes",
            "Inference, engine's account",
            exact(inference.map(|m| m.peak_bytes), &why),
        ),
    ];
    for class in CLASSES {
        let of_class = training.map(|m| m.by_class.get(class).copied().unwrap_or(0));
        let label = format!("Of the training account: {class}");
        figures.push(bytes(&format!("train_{class}"), &label, exact(of_class, &why)));
    }
    let unswept = if probe.is_some() { "not probed over sizes of the batch" } else { &why };
    figures.extend(growth(probe.map_or(&[], |p| &p.points), "", "", unswept));
    figures.extend(growth(probe.map_or(&[], |p| &p.inference_points), "infer_", "Inference: ", unswept));
    figures
}

/// What the process takes at a peak: as the operating system counts it, or else as limits of memory are foreseen.
fn of_process(memory: &Memory) -> Reading {
    match memory.process_peak_bytes {
        Some(bytes) => Reading::Measured { estimate: Estimate::exact(bytes as f64) },
        None => Reading::Estimated {
            estimate: Estimate::exact((memory.peak_bytes + PROCESS_BYTES) as f64),
            how: format!(
                "the operating system does not tell: the engine's account and {} for the program",
                Unit::Bytes.write(PROCESS_BYTES as f64)
            ),
        },
    }
}

/// By how much less the process takes in training than full fine-tuning's does.
fn reduction(evidence: &Evidence, method: &str, why: &str) -> Reading {
    let Some(full) = evidence.full() else {
        return Reading::unavailable("the study has no full fine-tuning to compare with");
    };
    if full.name == method {
        return Reading::unavailable("it is the yardstick itself");
    }
    let peak = |name: &str| evidence.probe(name).map(|p| of_process(&p.training_memory));
    match (peak(method), peak(&full.name)) {
        (Some(own), Some(of_full)) => less_than(&own, &of_full),
        (None, _) => Reading::unavailable(why),
        _ => Reading::unavailable("full fine-tuning was not probed"),
    }
}

fn less_than(own: &Reading, full: &Reading) -> Reading {
    let (Some(own_bytes), Some(of_full)) = (own.estimate(), full.estimate()) else {
        return Reading::unavailable("not measured");
    };
    let estimate = Estimate::exact(1.0 - own_bytes.value / of_full.value);
    let how = |reading: &Reading| match reading {
        Reading::Estimated { how, .. } => Some(how.clone()),
        _ => None,
    };
    match how(own).or_else(|| how(full)) {
        Some(how) => Reading::Estimated { estimate, how },
        None => Reading::Measured { estimate },
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
        figure("fixed_bytes", "Account: fixed part", Unit::Bytes, read(|l| l.intercept)),
        figure("fixed_error", "Its standard error", Unit::Bytes, read(|l| counted(l.n, l.intercept_error))),
        figure("bytes_per_token", "Account: for each token of the batch", Unit::Bytes, read(|l| l.slope)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;

    fn read(world: &World, method: &str, key: &str) -> Reading {
        let figures = compute(&world.evidence(), method);
        figures.into_iter().find(|figure| figure.key == key).unwrap_or_else(|| panic!("no {key}")).reading
    }

    #[test]
    fn the_headline_is_the_process_and_the_account_explains_it() {
        let world = World::new();
        let value = |method: &str, key: &str| read(&world, method, key).estimate().unwrap().value;
        for method in ["lora", "full"] {
            let account = value(method, "train_account_bytes");
            let classes: f64 = CLASSES.iter().map(|class| value(method, &format!("train_{class}"))).sum();
            assert_eq!(account, classes);
            // What the made-up system counts beside the account.
            assert_eq!(value(method, "train_peak_bytes"), account + 31e6);
            assert_eq!(value(method, "infer_peak_bytes"), value(method, "infer_account_bytes") + 31e6);
        }
        let reduction = value("lora", "reduction");
        let of_process = 1.0 - value("lora", "train_peak_bytes") / value("full", "train_peak_bytes");
        assert!((reduction - of_process).abs() < 1e-12);
    }

    #[test]
    fn where_the_system_does_not_tell_the_process_is_estimated_as_limits_are_foreseen() {
        let mut world = World::new();
        for record in &mut world.records {
            if let Some(probed) = &mut record.measured.probe {
                probed.training_memory.process_peak_bytes = None;
            }
        }
        let account = read(&world, "lora", "train_account_bytes").estimate().unwrap().value;
        let Reading::Estimated { estimate, how } = read(&world, "lora", "train_peak_bytes") else { panic!() };
        assert_eq!(estimate.value, account + PROCESS_BYTES as f64);
        assert!(how.contains("64.0 MiB for the program"), "{how}");
        assert!(matches!(read(&world, "lora", "reduction"), Reading::Estimated { .. }));
    }
}
