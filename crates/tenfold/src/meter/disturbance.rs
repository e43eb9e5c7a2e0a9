//! What else uses the processors while something is timed: waits of this process's threads, the hypervisor, and other
//! processes (Linux: proc(5), and Documentation/scheduler/sched-stats.rst for waits).

use super::energy::seconds_in;
use super::machine;
use crate::error::Result;
use crate::record::{Disturbance, Quiet};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Where Linux tells of processes and processors.
const PROC: &str = "/proc";
/// The kernel counts processors' time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;
/// By so many of them, a count may be wrong on each processor: one at either end, and one for what a tick happens to meet.
const WRONG_TICKS: f64 = 3.0;
/// On a machine with more tasks, reading them all would take longer than what is timed.
const MOST_TASKS: usize = 4096;

/// A measurement under way.
pub struct Watch {
    threads: usize,
    began: Instant,
    start: Counts,
}

/// What the system has counted so far.
struct Counts {
    /// Times of each thread of this process by its number; none where the system does not tell.
    threads: Option<BTreeMap<u32, Times>>,
    /// Entries of [`ended`] that are older.
    ended: usize,
    /// Times of every thread of other processes; none where the system does not tell.
    others: Option<BTreeMap<u32, Times>>,
    /// Processor seconds of this process, threads that ended included.
    own_seconds: Option<f64>,
    processors: Option<Processors>,
}

/// How long a thread ran, and how long it could run but waited for a processor, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Times {
    ran: u64,
    waited: u64,
}

/// Seconds of the processors that this process may use.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Processors {
    count: usize,
    busy: f64,
    stolen: f64,
}

impl Watch {
    /// Starts measuring a part on which so many threads of this process compute.
    pub fn start(threads: usize) -> Watch {
        Watch { threads, start: Counts::now(Path::new(PROC)), began: Instant::now() }
    }

    /// Ends the measurement.
    pub fn stop(self) -> Disturbance {
        let seconds = self.began.elapsed().as_secs_f64();
        between(&self.start, &Counts::now(Path::new(PROC)), &ended(), seconds, self.threads)
    }
}

/// Measures a part, and again, `retries` times at the most, while it is disturbed. The least disturbed try is kept, with
/// the number of tries.
pub fn least_disturbed<T>(
    retries: usize,
    mut measure: impl FnMut() -> Result<(T, Disturbance)>,
) -> Result<(T, Disturbance)> {
    let mut best = measure()?;
    let mut tries = 1;
    while best.1.quiet() == Quiet::No && tries <= retries {
        let next = measure()?;
        tries += 1;
        if next.1.severity() < best.1.severity() {
            best = next;
        }
    }
    best.1.tries = tries;
    Ok(best)
}

/// To be called by a thread that computed and ends while something may be timed: its times would go with it.
pub fn thread_ends() {
    let folder = Path::new(PROC).join("thread-self");
    let number = fs::read_link(&folder).ok().and_then(|target| target.file_name()?.to_str()?.parse().ok());
    if let Some(entry) = number.zip(times_of(&folder)) {
        ended().push(entry);
    }
}

/// Numbers and times of threads that ended, in their order.
static ENDED: Mutex<Vec<(u32, Times)>> = Mutex::new(Vec::new());

fn ended() -> MutexGuard<'static, Vec<(u32, Times)>> {
    ENDED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Counts {
    fn now(proc: &Path) -> Counts {
        let own = proc.join("self");
        let read = |path: &Path| fs::read_to_string(path).ok();
        let allowed = read(&own.join("status")).and_then(|text| allowed_processors(&text));
        let stat = read(&proc.join("stat"));
        Counts {
            // Before the threads are read: one that ends in between is then counted once, as ended.
            ended: ended().len(),
            threads: threads(&own.join("task")),
            others: others(proc),
            own_seconds: read(&own.join("stat")).and_then(|text| seconds_in(&text)),
            processors: stat.zip(allowed).and_then(|(text, allowed)| processors(&text, &allowed)),
        }
    }
}

/// What disturbed a part of `seconds` between two counts; `ended` holds the threads that ended up to the second one.
fn between(
    start: &Counts,
    end: &Counts,
    ended: &[(u32, Times)],
    seconds: f64,
    threads: usize,
) -> Disturbance {
    let times = start.threads.as_ref().zip(end.threads.as_ref()).map(|(before, after)| {
        let departed = ended.get(start.ended..).unwrap_or_default();
        gained(before, after, departed)
    });
    let by_process = end.own_seconds.zip(start.own_seconds).map(|(end, start)| end - start);
    let by_threads = times.map(|times| times.ran as f64 / 1e9);
    // Threads count exactly, but may have ended unseen; the process counts all of them, in hundredths of a second.
    let own_seconds = by_process.into_iter().chain(by_threads).max_by(f64::total_cmp);
    let processors = end.processors.zip(start.processors);
    let count = processors.map_or_else(machine::cores, |(end, _)| end.count);
    // The kernel's ticks are coarse: within a part of a millisecond one of them counts ten.
    let capacity = seconds * count as f64;
    let by_ticks = processors
        .zip(own_seconds)
        .map(|((end, start), own)| ((end.busy - start.busy).min(capacity) - own).max(0.0));
    let by_tasks = start.others.as_ref().zip(end.others.as_ref());
    let by_tasks = by_tasks.map(|(before, after)| gained(before, after, &[]).ran as f64 / 1e9);
    Disturbance {
        seconds,
        processors: count,
        threads,
        own_seconds,
        waited_seconds: times.map(|times| times.waited as f64 / 1e9),
        stolen_seconds: processors.map(|(end, start)| (end.stolen - start.stolen).clamp(0.0, capacity)),
        others_seconds: by_ticks.map(|by_ticks| others_seconds(by_ticks, by_tasks, count)),
        tries: 1,
    }
}

