//! A probe's rounds as one set of figures: each part from the rounds in which nothing disturbed it, where these are at least
//! half of them; else from all, and the figure is marked.

use crate::record::{
    Disturbance, Energy, Gpu, Lap, Load, Memory, Point, Probed, Quiet, Round, Speed, Stretch,
};
use crate::statistics::{Estimate, geometric_mean};

/// What was measured of one method.
#[derive(Debug, Clone, PartialEq)]
pub struct Timings {
    /// Threads that the probe used.
    pub threads: usize,
    /// The process's peak until the model, the rows and the method were there.
    pub loading_peak_bytes: Option<u64>,
    /// Training, with the seconds of each round.
    pub training: Speed,
    /// Mean seconds of a training step.
    pub step_seconds: f64,
    /// Inference, with the seconds of each round.
    pub inference: Speed,
    /// Whole questions among `inference.examples`.
    pub questions: u64,
    /// Peak memory of training.
    pub training_memory: Memory,
    /// Peak memory of inference.
    pub inference_memory: Memory,
    /// Training at several sizes of the batch, with the seconds of each round.
    pub points: Vec<Point>,
    /// Inference at several sizes of the batch.
    pub inference_points: Vec<Point>,
    /// Requests under each load, of all rounds together.
    pub loads: Vec<Load>,
    /// Energy of training: one lap for each round.
    pub training_energy: Energy,
    /// Energy of inference.
    pub inference_energy: Energy,
    /// Energy of the idle machine.
    pub idle_energy: Option<Energy>,
    /// The machine's GPUs.
    pub gpu: Option<Gpu>,
}

/// A part that methods are compared by within rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Seconds of training for an example.
    Training,
    /// Seconds of inference for an example.
    Inference,
    /// Seconds of a request by itself, the adapter not merged: the median.
    Request,
}

impl Timings {
    /// The figures of a probe; `None` without rounds.
    pub fn of(probed: &Probed) -> Option<Timings> {
        let rounds = &probed.rounds;
        let first = rounds.first()?;
        let (training, training_energy) = stretch(rounds, |round| &round.training);
        let (inference, inference_energy) = stretch(rounds, |round| &round.inference);
        let points = |of: fn(&Round) -> &[Point]| -> Vec<Point> {
            (0..of(first).len())
                .filter_map(|place| point(rounds.iter().map(|round| of(round).get(place))))
                .collect()
        };
        let loads = (0..first.loads.len())
            .filter_map(|place| load(rounds.iter().map(|round| round.loads.get(place))));
        Some(Timings {
            threads: probed.threads,
            loading_peak_bytes: probed.loading_peak_bytes,
            step_seconds: step_seconds(rounds),
            questions: probed.inference_questions * rounds_in(rounds, &inference),
            training_memory: probed.training_memory.clone(),
            inference_memory: probed.inference_memory.clone(),
            points: points(|round| &round.points),
            inference_points: points(|round| &round.inference_points),
            loads: loads.collect(),
            training,
            inference,
            training_energy,
            inference_energy,
            idle_energy: probed.idle_energy.clone(),
            gpu: probed.gpu.clone(),
        })
    }
}

/// How many times as long one method takes as another, within each round, with the interval over rounds (Student's t of the
/// ratios' logarithms). Rounds in which either was disturbed are left out where others are at least half of them. `None` if they
/// were not timed in the same rounds.
pub fn ratio(one: &Probed, other: &Probed, pace: Pace) -> Option<(Estimate, Option<Disturbance>)> {
    if one.together != other.together || one.rounds.len() != other.rounds.len() {
        return None;
    }
    let pairs: Vec<(f64, [Option<Disturbance>; 2])> = (one.rounds.iter().zip(&other.rounds))
        .map(|(one, other)| {
            let ((own, first), (theirs, second)) = (pace.of(one)?, pace.of(other)?);
            Some((own / theirs, [first, second])).filter(|(ratio, _)| ratio.is_finite() && *ratio > 0.0)
        })
        .collect::<Option<_>>()?;
    let worst = |both: &[Option<Disturbance>; 2]| worst(both.iter().copied());
    let kept = kept(pairs.iter().map(|(_, both)| worst(both)));
    let ratios: Vec<f64> = kept.iter().map(|place| pairs[*place].0).collect();
    let disturbance = self::worst(kept.iter().map(|place| worst(&pairs[*place].1)));
    Some((geometric_mean(&ratios)?, disturbance))
}

