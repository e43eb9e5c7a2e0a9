//! Rounds: every method is measured once in each round, in another order each time, so that whatever disturbs the machine
//! touches all of them. A part that was disturbed is measured again, for all methods, once the rounds are over.

use super::child::Prober;
use super::part::{Answer, Part, Ready, Size};
use crate::error::Result;
use crate::meter::memory;
use crate::progress::{Event, Job as Bar, Progress};
use crate::record::{Arrivals, Load, Memory, Probed, Round};
use crate::study::config::Probing;
use crate::study::plan::Job;
use crate::study::store::RunFolder;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::time::{SystemTime, UNIX_EPOCH};
use tenfold_tensor::random;

/// What came of one method: its evidence and the losses of the steps that were trained, or why there is none.
pub(super) type Measured = std::result::Result<(Probed, Vec<f32>), String>;

/// A probe of several methods.
pub(super) struct Rounds<'a> {
    pub probing: &'a Probing,
    pub seed: u64,
    pub folder: &'a RunFolder,
    pub command: &'a [OsString],
    pub progress: &'a dyn Progress,
}

/// What is measured of every method, whatever the rate that a share of its capacity comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Slot {
    Inference,
    InferencePoint(Size),
    Closed { clients: usize, merged: bool },
    Rate { rate: f64, merged: bool },
    Share { share: f64, merged: bool },
    Training,
    TrainingPoint(Size),
}

/// A method in the rounds.
struct Method<'a> {
    job: &'a Job,
    /// Its process, where it stays between parts.
    prober: Option<Prober>,
    state: std::result::Result<Ready, String>,
    /// Requests a second, not merged and merged, that the closed loads of the first round found.
    capacity: [f64; 2],
}

/// What a part came to in one round, by the method's place.
#[derive(Default)]
struct Group {
    answers: BTreeMap<usize, Answer>,
    tries: usize,
}

impl Group {
    fn severity(&self) -> f64 {
        self.answers.values().map(Answer::severity).fold(0.0, f64::max)
    }
}

impl<'a> Rounds<'a> {
    /// Measures the methods of these trials together.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`](crate::Error::Interrupted) if the user stops it; the failure of one method is its own.
    pub(super) fn measure(&self, jobs: &'a [Job]) -> Result<Vec<Measured>> {
        let together =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let mut methods = Vec::new();
        let mut stays = true;
        for job in jobs {
            let mut prober = Prober::start(self.command, self.folder.path(), &job.name)?;
            let state = prober.ready(&|| self.stop())?;
            if let Ok(ready) = &state {
                stays &= stay(ready, jobs.len());
            }
            let prober = Some(prober).filter(|_| state.is_ok() && stays);
            methods.push(Method { job, prober, state, capacity: [0.0; 2] });
        }
        if !stays {
            // They do not fit into memory side by side: each is started anew for every part.
            methods.iter_mut().for_each(|method| drop(method.prober.take()));
        }
        let slots = self.slots(&methods);
        let groups = self.rounds(&mut methods, &slots)?;
        let evidence = |(place, method): (usize, &Method)| {
            let ready = method.state.clone()?;
            assembled(&ready, place, &groups, together)
                .ok_or_else(|| "not all parts were measured".to_owned())
        };
        Ok(methods.iter().enumerate().map(evidence).collect())
    }

    /// All rounds, and the disturbed parts again. By slot and round.
    fn rounds(&self, methods: &mut [Method], slots: &[Slot]) -> Result<Vec<Vec<Group>>> {
        let bar = Bar::new();
        let total = slots.len() * self.probing.rounds;
        self.progress.event(Event::Started {
            job: bar,
            title: format!("probes, {} rounds", self.probing.rounds),
            unit: "parts",
            total: Some(total as u64),
        });
        let mut groups: Vec<Vec<Group>> = slots.iter().map(|_| Vec::new()).collect();
        let mut done = 0;
        for round in 0..self.probing.rounds {
            for (place, slot) in slots.iter().enumerate() {
                let group = self.group(methods, *slot, random::mix(round as u64, place as u64))?;
                if round == 0 {
                    note_capacity(methods, *slot, &group);
                }
                groups[place].push(Group { tries: 1, ..group });
                done += 1;
                self.progress.event(Event::Advanced { job: bar, done, note: String::new() });
            }
        }
        self.progress.event(Event::Finished { job: bar, note: String::new() });
        for pass in 0..self.probing.retries {
            self.again(methods, slots, &mut groups, pass)?;
        }
        Ok(groups)
    }

