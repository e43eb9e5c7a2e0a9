//! Energy of made-up probes.

use super::*;
use crate::metric::synthetic::World;
use crate::record::{Lap, Probed, Record};

/// Ten steps of 2 J and a tenth of a second, and a machine that draws 5 W idle.
fn measured(records: &mut [Record]) {
    let source = EnergySource::Rapl { zones: vec!["package-0 (intel-rapl:0)".into()] };
    let laps =
        |joules: f64| (0..10).map(move |k| Lap { joules: joules + 0.1 * f64::from(k % 2), seconds: 0.1 });
    let energy = |joules: f64| Energy {
        joules: (joules + 0.05) * 10.0,
        seconds: 1.0,
        processor_seconds: Some(1.5),
        source: source.clone(),
        laps: laps(joules).collect(),
        disturbance: None,
    };
    for record in records {
        if let Some(probed) = &mut record.measured.probe {
            let round = &mut probed.rounds[0];
            (round.training.energy, round.inference.energy) = (energy(1.95), energy(0.95));
            (round.training.speed.examples, round.inference.speed.examples) = (160, 1280);
            probed.idle_energy = Some(energy(0.45));
            probed.inference_questions = 320;
        }
    }
}

fn find(accounting: &Accounting, change: impl Fn(&mut [Record]), key: &str) -> Option<Reading> {
    let world = World::new();
    let mut evidence = world.evidence();
    let mut records = evidence.records.to_vec();
    change(&mut records);
    evidence.study.energy = accounting.clone();
    let evidence = Evidence::new(evidence.study, &records);
    compute(&evidence, "lora").into_iter().find(|figure| figure.key == key).map(|figure| figure.reading)
}

/// What `change` makes of every probe.
fn probes(records: &mut [Record], change: impl Fn(&mut Probed)) {
    for record in records {
        if let Some(probed) = &mut record.measured.probe {
            change(probed);
        }
    }
}

#[test]
fn counted_joules_have_intervals_and_stand_with_and_without_the_idle_machine() {
    let stated = Accounting { idle_seconds: 1.0, ..Accounting::default() };
    let value = |accounting: &Accounting, key: &str| match find(accounting, measured, key) {
        Some(Reading::Measured { estimate }) => estimate,
        other => panic!("{key}: {other:?}"),
    };
    // 20 J over 160 examples; 5 W of them are the idle machine's.
    let joules = value(&stated, "train_joules");
    assert!((joules.value - 125.0).abs() < 1e-9 && joules.n == 10, "{joules:?}");
    // Laps of 1.95 and 2.05 J: t(9) × 0.0527 / √10 = 0.0377 J of 2.
    assert!((joules.margin().unwrap() / joules.value - 0.0377 / 2.0).abs() < 1e-4, "{joules:?}");
    assert!((value(&stated, "train_joules_net").value - 125.0 * 0.75).abs() < 1e-9);
    assert!((value(&stated, "infer_joules").value - 31.25).abs() < 1e-9);
    assert!((value(&stated, "train_watts").value - 20.0).abs() < 1e-9);
    assert!((value(&stated, "idle_watts").value - 5.0).abs() < 1e-9);
    let net = Accounting { subtract_idle: true, ..stated };
    assert!((value(&net, "train_joules").value - 125.0 * 0.75).abs() < 1e-9);
    assert!((value(&net, "train_joules_gross").value - 125.0).abs() < 1e-9);
    assert!((value(&net, "utilisation").value - 0.75).abs() < 1e-9);
    // Without the idle machine nothing can be taken off, and nothing is made up.
    let lost = |records: &mut [Record]| {
        measured(records);
        probes(records, |probed| probed.idle_energy = None);
    };
    let reading = find(&net, lost, "train_joules");
    assert!(
        matches!(reading, Some(Reading::Unavailable { reason }) if reason.contains("energy.idle_seconds"))
    );
}

