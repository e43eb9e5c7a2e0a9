//! Metric 10: joules of training and of answering.

use super::{Direction, Evidence, Figure, Metric, Reading, Unit};
use crate::record::{Energy, EnergySource, Probed};
use crate::statistics::Estimate;

pub(super) static METRIC: Metric = Metric {
    number: 10,
    name: "energy",
    title: "Energy",
    unit: "joules for 1,000 training examples, and for 1,000 requests",
    direction: Direction::Lower,
    source: "Probe: the processor's own counters (Intel RAPL, package and memory, idle included) where the system lets \
             them be read; else processor seconds times an assumed power for each busy core, marked as an estimate. Utilisation: \
             processor seconds over wall seconds and threads.",
    compute,
};

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let probe = evidence.probe(method);
    let why = evidence.why_no_probe(method);
    let energy = |pick: fn(&Probed) -> (&Energy, u64), value: fn(&Energy, f64) -> f64| match probe.map(pick) {
        Some((energy, examples)) => read(energy, value(energy, examples as f64)),
        None => Reading::unavailable(&why),
    };
    let training: fn(&Probed) -> (&Energy, u64) = |p| (&p.training_energy, p.training.examples);
    let inference: fn(&Probed) -> (&Energy, u64) = |p| (&p.inference_energy, p.inference.examples);
    let per_thousand: fn(&Energy, f64) -> f64 = |e, examples| e.joules / examples * 1000.0;
    let watts: fn(&Energy, f64) -> f64 = |e, _| e.joules / e.seconds;
    use Direction::{Lower, Neither};
    let figure = |key, label, unit, direction, reading| Figure::new(key, label, unit, direction, reading);
    vec![
        figure(
            "train_joules",
            "Training, 1,000 examples",
            Unit::Joules,
            Lower,
            energy(training, per_thousand),
        ),
        figure("infer_joules", "1,000 requests", Unit::Joules, Lower, energy(inference, per_thousand)),
        figure("train_watts", "Mean power, training", Unit::Watts, Neither, energy(training, watts)),
        figure("infer_watts", "Mean power, inference", Unit::Watts, Neither, energy(inference, watts)),
        figure("utilisation", "Processor use, training", Unit::Share, Neither, utilisation(probe, &why)),
        figure("gpu", "GPU use", Unit::Share, Neither, Reading::unavailable("no GPU takes part")),
    ]
}

fn read(energy: &Energy, value: f64) -> Reading {
    let estimate = Estimate::exact(value);
    match energy.source {
        _ if !value.is_finite() => Reading::unavailable("nothing ran while it was measured"),
        EnergySource::Rapl => Reading::Measured { estimate },
        EnergySource::Estimate { watts_per_core } => Reading::Estimated {
            estimate,
            how: format!(
                "processor seconds × {watts_per_core} W for each busy core; no counter readable here"
            ),
        },
    }
}

fn utilisation(probe: Option<&Probed>, why: &str) -> Reading {
    let share =
        probe.map(|p| p.training_energy.processor_seconds / (p.training_energy.seconds * p.threads as f64));
    Reading::measured(share.map(Estimate::exact), why)
}