    /// Measures disturbed parts again, for all methods, where fewer than half of a part's rounds were quiet for all of them;
    /// the less disturbed try is kept.
    fn again(
        &self,
        methods: &mut [Method],
        slots: &[Slot],
        groups: &mut [Vec<Group>],
        pass: usize,
    ) -> Result<()> {
        let is_disturbed = |group: &Group| group.severity() > 1.0;
        let disturbed = |rounds: &[Group]| rounds.iter().filter(|group| is_disturbed(group)).count();
        let is_wanted = |rounds: &[Group]| 2 * disturbed(rounds) > rounds.len();
        let total: usize =
            groups.iter().filter(|rounds| is_wanted(rounds)).map(|rounds| disturbed(rounds)).sum();
        if total == 0 {
            return Ok(());
        }
        let bar = Bar::new();
        self.progress.event(Event::Started {
            job: bar,
            title: "probes, parts again that other work disturbed".into(),
            unit: "parts",
            total: Some(total as u64),
        });
        let mut done = 0;
        for (place, (slot, kept)) in slots.iter().zip(groups).enumerate() {
            if !is_wanted(kept) {
                continue;
            }
            for (round, kept) in kept.iter_mut().enumerate().filter(|(_, kept)| is_disturbed(kept)) {
                let order = random::mix(u64::MAX - pass as u64, (place * slots.len() + round) as u64);
                let again = self.group(methods, *slot, order)?;
                kept.tries += 1;
                if again.severity() < kept.severity() {
                    kept.answers = again.answers;
                }
                done += 1;
                self.progress.event(Event::Advanced { job: bar, done, note: String::new() });
            }
        }
        self.progress.event(Event::Finished { job: bar, note: String::new() });
        Ok(())
    }

    /// One part of all methods, one after the other in an order of its own.
    fn group(&self, methods: &mut [Method], slot: Slot, order: u64) -> Result<Group> {
        let mut group = Group::default();
        for place in random::permutation(random::mix(random::key(self.seed, "rounds"), order), methods.len())
        {
            let method = &mut methods[place];
            let Some(part) = slot.of(method) else { continue };
            let answered = match &mut method.prober {
                Some(prober) => prober.measure(&part, &|| self.stop())?,
                None => {
                    let mut prober = Prober::start(self.command, self.folder.path(), &method.job.name)?;
                    match prober.ready(&|| self.stop())? {
                        Ok(_) => prober.measure(&part, &|| self.stop())?,
                        Err(reason) => Err(reason),
                    }
                }
            };
            match answered {
                Ok(answer) => drop(group.answers.insert(place, answer)),
                Err(reason) => {
                    method.state = Err(reason);
                    method.prober = None;
                }
            }
        }
        Ok(group)
    }

    fn stop(&self) -> bool {
        self.progress.stop_requested() || self.folder.check_here().is_err()
    }

    /// What is measured in each round: inference before training, whose memory stays with the process.
    fn slots(&self, methods: &[Method]) -> Vec<Slot> {
        let longest =
            methods.iter().find_map(|method| method.state.as_ref().ok()).map_or(0, |ready| ready.longest);
        let probing = self.probing;
        let lengths: BTreeSet<usize> = probing.lengths.iter().map(|length| (*length).min(longest)).collect();
        let rows: BTreeSet<usize> = probing.batch_sizes.iter().copied().collect();
        let sizes: Vec<Size> = lengths
            .iter()
            .flat_map(|length| rows.iter().map(|rows| Size { rows: *rows, length: *length }))
            .collect();
        // As many clients as servers find the capacity.
        let clients: BTreeSet<usize> =
            [1, probing.servers].into_iter().chain(probing.clients.clone()).collect();
        let mut slots = vec![Slot::Inference];
        slots.extend(sizes.iter().map(|size| Slot::InferencePoint(*size)));
        for merged in [false, true] {
            slots.extend(clients.iter().map(|clients| Slot::Closed { clients: *clients, merged }));
            slots.extend(probing.rates.iter().map(|rate| Slot::Rate { rate: *rate, merged }));
            slots.extend(probing.utilisations.iter().map(|share| Slot::Share { share: *share, merged }));
        }
        slots.push(Slot::Training);
        slots.extend(sizes.iter().map(|size| Slot::TrainingPoint(*size)));
        slots
    }
}