#[test]
fn an_estimate_is_marked_with_its_reason_and_has_no_interval() {
    for subtract_idle in [false, true] {
        let accounting = Accounting { subtract_idle, ..Accounting::default() };
        let Some(Reading::Estimated { estimate, how }) = find(&accounting, |_| {}, "train_joules") else {
            panic!("no estimate")
        };
        assert!(how.contains("W for each busy core; there is no"), "{how}");
        assert!(estimate.low.is_none() && estimate.value > 0.0);
        let other = if subtract_idle { "train_joules_gross" } else { "train_joules_net" };
        let Some(Reading::Unavailable { reason }) = find(&accounting, |_| {}, other) else {
            panic!("{other}")
        };
        assert!(reason.contains("busy cores alone"), "{reason}");
    }
    let idle = find(&Accounting::default(), |_| {}, "idle_watts");
    assert!(matches!(idle, Some(Reading::Unavailable { reason }) if reason.contains("busy cores alone")));
}

#[test]
fn each_stretch_is_of_its_own_source() {
    // Counters that failed in inference: an estimate, of which no idle machine is taken off.
    let mixed = |records: &mut [Record]| {
        measured(records);
        probes(records, |probed| {
            let source = EnergySource::Estimate { watts_per_core: 8.0, because: "a counter failed".into() };
            let energy = probed.rounds[0].inference.energy.clone();
            probed.rounds[0].inference.energy = Energy { joules: 0.5, source, laps: Vec::new(), ..energy };
        });
    };
    let net = Accounting { subtract_idle: true, ..Accounting::default() };
    let read = |key: &str| find(&net, mixed, key).unwrap();
    assert!(matches!(read("train_joules_gross"), Reading::Measured { .. }));
    assert!(
        matches!(read("infer_joules"), Reading::Estimated { estimate, .. } if estimate.value == 0.5 / 0.32)
    );
    let Reading::Unavailable { reason } = read("infer_joules_gross") else { panic!() };
    assert!(reason.contains("busy cores alone") && reason.ends_with("a counter failed"), "{reason}");
}

#[test]
fn without_processor_seconds_nothing_is_estimated() {
    let untold = |records: &mut [Record]| {
        probes(records, |probed| {
            let energy = &mut probed.rounds[0].training.energy;
            (energy.processor_seconds, energy.joules) = (None, 0.0);
        });
    };
    for key in ["train_joules", "train_watts", "run_joules", "utilisation"] {
        let Some(Reading::Unavailable { reason }) = find(&Accounting::default(), untold, key) else {
            panic!("{key}")
        };
        assert!(reason.starts_with("the system does not tell"), "{key}: {reason}");
    }
}

#[test]
fn a_gpu_that_stands_by_is_shown_and_its_absence_is_said() {
    let gpu = |gpu: Option<Gpu>, key: &str| {
        let change = |records: &mut [Record]| probes(records, |probed| probed.gpu = gpu.clone());
        find(&Accounting::default(), change, key).unwrap()
    };
    assert!(
        matches!(gpu(None, "gpu"), Reading::Unavailable { reason } if reason.contains("no GPU takes part"))
    );
    let idle = Gpu { names: vec!["A100".into()], watts: Some(58.0), utilisation: None };
    assert_eq!(gpu(Some(idle.clone()), "gpu_watts").estimate().unwrap().value, 58.0);
    assert!(
        matches!(gpu(Some(idle), "gpu"), Reading::Unavailable { reason } if reason == "A100 does not tell")
    );
}

#[test]
fn carbon_is_shown_on_request_with_its_source() {
    assert!(find(&Accounting::default(), measured, "infer_grams").is_none());
    let asked = Accounting {
        grid_grams_per_kwh: Some(400.0),
        grid_source: "the grid's yearbook".into(),
        ..Accounting::default()
    };
    let grams = |key: &str| match find(&asked, measured, key) {
        Some(Reading::Estimated { estimate, how }) => (estimate.value, how),
        other => panic!("{key}: {other:?}"),
    };
    let (value, how) = grams("infer_grams");
    assert!((value - 31.25 / 3.6e6 * 400.0).abs() < 1e-12);
    assert!(
        how.contains("400 g CO2e for a kilowatt-hour, as the study states (the grid's yearbook)"),
        "{how}"
    );
    let (value, how) = grams("run_grams");
    // The made-up runs train on 240 batches of 16.
    assert!((value - 125.0 * 3.84 / 3.6e6 * 400.0).abs() < 1e-9, "{value}");
    assert!(how.contains("times the examples"), "{how}");
}
