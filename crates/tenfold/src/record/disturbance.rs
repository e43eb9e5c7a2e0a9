//! What else used the processors while something was timed.

use serde::{Deserialize, Serialize};

/// A part is disturbed if its threads waited for a processor for longer than this share of the time that one of them
/// computed. Threads meet at the end of every matrix product, so a wait of one of them is a wait of all: the share bounds
/// how much longer the part took. Methods are called alike in cost within 5 %, so what disturbs less decides nothing.
const WAITED_SHARE: f64 = 0.05;
/// Waits that are below this prove nothing: a wake-up takes microseconds on an idle machine too.
const WAITED_SECONDS: f64 = 1e-3;
/// A part is disturbed if other processes and the hypervisor took more than this share of the processors: they share caches,
/// memory and clock rate with it even where no thread had to wait.
const TAKEN_SHARE: f64 = 0.05;
/// The kernel counts processors' time in hundredths of a second and may be wrong by so many of them on each processor.
const TICKS: f64 = 3.0;
const TICK_SECONDS: f64 = 0.01;

/// What disturbed a part that was timed: for how long its threads waited, and who had the processors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Disturbance {
    /// Wall time of the part, in seconds.
    pub seconds: f64,
    /// Processors that this process may use.
    pub processors: usize,
    /// Threads of this process that compute.
    pub threads: usize,
    /// Processor seconds of this process.
    pub own_seconds: Option<f64>,
    /// Seconds for which threads of this process could run but waited for a processor, summed over the threads. `None` where
    /// the system does not tell.
    pub waited_seconds: Option<f64>,
    /// Seconds that the hypervisor took from these processors. `None` where the system does not tell.
    pub stolen_seconds: Option<f64>,
    /// Processor seconds of everything else that ran on these processors. `None` where the system does not tell.
    pub others_seconds: Option<f64>,
    /// How often the part was measured; what disturbed the kept try stands here.
    pub tries: usize,
}

/// What a disturbance amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quiet {
    /// It was checked, and nothing disturbed the part.
    Yes,
    /// It could not be checked: the system does not tell.
    Unchecked,
    /// The part was disturbed.
    No,
}

impl Disturbance {
    /// Whether the part had the processors to itself.
    pub fn quiet(&self) -> Quiet {
        match self.severity() {
            severity if severity > 1.0 => Quiet::No,
            _ if self.waited_seconds.is_some() && self.others_seconds.is_some() => Quiet::Yes,
            _ => Quiet::Unchecked,
        }
    }

    /// How disturbed the part was: above 1 is too much.
    pub fn severity(&self) -> f64 {
        let waited = self.waited_for_others().unwrap_or(0.0);
        (waited / self.waits_allowed()).max(self.taken().unwrap_or(0.0) / self.taking_allowed())
    }

    /// What disturbed the part, for people; `None` if nothing did, or it could not be checked.
    pub fn words(&self) -> Option<String> {
        if self.quiet() != Quiet::No {
            return None;
        }
        let capacity = self.seconds * self.processors as f64;
        let share =
            |seconds: Option<f64>| seconds.map(|s| 100.0 * s / capacity).filter(|share| *share >= 0.5);
        let others = share(self.others_seconds).map(|share| format!("other processes took {share:.0} %"));
        let stolen = share(self.stolen_seconds).map(|share| format!("the hypervisor took {share:.0} %"));
        let taken: Vec<String> = others.into_iter().chain(stolen).collect();
        let taken = (!taken.is_empty()).then(|| format!("{} of the processors", taken.join(" and ")));
        let waited = self.waited_for_others().filter(|waited| *waited > self.waits_allowed());
        let waited = waited.map(|waited| {
            let (waited, seconds) =
                (crate::unit::Unit::Seconds.write(waited), crate::unit::Unit::Seconds.write(self.seconds));
            format!("its threads waited {waited} for a processor within {seconds}")
        });
        let tries = (self.tries > 1).then(|| format!("the least disturbed of {} tries", self.tries));
        let parts: Vec<String> = taken.into_iter().chain(waited).chain(tries).collect();
        Some(parts.join("; "))
    }

    /// A line on what else used the processors, for people; `None` if it was checked and nothing did.
    pub fn note(&self) -> Option<String> {
        match (self.words(), self.quiet()) {
            (Some(words), _) => Some(format!("disturbed by other work on the machine: {words}")),
            (None, Quiet::Unchecked) => Some(
                "whether other work on the machine disturbed it could not be checked: the system does not tell".into(),
            ),
            (None, _) => None,
        }
    }

    /// Seconds of waiting that other work can have caused. Threads of one process wait for one another too: clients under a
    /// load, and what wakes and watches them. With one computing thread for each processor, what others did not take, no
    /// thread waited for because of them. More threads than processors wait for one another all the time: `None`.
    fn waited_for_others(&self) -> Option<f64> {
        let waited = self.waited_seconds.filter(|_| self.threads <= self.processors)?;
        Some(self.taken().map_or(waited, |taken| waited.min(taken)))
    }

    /// Processor seconds that other processes and the hypervisor took.
    fn taken(&self) -> Option<f64> {
        self.others_seconds.map(|others| others + self.stolen_seconds.unwrap_or(0.0))
    }