impl Pace {
    /// Seconds in one round, and what disturbed them.
    fn of(self, round: &Round) -> Option<(f64, Option<Disturbance>)> {
        let of = |speed: &Speed| {
            Some((speed.batch_seconds.iter().sum::<f64>() / speed.examples as f64, speed.disturbance))
        };
        match self {
            Pace::Training => of(&round.training.speed),
            Pace::Inference => of(&round.inference.speed),
            Pace::Request => {
                let alone = round.loads.iter().find(|load| !load.merged)?;
                Some((alone.latency.quantile(0.5)?, alone.disturbance))
            }
        }
    }
}

/// The rounds that count: those that nothing disturbed, where they are at least half; else all.
fn kept(disturbances: impl Iterator<Item = Option<Disturbance>>) -> Vec<usize> {
    let is_quiet = |found: &Option<Disturbance>| found.is_none_or(|found| found.quiet() != Quiet::No);
    let quiet: Vec<bool> = disturbances.map(|found| is_quiet(&found)).collect();
    let places = |wanted: &dyn Fn(bool) -> bool| -> Vec<usize> {
        (0..quiet.len()).filter(|place| wanted(quiet[*place])).collect()
    };
    let undisturbed = places(&|quiet| quiet);
    if 2 * undisturbed.len() >= quiet.len() { undisturbed } else { places(&|_| true) }
}

/// The most disturbed of several; one that could not be checked counts where no other was disturbed.
fn worst(all: impl Iterator<Item = Option<Disturbance>>) -> Option<Disturbance> {
    let all: Vec<Option<Disturbance>> = all.collect();
    let most = all.iter().flatten().max_by(|a, b| a.severity().total_cmp(&b.severity())).copied();
    let is_checked =
        |found: &Option<Disturbance>| found.is_some_and(|found| found.quiet() != Quiet::Unchecked);
    match most {
        Some(found) if found.quiet() == Quiet::No => most,
        _ => all.iter().find(|found| !is_checked(found)).copied().unwrap_or(most),
    }
}

/// How many rounds are in a speed: a lone round keeps its batches.
fn rounds_in(rounds: &[Round], speed: &Speed) -> u64 {
    if rounds.len() == 1 { 1 } else { speed.batch_seconds.len() as u64 }
}

/// Mean seconds of a training step over the rounds that count.
fn step_seconds(rounds: &[Round]) -> f64 {
    let kept = kept(rounds.iter().map(|round| round.training.speed.disturbance));
    let seconds = || kept.iter().flat_map(|place| &rounds[*place].training.speed.batch_seconds);
    seconds().sum::<f64>() / seconds().count() as f64
}

/// Speed and energy of all rounds that count. A lone round keeps its batches.
fn stretch(rounds: &[Round], of: impl Fn(&Round) -> &Stretch) -> (Speed, Energy) {
    let all: Vec<&Stretch> = rounds.iter().map(of).collect();
    if let [only] = all.as_slice() {
        return (only.speed.clone(), only.energy.clone());
    }
    let kept: Vec<&Stretch> =
        kept(all.iter().map(|one| one.speed.disturbance)).into_iter().map(|place| all[place]).collect();
    let disturbance = worst(kept.iter().map(|one| one.speed.disturbance));
    let sum = |work: fn(&Speed) -> u64| kept.iter().map(|one| work(&one.speed)).sum();
    let speed = Speed {
        examples: sum(|speed| speed.examples),
        tokens: sum(|speed| speed.tokens),
        batch_seconds: kept.iter().map(|one| one.speed.batch_seconds.iter().sum()).collect(),
        disturbance,
    };
    let lap = |one: &&Stretch| Lap { joules: one.energy.joules, seconds: one.energy.seconds };
    let energy = Energy {
        joules: kept.iter().map(|one| one.energy.joules).sum(),
        seconds: kept.iter().map(|one| one.energy.seconds).sum(),
        processor_seconds: kept.iter().map(|one| one.energy.processor_seconds).sum(),
        source: all[0].energy.source.clone(),
        laps: kept.iter().map(lap).collect(),
        disturbance,
    };
    (speed, energy)
}

fn point<'p>(rounds: impl Iterator<Item = Option<&'p Point>>) -> Option<Point> {
    let all: Vec<&Point> = rounds.collect::<Option<_>>()?;
    let kept: Vec<&Point> =
        kept(all.iter().map(|one| one.disturbance)).into_iter().map(|place| all[place]).collect();
    Some(Point {
        seconds: kept.iter().flat_map(|one| one.seconds.clone()).collect(),
        disturbance: worst(kept.iter().map(|one| one.disturbance)),
        ..all[0].clone()
    })
}

