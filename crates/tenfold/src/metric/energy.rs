//! Metric 10: joules of training and of answering, and what they come to in grams of carbon dioxide.

use super::{Direction, Evidence, Figure, Metric, Reading, TakenFrom, Timings, Unit};
use crate::record::{Energy, EnergySource, Gpu};
use crate::statistics::{Estimate, mean};
use serde::{Deserialize, Serialize};

/// How energy is measured and accounted for: a study's table `[energy]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Accounting {
    /// Seconds for which the idle machine is measured before a probe, where it has counters; 0: not at all.
    pub idle_seconds: f64,
    /// Whether the idle machine's power is taken off the joules that methods are compared by. Both are shown.
    pub subtract_idle: bool,
    /// Grams of CO2 equivalent that a kilowatt-hour of the grid's costs; none: carbon is not asked for.
    pub grid_grams_per_kwh: Option<f64>,
    /// Whose figure that is, for the report.
    pub grid_source: String,
}

impl Default for Accounting {
    fn default() -> Accounting {
        Accounting {
            idle_seconds: 2.0,
            subtract_idle: false,
            grid_grams_per_kwh: None,
            grid_source: String::new(),
        }
    }
}

impl Accounting {
    /// One line for each value that makes no sense.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !(0.0..=3600.0).contains(&self.idle_seconds) {
            let found = self.idle_seconds;
            faults.push(format!("energy.idle_seconds: expected 0 to 3,600 seconds, found {found}"));
        }
        if let Some(found) = self.grid_grams_per_kwh.filter(|grams| !(0.0..=10_000.0).contains(grams)) {
            faults.push(format!(
                "energy.grid_grams_per_kwh: expected grams of CO2e for a kilowatt-hour, 0 to 10,000, found {found}"
            ));
        }
        if self.grid_grams_per_kwh.is_none() && !self.grid_source.is_empty() {
            let found = &self.grid_source;
            faults.push(format!(
                "energy.grid_source: expected grid_grams_per_kwh beside it, found \"{found}\" alone"
            ));
        }
        faults
    }
}

/// Joules of a kilowatt-hour.
const KILOWATT_HOUR: f64 = 3.6e6;
const NO_PROCESSOR_SECONDS: &str = "the system does not tell processor seconds";

pub(super) static METRIC: Metric = Metric {
    number: 10,
    name: "energy",
    title: "Energy",
    unit: "joules for 1,000 training examples, and for 1,000 requests",
    direction: Direction::Lower,
    source: "Probe: the processor's own counters (RAPL: packages and memory) where the system lets them be read, read often \
             enough that none wraps around unseen; the idle machine's power, measured before the probe, is part of the joules \
             unless the study takes it off, and both are shown. A request is a whole question. Interval: Student's t over steps \
             and batches. Else processor seconds times an assumed power for each busy core, marked as an estimate. The \
             engine computes on processors; GPUs that stand by are shown (nvidia-smi) and are in no joules. Utilisation: \
             processor seconds over wall seconds and threads. Carbon, if the study states what its grid emits: joules times grams for a kilowatt-hour \
             (Lannelongue et al. 2021, doi:10.1002/advs.202100707).",
    taken_from: TakenFrom::Probe,
    compute,
};

/// A stretch of work: its energy, its examples or requests, and how it is written.
struct Stretch {
    key: &'static str,
    /// "Training", "Inference": as in "Mean power, training".
    name: &'static str,
    thousand: &'static str,
    of: fn(&Timings) -> (&Energy, u64),
}

