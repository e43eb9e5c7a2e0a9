//! Whether anything else used the machine's processors while something was timed.

use super::{Evidence, MethodFacts, Timings};
use crate::record::{Disturbance, Probed, Quiet, Round, worst};
use crate::words::{count, list};

/// The sign beside a disturbed figure.
pub const MARK: &str = "†";

/// What the sign means.
pub const MARK_MEANS: &str = "†: disturbed by other work on the machine while it was measured; such a figure decides no recommendation.";

/// How the timed parts of all probes stand.
#[derive(Debug, Default)]
struct Parts {
    /// All of them, round by round.
    all: usize,
    disturbed: usize,
    unchecked: usize,
    /// Parts, all rounds together, that figures are made of.
    figures: usize,
    /// Of these, the ones that stay disturbed.
    marked: usize,
}

/// How the probes were measured, in sentences: alone on the machine only where that was checked.
pub fn probes(evidence: &Evidence) -> String {
    let parts = counted(evidence);
    let in_turns = "Each method was probed in a process of its own, in turns with the others";
    let times = "Times taken while trials share the machine are not compared.";
    match parts {
        Parts { all: 0, .. } => "No method was probed.".to_owned(),
        Parts { disturbed: 0, unchecked: 0, all, .. } => format!(
            "{in_turns}. In none of the {} did other work disturb the measurement: threads did not wait for a processor \
             for more than 5 % of the time that they computed, and other processes and the hypervisor took no more than 5 % \
             of the processors. {times}",
            count(all, "timed part")
        ),
        Parts { disturbed: 0, unchecked, all, .. } => format!(
            "{in_turns}. Whether other work disturbed the measurement could not be checked for {unchecked} of {}: the \
             system does not tell. {times}",
            count(all, "timed part")
        ),
        Parts { disturbed, all, marked: 0, .. } => format!(
            "{in_turns}, but not alone on the machine: other work disturbed {disturbed} of {}. They are left out, for other \
             rounds of the same parts were quiet. {times}",
            count(all, "timed part")
        ),
        Parts { disturbed, all, marked, figures, .. } => format!(
            "{in_turns}, but not alone on the machine: other work disturbed {disturbed} of {}. They are left out where \
             other rounds of the same part were quiet; {marked} of {} stay disturbed: their figures carry {MARK} and decide \
             nothing. {} {times}",
            count(all, "timed part"),
            count(figures, "measurement"),
            by_method(evidence)
        ),
    }
}

/// That the probes were disturbed, or that this could not be checked: a sentence; none if no figure suffers.
pub(super) fn caution(evidence: &Evidence) -> Option<String> {
    match counted(evidence) {
        Parts { marked: 0, unchecked: 0, .. } => None,
        Parts { marked: 0, all, unchecked, .. } => Some(format!(
            "Whether other work on the machine disturbed the probes could not be checked for {unchecked} of {}.",
            count(all, "timed part")
        )),
        Parts { marked, figures, .. } => Some(format!(
            "Other work on the machine disturbed {marked} of the probes' {}; their figures carry {MARK} and decide \
             nothing. {}",
            count(figures, "measurement"),
            by_method(evidence)
        )),
    }
}

/// What used the processors while trials trained side by side: a sentence; none where no trial says.
pub fn trials(evidence: &Evidence) -> Option<String> {
    let trained = evidence.records.iter().filter_map(|record| record.measured.training.as_ref()?.disturbance);
    let (mut capacity, mut others, mut stolen, mut told) = (0.0, 0.0, 0.0, false);
    for found in trained {
        capacity += found.seconds * found.processors as f64;
        others += found.others_seconds.unwrap_or(0.0);
        stolen += found.stolen_seconds.unwrap_or(0.0);
        told |= found.others_seconds.is_some();
    }
    if capacity <= 0.0 {
        return None;
    }
    Some(match told {
        true => format!(
            "While trials trained, side by side, other processes took {:.0} % of the processors and the hypervisor {:.0} %: \
             their times are longer by as much.",
            100.0 * others / capacity,
            100.0 * stolen / capacity
        ),
        false => "What else used the processors while trials trained could not be checked.".to_owned(),
    })
}

/// Which trials were trained otherwise than their settings say, so that they fitted into memory, and how: a sentence; none where
/// all were trained as they are.
pub fn fitted(evidence: &Evidence) -> Option<String> {
    let mut found: Vec<(&MethodFacts, &str, usize)> = Vec::new();
    for method in &evidence.study.methods {
        let own = evidence.records.iter().filter(|record| record.trial.method == method.name);
        for how in own.filter_map(|record| record.measured.fit.as_ref()?.changed.as_deref()) {
            match found.iter_mut().find(|(known, words, _)| (&known.name, *words) == (&method.name, how)) {
                Some((.., trials)) => *trials += 1,
                None => found.push((method, how, 1)),
            }
        }
    }
    let each = found
        .iter()
        .map(|(method, how, trials)| format!("{} ({}: {how})", method.title, count(*trials, "trial")));
    let each: Vec<String> = each.collect();
    (!each.is_empty()).then(|| {
        format!(
            "Fitted into memory: {}. Each step learnt from the same rows; sums are rounded in another order.",
            each.join("; ")
        )
    })
}