    fn waits_allowed(&self) -> f64 {
        let computed = self.own_seconds.unwrap_or(self.seconds) / self.threads.max(1) as f64;
        (WAITED_SHARE * computed).max(WAITED_SECONDS)
    }

    fn taking_allowed(&self) -> f64 {
        (TAKEN_SHARE * self.seconds + TICKS * TICK_SECONDS) * self.processors.max(1) as f64
    }
}

/// What disturbed any of several parts: the words of the most disturbed one, with how many of them were.
pub fn worst<'a>(parts: impl IntoIterator<Item = Option<&'a Disturbance>>) -> Option<String> {
    let all: Vec<&Disturbance> = parts.into_iter().flatten().collect();
    let disturbed: Vec<&&Disturbance> = all.iter().filter(|part| part.quiet() == Quiet::No).collect();
    let most = disturbed.iter().max_by(|a, b| a.severity().total_cmp(&b.severity()))?;
    let words = most.words()?;
    Some(match all.len() {
        1 => words,
        n => format!("{} of {n} timed parts disturbed, the worst: {words}", disturbed.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Disturbance = Disturbance {
        seconds: 2.0,
        processors: 2,
        threads: 2,
        own_seconds: Some(3.8),
        waited_seconds: Some(0.01),
        stolen_seconds: Some(0.02),
        others_seconds: Some(0.05),
        tries: 1,
    };

    #[test]
    fn a_part_that_had_the_processors_to_itself_is_quiet() {
        assert_eq!((QUIET.quiet(), QUIET.words()), (Quiet::Yes, None));
    }

    #[test]
    fn each_witness_alone_shows_a_disturbance_and_names_it() {
        let waited = Disturbance { waited_seconds: Some(0.5), others_seconds: Some(0.18), ..QUIET };
        let others = Disturbance { others_seconds: Some(1.9), tries: 3, ..QUIET };
        let stolen = Disturbance { stolen_seconds: Some(0.8), others_seconds: Some(0.0), ..QUIET };
        assert!([waited, others, stolen].iter().all(|part| part.quiet() == Quiet::No));
        let words = waited.words().unwrap();
        assert!(words.ends_with("its threads waited 200 ms for a processor within 2.00 s"), "{words}");
        let words = others.words().unwrap();
        assert!(words.starts_with("other processes took 48 % and"), "{words}");
        assert!(words.ends_with("; the least disturbed of 3 tries"), "{words}");
        assert_eq!(stolen.words().unwrap(), "the hypervisor took 20 % of the processors");
    }

    #[test]
    fn threads_that_wait_for_one_another_disturb_nothing() {
        // A load of several clients on a machine that nobody else used, as measured.
        let clients = Disturbance {
            seconds: 0.71,
            own_seconds: Some(1.12),
            waited_seconds: Some(0.14),
            stolen_seconds: Some(0.0),
            others_seconds: Some(0.0),
            ..QUIET
        };
        assert_eq!((clients.quiet(), clients.words()), (Quiet::Yes, None));
        assert_eq!(Disturbance { others_seconds: Some(0.13), ..clients }.quiet(), Quiet::No);
    }

    #[test]
    fn an_open_load_that_idles_is_judged_by_the_time_that_it_computed() {
        // A tenth of a second of work in two seconds: 60 ms of waiting are more than half of it.
        let open = Disturbance { own_seconds: Some(0.1), waited_seconds: Some(0.06), ..QUIET };
        assert_eq!(open.quiet(), Quiet::No);
    }

    #[test]
    fn a_short_part_is_not_judged_by_hundredths_of_a_second() {
        let short = Disturbance {
            seconds: 0.03,
            own_seconds: Some(0.06),
            waited_seconds: Some(0.0),
            stolen_seconds: Some(0.01),
            others_seconds: Some(0.03),
            ..QUIET
        };
        assert_eq!(short.quiet(), Quiet::Yes);
        assert_eq!(Disturbance { waited_seconds: Some(0.01), ..short }.quiet(), Quiet::No);
    }

    #[test]
    fn more_threads_than_processors_wait_for_one_another() {
        let crowded = Disturbance { threads: 4, waited_seconds: Some(3.0), ..QUIET };
        assert_eq!(crowded.quiet(), Quiet::Yes);
    }

    #[test]
    fn what_the_system_does_not_tell_is_unchecked() {
        let untold = Disturbance { waited_seconds: None, ..QUIET };
        assert_eq!(untold.quiet(), Quiet::Unchecked);
        let untold = Disturbance { others_seconds: None, stolen_seconds: None, ..QUIET };
        assert_eq!(untold.quiet(), Quiet::Unchecked);
        // What can be told may still show a disturbance.
        assert_eq!(Disturbance { waited_seconds: Some(1.0), ..untold }.quiet(), Quiet::No);
    }

    #[test]
    fn of_several_parts_the_worst_is_told_with_how_many_there_were() {
        let (bad, worse) = (
            Disturbance { others_seconds: Some(1.0), ..QUIET },
            Disturbance { others_seconds: Some(3.0), ..QUIET },
        );
        assert_eq!(worst([Some(&QUIET), None]), None);
        let words = worst([Some(&QUIET), Some(&bad), Some(&worse)]).unwrap();
        let told = "2 of 3 timed parts disturbed, the worst: other processes took 75 %";
        assert!(words.starts_with(told), "{words}");
        assert_eq!(worst([Some(&bad)]), bad.words());
    }
}