const STRETCHES: [Stretch; 2] = [
    Stretch {
        key: "train",
        name: "training",
        thousand: "Training, 1,000 examples",
        of: |p| (&p.training_energy, p.training.examples),
    },
    Stretch {
        key: "infer",
        name: "inference",
        thousand: "1,000 requests",
        of: |p| (&p.inference_energy, p.questions),
    },
];

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    use Direction::{Lower, Neither};
    let accounting = &evidence.study.energy;
    let probe = evidence.probe(method);
    let why = evidence.why_no_probe(method);
    let figure = |key: String, label: String, unit, direction, reading| {
        Figure::new(key, label, unit, direction, reading)
    };
    let read = |found: Option<Reading>| found.unwrap_or_else(|| Reading::unavailable(&why));
    let mut figures = Vec::new();
    let idle_disturbance = probe.and_then(|probe| probe.idle_energy.as_ref()?.disturbance.as_ref());
    for stretch in &STRETCHES {
        let own_disturbance = probe.and_then(|probe| (stretch.of)(probe).0.disturbance.as_ref());
        let disturbances = |net: bool| [own_disturbance, idle_disturbance.filter(|_| net)];
        let thousand = |net: bool| {
            read(probe.map(|probe| {
                let (energy, examples) = (stretch.of)(probe);
                let idle = if net { idle_watts(probe, energy) } else { Ok(0.0) };
                per(energy, idle, 1000.0 * laps_or_one(energy) / examples as f64)
            }))
        };
        let (stated, other) = (accounting.subtract_idle, !accounting.subtract_idle);
        let words = |net: bool| if net { "idle power taken off" } else { "idle power included" };
        let Stretch { key, name, thousand: label, .. } = stretch;
        let joules =
            figure(format!("{key}_joules"), (*label).to_owned(), Unit::Joules, Lower, thousand(stated));
        figures.push(joules.disturbed_by(disturbances(stated)));
        // An estimate knows of no idle machine: it has one value, not two.
        let reading = match probe.map(|probe| (stretch.of)(probe).0) {
            Some(energy @ Energy { source: EnergySource::Estimate { .. }, .. }) => {
                Reading::unavailable(why_no_idle(energy))
            }
            _ => thousand(other),
        };
        let key_of_other = format!("{key}_joules_{}", if other { "net" } else { "gross" });
        let joules = figure(key_of_other, format!("{label}, {}", words(other)), Unit::Joules, Lower, reading);
        figures.push(joules.disturbed_by(disturbances(other)));
        let watts = read(probe.map(|probe| watts((stretch.of)(probe).0)));
        let watts =
            figure(format!("{key}_watts"), format!("Mean power, {name}"), Unit::Watts, Neither, watts);
        figures.push(watts.disturbed_by([own_disturbance]));
    }
    let idle = read(probe.map(|probe| match &probe.idle_energy {
        Some(energy) => watts(energy),
        None => Reading::unavailable(why_no_idle(&probe.training_energy)),
    }));
    let idle = figure("idle_watts".into(), "Idle power".into(), Unit::Watts, Neither, idle);
    figures.push(idle.disturbed_by([idle_disturbance]));
    let run = run_joules(evidence, method, &figures[0].reading);
    let run = figure("run_joules".into(), "A whole training run".into(), Unit::Joules, Lower, run);
    figures.push(Figure { disturbed: figures[0].disturbed.clone(), ..run });
    let share = read(probe.map(utilisation));
    let share = figure("utilisation".into(), "Processor use, training".into(), Unit::Share, Neither, share);
    figures.push(share.disturbed_by([probe.and_then(|probe| probe.training_energy.disturbance.as_ref())]));
    let gpu = |of: fn(&Gpu) -> Option<f64>| read(probe.map(|probe| gpu(probe.gpu.as_ref(), of)));
    let share = gpu(|gpu| gpu.utilisation);
    figures.push(figure("gpu".into(), "GPU use".into(), Unit::Share, Neither, share));
    let power = gpu(|gpu| gpu.watts);
    figures.push(figure("gpu_watts".into(), "GPU power, in no joules".into(), Unit::Watts, Neither, power));
    figures.extend(carbon(accounting, &figures));
    figures
}

/// Equal parts of a stretch, one if it was not cut.
fn laps_or_one(energy: &Energy) -> f64 {
    energy.laps.len().max(1) as f64
}

/// Joules of a lap, times `factor`; less `idle_watts`, or the reason why there are none.
fn per(energy: &Energy, idle_watts: Result<f64, String>, factor: f64) -> Reading {
    let idle = match idle_watts {
        Ok(watts) => watts,
        Err(reason) => return Reading::unavailable(reason),
    };
    let whole = (energy.joules - idle * energy.seconds) / laps_or_one(energy);
    let laps: Vec<f64> = energy.laps.iter().map(|lap| lap.joules - idle * lap.seconds).collect();
    reading(energy, whole, &laps, factor)
}

fn watts(energy: &Energy) -> Reading {
    let laps: Vec<f64> = energy.laps.iter().map(|lap| lap.joules / lap.seconds).collect();
    reading(energy, energy.joules / energy.seconds, &laps, 1.0)
}