impl Slot {
    /// The part of a method; `None` where it has no such part.
    fn of(self, method: &Method) -> Option<Part> {
        let ready = method.state.as_ref().ok()?;
        let load = |arrivals, merged: bool| {
            let is_asked = ready.answers_requests && (!merged || ready.is_merged);
            is_asked.then_some(Part::Load { arrivals, merged })
        };
        match self {
            Slot::Inference => Some(Part::Inference),
            Slot::InferencePoint(size) => Some(Part::InferencePoint(size)),
            Slot::Closed { clients, merged } => load(Arrivals::Closed { clients }, merged),
            Slot::Rate { rate, merged } => load(Arrivals::Open { rate, share: None }, merged),
            Slot::Share { share, merged } => {
                let rate = share * method.capacity[usize::from(merged)];
                load(Arrivals::Open { rate, share: Some(share) }, merged)
            }
            Slot::Training => Some(Part::Training),
            Slot::TrainingPoint(size) => Some(Part::TrainingPoint(size)),
        }
    }
}

/// Whether the processes of so many methods may stay in memory side by side: within half of what there is, each with what
/// one takes to load, and two more for what training takes.
fn stay(ready: &Ready, methods: usize) -> bool {
    let all = ready.loading_peak_bytes.unwrap_or(0).saturating_mul(methods as u64 + 2);
    memory::limit_bytes().is_none_or(|limit| all <= limit / 2)
}

/// Takes the closed loads' rates for capacities.
fn note_capacity(methods: &mut [Method], slot: Slot, group: &Group) {
    let Slot::Closed { merged, .. } = slot else { return };
    for (place, answer) in &group.answers {
        if let Answer::Load(load) = answer {
            let capacity = &mut methods[*place].capacity[usize::from(merged)];
            *capacity = capacity.max(load.rate());
        }
    }
}

/// One method's evidence from all groups; `None` where a part is missing.
fn assembled(
    ready: &Ready,
    place: usize,
    groups: &[Vec<Group>],
    together: u64,
) -> Option<(Probed, Vec<f32>)> {
    let (mut rounds, mut first) = (Vec::new(), First::default());
    for round in 0..groups.first()?.len() {
        let (mut training, mut inference) = (None, None);
        let (mut points, mut inference_points, mut loads) = (Vec::new(), Vec::new(), Vec::new());
        for group in groups.iter().map(|rounds| &rounds[round]) {
            let Some(mut answer) = group.answers.get(&place).cloned() else { continue };
            answer.tried(group.tries);
            match answer {
                Answer::Inference { stretch, questions, memory } => {
                    first.inference.get_or_insert((questions, memory));
                    inference = Some(stretch);
                }
                Answer::Training { stretch, memory, losses } => {
                    first.training.get_or_insert((memory, losses));
                    training = Some(stretch);
                }
                // Points of inference come before training.
                Answer::Point(point) if training.is_none() => inference_points.push(point),
                Answer::Point(point) => points.push(point),
                Answer::Load(load) => loads.push(load),
                Answer::Ready(_) | Answer::Failed(_) => {}
            }
        }
        loads.sort_by(|a: &Load, b: &Load| {
            a.merged.cmp(&b.merged).then(heaviness(a).total_cmp(&heaviness(b)))
        });
        rounds.push(Round { training: training?, inference: inference?, points, inference_points, loads });
    }
    let ((inference_questions, inference_memory), (training_memory, losses)) =
        (first.inference?, first.training?);
    let probed = Probed {
        threads: ready.threads,
        loading_peak_bytes: ready.loading_peak_bytes,
        inference_questions,
        training_memory,
        inference_memory,
        idle_energy: None,
        gpu: None,
        together,
        rounds,
    };
    Some((probed, losses))
}

/// What counts of the first round alone: later ones find memory that earlier ones left.
#[derive(Default)]
struct First {
    inference: Option<(u64, Memory)>,
    training: Option<(Memory, Vec<f32>)>,
}

/// Clients come before rates, each by their number.
fn heaviness(load: &Load) -> f64 {
    match load.arrivals {
        Arrivals::Closed { clients } => -1e12 + clients as f64,
        Arrivals::Open { rate, .. } => rate,
    }
}
