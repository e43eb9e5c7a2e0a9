//! Joules: from the processor's own counters where they can be read, else an estimate that says so.

use super::powercap::Counters;
use crate::record::{Energy, EnergySource, Lap};
use std::fs;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Power assumed for a busy core where nothing can be read: a server core's share of its package's
/// thermal design power is commonly 4 to 10 W (Lannelongue et al. 2021, doi:10.1002/advs.202100707).
pub const WATTS_PER_CORE: f64 = 8.0;
/// Laps of an idle stretch.
const IDLE_LAPS: u32 = 10;

/// A measurement under way.
pub struct Meter {
    /// Counters, or why there are none.
    counters: Result<Ticking, String>,
    start: Instant,
    processor_seconds: Option<f64>,
    /// Joules and seconds up to the end of the last lap.
    lap: Lap,
    laps: Vec<Lap>,
}

/// Counters that a thread reads often enough.
struct Ticking {
    counters: Arc<Mutex<Counters>>,
    /// The thread ends when this does.
    _until: Sender<()>,
}

impl Meter {
    /// Starts measuring with the counters below `tree`, or for an estimate if there are none to read.
    pub fn start(tree: &Path) -> Meter {
        Meter {
            counters: Counters::open(tree).and_then(Ticking::start),
            start: Instant::now(),
            processor_seconds: processor_seconds(),
            lap: Lap { joules: 0.0, seconds: 0.0 },
            laps: Vec::new(),
        }
    }

    /// Ends a part of the stretch that is as long as the others, such as a step. An estimate has none: its parts would say
    /// how steady the processor was, not how sure the estimate is.
    pub fn lap(&mut self) {
        let Ok(Ok(joules)) = self.counters.as_ref().map(Ticking::joules) else { return };
        let now = Lap { joules, seconds: self.start.elapsed().as_secs_f64() };
        self.laps.push(Lap { joules: now.joules - self.lap.joules, seconds: now.seconds - self.lap.seconds });
        self.lap = now;
    }

    /// Ends the measurement.
    pub fn stop(self) -> Energy {
        let measured = self.counters.and_then(|ticking| Ok((ticking.joules()?, ticking.lock().names())));
        let seconds = self.start.elapsed().as_secs_f64();
        let processor_seconds = processor_seconds().zip(self.processor_seconds).map(|(now, then)| now - then);
        let (joules, source, laps) = match measured {
            Ok((joules, zones)) => (joules, EnergySource::Rapl { zones }, self.laps),
            Err(because) => {
                let source = EnergySource::Estimate { watts_per_core: WATTS_PER_CORE, because };
                (processor_seconds.unwrap_or(0.0) * WATTS_PER_CORE, source, Vec::new())
            }
        };
        Energy { joules, seconds, processor_seconds, source, laps, disturbance: None }
    }
}

impl Ticking {
    fn start(counters: Counters) -> Result<Ticking, String> {
        let interval = counters.interval();
        let counters = Arc::new(Mutex::new(counters));
        let (until, ended) = mpsc::channel::<()>();
        let shared = counters.clone();
        let tick = move || {
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                lock(&shared).tick();
            }
        };
        let thread = std::thread::Builder::new().name("energy".into()).spawn(tick);
        thread.map_err(|error| format!("no thread could be started to read the counters: {error}"))?;
        Ok(Ticking { counters, _until: until })
    }

    /// Joules until now.
    fn joules(&self) -> Result<f64, String> {
        let mut counters = self.lock();
        counters.tick();
        counters.joules()
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        lock(&self.counters)
    }
}

fn lock(counters: &Mutex<Counters>) -> MutexGuard<'_, Counters> {
    counters.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Energy of doing nothing for so many seconds; `None` for 0 of them, and where there is no counter to read.
pub fn idle(tree: &Path, seconds: f64) -> Option<Energy> {
    let lap =
        Duration::try_from_secs_f64(seconds / f64::from(IDLE_LAPS)).ok().filter(|lap| !lap.is_zero())?;
    let mut meter = Meter::start(tree);
    meter.counters.as_ref().ok()?;
    for _ in 0..IDLE_LAPS {
        std::thread::sleep(lap);
        meter.lap();
    }
    Some(meter.stop()).filter(|energy| matches!(energy.source, EnergySource::Rapl { .. }))
}