/// A value with the margin of its laps' mean.
fn reading(energy: &Energy, value: f64, laps: &[f64], factor: f64) -> Reading {
    let margin = mean(laps).and_then(|mean| mean.margin()).map(|margin| margin * factor);
    let value = value * factor;
    let n = laps.len().max(1);
    let estimate = Estimate { value, low: margin.map(|m| value - m), high: margin.map(|m| value + m), n };
    match &energy.source {
        EnergySource::Estimate { because, .. } if energy.processor_seconds.is_none() => {
            Reading::unavailable(format!("{NO_PROCESSOR_SECONDS}; {because}"))
        }
        _ if !estimate.is_finite() => Reading::unavailable("nothing ran while it was measured"),
        EnergySource::Rapl { .. } => Reading::Measured { estimate },
        EnergySource::Estimate { watts_per_core, because } => Reading::Estimated {
            estimate,
            how: format!("processor seconds × {watts_per_core} W for each busy core; {because}"),
        },
    }
}

/// What is to be taken off a stretch's `energy` for the idle machine. An estimate counts busy cores alone.
fn idle_watts(probe: &Timings, energy: &Energy) -> Result<f64, String> {
    match (&energy.source, &probe.idle_energy) {
        (EnergySource::Estimate { .. }, _) => Ok(0.0),
        (_, Some(idle)) if idle.seconds > 0.0 => Ok(idle.joules / idle.seconds),
        _ => Err(why_no_idle(energy)),
    }
}

fn why_no_idle(energy: &Energy) -> String {
    match &energy.source {
        EnergySource::Rapl { .. } => "the idle machine was not measured (energy.idle_seconds)".to_owned(),
        EnergySource::Estimate { because, .. } => {
            format!("the estimate is of busy cores alone, without the idle machine; {because}")
        }
    }
}

/// Joules of one of the comparison's training runs.
fn run_joules(evidence: &Evidence, method: &str, thousand: &Reading) -> Reading {
    let runs: Vec<f64> = evidence.main(method).iter().map(|(_, run)| run.examples as f64).collect();
    let Some(examples) = mean(&runs) else { return Reading::unavailable(evidence.why_no_main(method)) };
    let how =
        "joules for 1,000 examples, measured alone, times the examples that the comparison's runs trained on";
    scaled(thousand, examples.value / 1000.0, how)
}

/// A figure of GPUs that stand by: the engine computes on processors alone.
fn gpu(found: Option<&Gpu>, of: fn(&Gpu) -> Option<f64>) -> Reading {
    let Some(gpu) = found else { return Reading::unavailable("no GPU takes part: nvidia-smi shows none") };
    let untold = format!("{} does not tell", gpu.names.join(", "));
    Reading::measured(of(gpu).map(Estimate::exact), &untold)
}

fn utilisation(probe: &Timings) -> Reading {
    let energy = &probe.training_energy;
    let Some(busy) = energy.processor_seconds else { return Reading::unavailable(NO_PROCESSOR_SECONDS) };
    let share = busy / (energy.seconds * probe.threads as f64);
    Reading::measured(Some(Estimate::exact(share)), "nothing ran while it was measured")
}

/// Grams for the joules that were found, if the study asks for them.
fn carbon(accounting: &Accounting, figures: &[Figure]) -> Vec<Figure> {
    let Some(grams) = accounting.grid_grams_per_kwh else { return Vec::new() };
    let source = match accounting.grid_source.trim() {
        "" => "as the study states, without a source".to_owned(),
        source => format!("as the study states ({source})"),
    };
    let how = format!("joules × {grams} g CO2e for a kilowatt-hour, {source}");
    let of = |joules: &str, key: &str, label: &str| {
        let found = figures.iter().find(|figure| figure.key == joules);
        let reading = found.map(|figure| scaled(&figure.reading, grams / KILOWATT_HOUR, &how));
        let reading = reading.unwrap_or_else(|| Reading::unavailable("no joules"));
        let disturbed = found.and_then(|figure| figure.disturbed.clone());
        Figure { disturbed, ..Figure::new(key, label, Unit::Grams, Direction::Lower, reading) }
    };
    vec![
        of("run_joules", "run_grams", "Carbon, a whole training run"),
        of("infer_joules", "infer_grams", "Carbon, 1,000 requests"),
    ]
}

/// A reading times a factor that is an assumption of its own.
fn scaled(reading: &Reading, factor: f64, how: &str) -> Reading {
    let estimate = |estimate: &Estimate| estimate.map(|value| value * factor);
    match reading {
        Reading::Measured { estimate: e } => {
            Reading::Estimated { estimate: estimate(e), how: how.to_owned() }
        }
        Reading::Estimated { estimate: e, how: earlier } => {
            Reading::Estimated { estimate: estimate(e), how: format!("{how}; {earlier}") }
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