/// What others ran on so many processors. Ticks count all of it, but coarsely. Tasks count exactly, but without those that
/// began and ended in between, and with those that ran on other processors: they count as far as the ticks allow.
fn others_seconds(by_ticks: f64, by_tasks: Option<f64>, processors: usize) -> f64 {
    let wrong = WRONG_TICKS / TICKS_PER_SECOND * processors as f64;
    by_tasks.map_or(by_ticks, |by_tasks| by_tasks.clamp((by_ticks - wrong).max(0.0), by_ticks + wrong))
}

/// What threads ran and waited between two counts, with those that ended in between.
fn gained(before: &BTreeMap<u32, Times>, after: &BTreeMap<u32, Times>, departed: &[(u32, Times)]) -> Times {
    let since = |number: u32, now: Times| {
        // Less than before: another thread with the number of one that ended.
        let then = before.get(&number).copied().filter(|then| then.ran <= now.ran).unwrap_or_default();
        Times { ran: now.ran - then.ran, waited: now.waited.saturating_sub(then.waited) }
    };
    // A thread may say that it ends and still be there.
    let gone =
        departed.iter().filter(|(number, times)| after.get(number).is_none_or(|alive| alive.ran < times.ran));
    let all = after.iter().map(|(number, now)| (*number, *now)).chain(gone.copied());
    all.map(|(number, now)| since(number, now)).fold(Times::default(), |sum, times| Times {
        ran: sum.ran + times.ran,
        waited: sum.waited + times.waited,
    })
}

/// The times of every thread in a folder of tasks; none if the system does not tell.
fn threads(tasks: &Path) -> Option<BTreeMap<u32, Times>> {
    // One that has just ended is no longer there.
    let threads: BTreeMap<u32, Times> =
        numbered(tasks)?.filter_map(|(number, task)| Some((number, times_of(&task)?))).collect();
    // Kernels without statistics of the scheduler count nothing.
    threads.values().any(|times| times.ran > 0).then_some(threads)
}

/// The times of every thread of other processes; none if the system does not tell, or if there are too many.
fn others(proc: &Path) -> Option<BTreeMap<u32, Times>> {
    let own = std::process::id();
    let mut all = BTreeMap::new();
    for (_, process) in numbered(proc)?.filter(|(number, _)| *number != own) {
        // One that has just ended has no tasks; those of kernel threads may never have run.
        let tasks = numbered(&process.join("task")).into_iter().flatten();
        all.extend(tasks.filter_map(|(number, task)| Some((number, times_of(&task)?))));
        if all.len() > MOST_TASKS {
            return None;
        }
    }
    all.values().any(|times| times.ran > 0).then_some(all)
}

/// What a folder holds under numbers: processes or their tasks.
fn numbered(folder: &Path) -> Option<impl Iterator<Item = (u32, PathBuf)> + use<>> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    Some(entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))))
}

fn times_of(task: &Path) -> Option<Times> {
    schedstat(&fs::read_to_string(task.join("schedstat")).ok()?)
}

/// "1234567 8910 11": nanoseconds on a processor, nanoseconds waiting for one, and how often it got one.
fn schedstat(text: &str) -> Option<Times> {
    let mut fields = text.split_whitespace();
    Some(Times { ran: fields.next()?.parse().ok()?, waited: fields.next()?.parse().ok()? })
}

/// The processors that a process may use, from the line "Cpus_allowed_list: 0-3,8" of its status.
fn allowed_processors(status: &str) -> Option<BTreeSet<usize>> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut allowed = BTreeSet::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        allowed.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(allowed)
}

/// The times of the allowed processors, from lines "cpu0 user nice system idle iowait irq softirq steal guest guest_nice".
/// Guests' time is part of the user's.
fn processors(stat: &str, allowed: &BTreeSet<usize>) -> Option<Processors> {
    let mut all = Processors { count: 0, busy: 0.0, stolen: 0.0 };
    for line in stat.lines() {
        let mut fields = line.split_whitespace();
        let number = fields.next().and_then(|name| name.strip_prefix("cpu")?.parse().ok());
        if !number.is_some_and(|number| allowed.contains(&number)) {
            continue;
        }
        let ticks: Vec<f64> = fields.map_while(|field| field.parse().ok()).collect();
        let [user, nice, system, _idle, _waits, interrupts, soft_interrupts, stolen, ..] = ticks[..] else {
            return None;
        };
        all.count += 1;
        all.busy += (user + nice + system + interrupts + soft_interrupts) / TICKS_PER_SECOND;
        all.stolen += stolen / TICKS_PER_SECOND;
    }
    (all.count > 0).then_some(all)
}

#[cfg(test)]
mod tests;