/// Processor time of all threads of this process, in seconds (proc_pid_stat(5), fields 14 and 15,
/// in the kernel's hundredths).
pub fn processor_seconds() -> Option<f64> {
    seconds_in(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// Processor time of a process, in seconds, from its `stat`.
pub(super) fn seconds_in(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::super::powercap::tests::Tree;
    use super::*;

    const PACKAGE: &str = "intel-rapl:0";

    #[test]
    fn laps_add_up_to_the_whole() {
        let tree = Tree::new(1_000_000, &[(PACKAGE, "package-0", 999_900)]);
        let mut meter = Meter::start(tree.path());
        for energy in [100, 400, 900] {
            tree.set(PACKAGE, energy);
            meter.lap();
        }
        tree.set(PACKAGE, 1000);
        let energy = meter.stop();
        assert_eq!(energy.source, EnergySource::Rapl { zones: vec!["package-0 (intel-rapl:0)".into()] });
        let microjoules = |joules: f64| (joules * 1e6).round() as u64;
        assert_eq!(microjoules(energy.joules), 1100);
        let laps: Vec<u64> = energy.laps.iter().map(|lap| microjoules(lap.joules)).collect();
        assert_eq!(laps, [200, 300, 500]);
        assert!(energy.laps.iter().map(|lap| lap.seconds).sum::<f64>() <= energy.seconds);
    }

    #[test]
    fn nothing_wraps_around_twice_unseen() {
        let tree = Tree::new(1000, &[(PACKAGE, "package-0", 0)]);
        let meter = Meter::start(tree.path());
        // Four times round; whoever reads at the end alone sees 600. The thread alone reads here.
        let seen = || meter.counters.as_ref().unwrap().lock().joules().unwrap() * 1e6;
        let began = Instant::now();
        for turn in 1..=8 {
            tree.set(PACKAGE, turn * 575 % 1000);
            while (seen() - 575.0 * turn as f64).abs() > 1e-6 {
                assert!(began.elapsed() < Duration::from_secs(60), "{turn}: {}", seen());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        assert!((meter.stop().joules * 1e6 - 4600.0).abs() < 1e-6);
    }

    #[test]
    fn an_idle_machine_is_measured_where_that_can_be() {
        let tree = Tree::new(1_000_000, &[(PACKAGE, "package-0", 0)]);
        let energy = idle(tree.path(), 0.05).unwrap();
        assert_eq!((energy.joules, energy.laps.len()), (0.0, IDLE_LAPS as usize));
        assert!(energy.seconds >= 0.05 && energy.seconds < 5.0);
        assert!(idle(tree.path(), 0.0).is_none() && idle(&tree.path().join("nowhere"), 1e9).is_none());
    }

    #[test]
    fn without_counters_the_estimate_says_so_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let mut meter = Meter::start(dir.path());
        meter.lap();
        let energy = meter.stop();
        let EnergySource::Estimate { watts_per_core, because } = &energy.source else { panic!("{energy:?}") };
        assert!(because.contains("shows no counter"), "{because}");
        assert!((energy.joules - energy.processor_seconds.unwrap() * watts_per_core).abs() < 1e-9);
        assert!(energy.laps.is_empty());
        // Where the system tells of no processor time either, none is made up.
        let energy = Meter { processor_seconds: None, ..Meter::start(dir.path()) }.stop();
        assert_eq!((energy.joules, energy.processor_seconds), (0.0, None));
        // A counter that fails on the way is not believed either.
        let tree = Tree::new(u64::MAX, &[(PACKAGE, "package-0", 5000)]);
        let meter = Meter::start(tree.path());
        tree.set(PACKAGE, 1);
        let energy = meter.stop();
        assert!(
            matches!(energy.source, EnergySource::Estimate { because, .. } if because.contains("no counting"))
        );
    }
}