/// The disturbed methods, each with the worst that disturbed it.
fn by_method(evidence: &Evidence) -> String {
    let of = |method: &MethodFacts| {
        let words = worst(measurements(evidence.probe(&method.name)?))?;
        Some(format!("{} ({words})", method.title))
    };
    let methods: Vec<String> = evidence.study.methods.iter().filter_map(of).collect();
    format!("Disturbed: {}.", list(&methods))
}

fn counted(evidence: &Evidence) -> Parts {
    let mut found = Parts::default();
    for method in &evidence.study.methods {
        for part in evidence.probed(&method.name).into_iter().flat_map(parts) {
            found.all += 1;
            match part.map_or(Quiet::Unchecked, Disturbance::quiet) {
                Quiet::Yes => {}
                Quiet::No => found.disturbed += 1,
                Quiet::Unchecked => found.unchecked += 1,
            }
        }
        for part in evidence.probe(&method.name).into_iter().flat_map(measurements) {
            found.figures += 1;
            found.marked += usize::from(part.is_some_and(|part| part.quiet() == Quiet::No));
        }
    }
    found
}

/// What disturbed each timed part of a probe, round by round; that of the energy is that of the steps and batches.
fn parts(probe: &Probed) -> Vec<Option<&Disturbance>> {
    let idle = probe.idle_energy.iter().map(|energy| energy.disturbance.as_ref());
    probe.rounds.iter().flat_map(of_round).chain(idle).collect()
}

fn of_round(round: &Round) -> Vec<Option<&Disturbance>> {
    let points = round.points.iter().chain(&round.inference_points).map(|point| point.disturbance.as_ref());
    let loads = round.loads.iter().map(|load| load.disturbance.as_ref());
    let stretches = [&round.training, &round.inference].map(|stretch| stretch.speed.disturbance.as_ref());
    stretches.into_iter().chain(points).chain(loads).collect()
}

/// What disturbed what figures are made of.
fn measurements(timings: &Timings) -> Vec<Option<&Disturbance>> {
    let points =
        timings.points.iter().chain(&timings.inference_points).map(|point| point.disturbance.as_ref());
    let loads = timings.loads.iter().map(|load| load.disturbance.as_ref());
    let idle = timings.idle_energy.iter().map(|energy| energy.disturbance.as_ref());
    [timings.training.disturbance.as_ref(), timings.inference.disturbance.as_ref()]
        .into_iter()
        .chain(points)
        .chain(loads)
        .chain(idle)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::{self, World};
    use crate::record::TrainingTime;

    fn world(change: impl Fn(&str, &mut Probed)) -> World {
        let mut world = World::new();
        for record in &mut world.records {
            if let Some(probed) = &mut record.measured.probe {
                change(&record.trial.method, probed);
            }
        }
        world
    }

    #[test]
    fn a_method_was_alone_on_the_machine_only_where_that_was_checked() {
        let quiet = World::new();
        let words = probes(&quiet.evidence());
        assert!(words.contains("In none of the") && words.contains("timed parts"), "{words}");
        assert_eq!(caution(&quiet.evidence()), None);

        let unchecked = world(|_, probed| probed.rounds[0].training.speed.disturbance = None);
        let words = probes(&unchecked.evidence());
        assert!(words.contains("could not be checked for 7 of"), "{words}");
        assert!(caution(&unchecked.evidence()).unwrap().contains("could not be checked"));

        let disturbed = world(|method, probed| {
            if method == "ia3" {
                probed.rounds[0].training.speed.disturbance = Some(synthetic::disturbed());
            }
        });
        let words = probes(&disturbed.evidence());
        assert!(words.contains("not alone on the machine: other work disturbed 1 of"), "{words}");
        assert!(words.contains("Disturbed: (IA)³ (1 of 22 timed parts disturbed"), "{words}");
        assert!(caution(&disturbed.evidence()).unwrap().contains("other processes took 48 %"));
    }

    #[test]
    fn what_ran_beside_the_trials_is_told_where_they_say() {
        let mut world = World::new();
        assert_eq!(trials(&world.evidence()), None);
        for record in &mut world.records {
            let disturbance = Some(synthetic::disturbed());
            record.measured.training = Some(TrainingTime { seconds: 1.0, disturbance });
        }
        let words = trials(&world.evidence()).unwrap();
        assert!(
            words.contains("other processes took 48 % of the processors and the hypervisor 0 %"),
            "{words}"
        );
    }
}
