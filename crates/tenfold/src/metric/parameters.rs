//! Metric 4: how much is trained, and how much has to be kept for each task.

use super::{Direction, Evidence, Figure, Metric, Reading, TakenFrom, Unit};
use crate::statistics::Estimate;

const GIBIBYTE: f64 = (1u64 << 30) as f64;

pub(super) static METRIC: Metric = Metric {
    number: 4,
    name: "parameters",
    title: "Parameters and storage",
    unit: "trained numbers, the task's head included; bytes of the file with the adapter's tensors",
    direction: Direction::Lower,
    source: "Counted, so without interval. Adapters per GiB: 2³⁰ bytes over the size of the files as PEFT loads them.",
    taken_from: TakenFrom::Main,
    compute,
};

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let runs = evidence.main(method);
    let found = runs.first().map(|(_, run)| &run.parameters);
    let why = evidence.why_no_main(method);
    let read = |value: Option<f64>| Reading::measured(value.map(Estimate::exact), &why);
    let figure = |key, label, unit, direction, value| Figure::new(key, label, unit, direction, read(value));
    use Direction::{Higher, Lower, Neither};
    vec![
        figure("trainable", "Trainable", Unit::Parameters, Lower, found.map(|p| p.trainable as f64)),
        figure("head", "Of these, the head", Unit::Parameters, Neither, found.map(|p| p.head as f64)),
        figure(
            "share_of_base",
            "Share of the base",
            Unit::Share,
            Lower,
            found.filter(|p| p.base > 0).map(|p| p.trainable as f64 / p.base as f64),
        ),
        figure("adapter_bytes", "Adapter on disk", Unit::Bytes, Lower, found.map(|p| p.adapter_bytes as f64)),
        figure(
            "adapters_per_gibibyte",
            "Adapters per GiB",
            Unit::Count,
            Higher,
            found.filter(|p| p.adapter_bytes > 0).map(|p| GIBIBYTE / p.adapter_bytes as f64),
        ),
    ]
}