fn load<'l>(rounds: impl Iterator<Item = Option<&'l Load>>) -> Option<Load> {
    let all: Vec<&Load> = rounds.collect::<Option<_>>()?;
    let kept: Vec<&Load> =
        kept(all.iter().map(|one| one.disturbance)).into_iter().map(|place| all[place]).collect();
    let mut whole = Load::empty(all[0].arrivals, all[0].servers);
    for one in &kept {
        whole.seconds += one.seconds;
        whole.latency.add(&one.latency);
        whole.service.add(&one.service);
        whole.first_token.add(&one.first_token);
        whole.next_token.add(&one.next_token);
    }
    Some(Load { merged: all[0].merged, disturbance: worst(kept.iter().map(|one| one.disturbance)), ..whole })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::{World, disturbed};

    /// The probe of a method in three rounds alike, of which `change` is given each with its number.
    fn probed(method: &str, change: impl Fn(usize, &mut Round)) -> Probed {
        let world = World::new();
        let record = world
            .records
            .into_iter()
            .find(|record| record.trial.method == method && record.measured.probe.is_some());
        let mut probed = *record.unwrap().measured.probe.unwrap();
        probed.rounds = vec![probed.rounds[0].clone(); 3];
        probed.rounds.iter_mut().enumerate().for_each(|(number, round)| change(number, round));
        probed
    }

    fn slow(round: &mut Round, factor: f64) {
        round.training.speed.batch_seconds.iter_mut().for_each(|seconds| *seconds *= factor);
    }

    #[test]
    fn disturbed_rounds_are_left_out_where_others_are_at_least_half_and_mark_the_figure_where_not() {
        let rate = |timings: &Timings| {
            timings.training.examples as f64 / timings.training.batch_seconds.iter().sum::<f64>()
        };
        let quiet = Timings::of(&probed("lora", |_, _| {})).unwrap();
        let with = |places: &[usize]| {
            let change = |number: usize, round: &mut Round| {
                if places.contains(&number) {
                    slow(round, 3.0);
                    round.training.speed.disturbance = Some(disturbed());
                }
            };
            Timings::of(&probed("lora", change)).unwrap()
        };
        assert_eq!(quiet.training.batch_seconds.len(), 3);
        let one = with(&[1]);
        assert_eq!(one.training.batch_seconds.len(), 2);
        assert!((rate(&one) / rate(&quiet) - 1.0).abs() < 1e-12);
        assert!((one.step_seconds / quiet.step_seconds - 1.0).abs() < 1e-12);
        assert_eq!(one.training.disturbance.map(|found| found.quiet()), Some(Quiet::Yes));
        let two = with(&[0, 1]);
        assert_eq!(two.training.batch_seconds.len(), 3);
        assert_eq!(two.training.disturbance.map(|found| found.quiet()), Some(Quiet::No));
        // Every part has rounds of its own: what disturbed training says nothing of the requests.
        assert_eq!(two.loads[0].disturbance.map(|found| found.quiet()), Some(Quiet::Yes));
        let requests = probed("lora", |_, _| {}).rounds[0].loads[0].latency.count();
        assert_eq!(quiet.loads[0].latency.count(), 3 * requests);
    }

    #[test]
    fn what_slows_the_whole_machine_down_changes_no_ratio() {
        let machine = |number: usize, round: &mut Round| slow(round, [1.0, 1.6, 1.2][number]);
        let (lora, full) = (probed("lora", machine), probed("full", machine));
        let steady = ratio(&probed("full", |_, _| {}), &probed("lora", |_, _| {}), Pace::Training).unwrap().0;
        let (found, disturbance) = ratio(&full, &lora, Pace::Training).unwrap();
        assert!((found.value / steady.value - 1.0).abs() < 1e-9 && found.n == 3, "{found:?} {steady:?}");
        assert_eq!(disturbance.map(|found| found.quiet()), Some(Quiet::Yes));
        // A round in which one of the two was disturbed counts for neither.
        let one_sided = probed("lora", |number, round| {
            machine(number, round);
            if number == 1 {
                slow(round, 2.0);
                round.training.speed.disturbance = Some(disturbed());
            }
        });
        let (found, _) = ratio(&full, &one_sided, Pace::Training).unwrap();
        assert!((found.value / steady.value - 1.0).abs() < 1e-9 && found.n == 2, "{found:?} {steady:?}");
        for pace in [Pace::Inference, Pace::Request] {
            assert!(ratio(&full, &lora, pace).unwrap().0.value > 0.0);
        }
        // Rounds of two runs have nothing to do with one another.
        let other = Probed { together: 2, ..lora };
        assert_eq!(ratio(&full, &other, Pace::Training), None);
    }
}
