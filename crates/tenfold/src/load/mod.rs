//! Load: requests that come as clients or a timetable send them, and how long each waits and takes.
//!
//! A request's latency counts from the moment at which it was meant to be sent, also while all servers are busy: a stall
//! delays everybody who would have come in its course, and all of them are counted. A loop that only sends the next
//! request when the last is answered would not see them ("coordinated omission", G. Tene); it is here too, as the closed
//! load of so many clients, which is what it measures.
//!
//! Requests wait in one queue and are taken in the order in which they came by servers that work side by side, each with
//! its share of the threads: for a timetable of Poisson arrivals a queue M/G/k. Whoever is free takes the next request
//! and, if it has not come yet, waits for it; so no thread beside the servers is needed.

mod clock;
mod summary;
mod table;

pub use clock::{Clock, Wall};
pub use summary::{Quantiles, Summary};
pub use table::table;

use crate::error::{Error, Result};
use crate::meter::disturbance::thread_ends;
use crate::record::{Arrivals, Load};
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tenfold_tensor::random;

/// What answers the request of a number; it calls its second argument whenever a token of the answer is there.
pub type Answer<'a> = dyn Fn(usize, &mut dyn FnMut()) -> Result<()> + Sync + 'a;

/// Clients or servers of a load at the most.
pub const MOST_SIDE_BY_SIDE: usize = 1024;
/// Requests a second of an open load.
pub const RATES: RangeInclusive<f64> = 0.001..=1e6;

/// How much is sent, and to whom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// How requests come.
    pub arrivals: Arrivals,
    /// Requests that are worked on side by side.
    pub servers: usize,
    /// Requests, the first ones, that are answered but not counted.
    pub warm_up: usize,
    /// When enough is counted.
    pub length: Length,
    /// Decides the timetable.
    pub seed: u64,
}

/// When enough is counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// After so many requests.
    Requests(usize),
    /// When the next request would come later than so many seconds after the first that counts; that one counts always.
    Seconds(f64),
}

/// Puts a server under load. The first error of an answer ends it.
pub fn run(plan: &Plan, answer: &Answer, clock: &dyn Clock) -> Result<Load> {
    let run = Run { plan, answer, clock, state: Mutex::new(State::new(plan, clock.now())) };
    let servers = match plan.arrivals {
        Arrivals::Closed { clients } => plan.servers.min(clients),
        Arrivals::Open { .. } => plan.servers,
    };
    if servers <= 1 {
        run.serve();
    } else {
        let threads = (rayon::current_num_threads() / plan.servers).max(1);
        let pools = (0..servers)
            .map(|_| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                // Of what disturbed the load, these threads have their share.
                pool.exit_handler(|_| thread_ends()).build()
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::io("start", "a thread")(std::io::Error::other(error.to_string())))?;
        let run = &run;
        let served: std::io::Result<()> = std::thread::scope(|scope| {
            pools.iter().try_for_each(|pool| {
                let serve = move || pool.install(|| run.serve());
                std::thread::Builder::new().spawn_scoped(scope, serve).map(drop)
            })
        });
        served.map_err(Error::io("start", "a thread"))?;
    }
    run.state.into_inner().unwrap_or_else(PoisonError::into_inner).load()
}

/// Seconds of the arrivals of a Poisson process, one after the other, from 0 on: the gaps are exponential.
pub fn timetable(rate: f64, seed: u64) -> impl Iterator<Item = f64> {
    let key = random::key(seed, "arrivals");
    let gap = move |number: u64| {
        let share = random::unit_f64(random::mix(key, number));
        -(1.0 - share).ln() / rate
    };
    (0..).scan(0.0, move |seconds, number| {
        *seconds += gap(number);
        Some(*seconds)
    })
}

struct Run<'a> {
    plan: &'a Plan,
    answer: &'a Answer<'a>,
    clock: &'a dyn Clock,
    state: Mutex<State>,
}

struct State {
    source: Source,
    taken: usize,
    /// When the first request that counts came, or was taken up.
    since: Option<f64>,
    last_answer: f64,
    load: Load,
    error: Option<Error>,
}

/// Where requests come from; times are the clock's.
enum Source {
    /// When each client that waits has sent its request, the first one first.
    Clients(VecDeque<f64>),
    /// When the next one comes, and all after it.
    Timetable(f64, Box<dyn Iterator<Item = f64> + Send>),
}

#[derive(Clone, Copy)]
struct Request {
    number: usize,
    arrival: f64,
}

impl Run<'_> {
    /// One server: takes requests until there are no more.
    fn serve(&self) {
        while let Some(request) = self.take() {
            self.clock.wait_until(request.arrival);
            let start = self.clock.now();
            let mut tokens = Vec::new();
            let outcome = (self.answer)(request.number, &mut || tokens.push(self.clock.now()));
            let end = self.clock.now();
            match outcome {
                Ok(()) => self.done(request, start, &tokens, end),
                Err(error) => drop(self.state().error.get_or_insert(error)),
            }
        }
    }

    fn take(&self) -> Option<Request> {
        let now = self.clock.now();
        let mut state = self.state();
        let (number, plan) = (state.taken, self.plan);
        let time = match &state.source {
            Source::Clients(_) => now,
            Source::Timetable(next, _) => *next,
        };
        let enough = match (plan.length, state.since) {
            (Length::Requests(count), _) => number >= plan.warm_up.saturating_add(count),
            (Length::Seconds(seconds), Some(since)) => time >= since + seconds,
            (Length::Seconds(_), None) => false,
        };
        if enough || state.error.is_some() {
            return None;
        }
        let arrival = state.source.take()?;
        state.taken += 1;
        if number >= plan.warm_up {
            state.since.get_or_insert(time);
        }
        Some(Request { number, arrival })
    }

    fn done(&self, request: Request, start: f64, tokens: &[f64], end: f64) {
        let mut state = self.state();
        if let Source::Clients(waiting) = &mut state.source {
            waiting.push_back(end);
        }
        if request.number < self.plan.warm_up {
            return;
        }
        state.last_answer = state.last_answer.max(end);
        let load = &mut state.load;
        load.latency.record(end - request.arrival);
        load.service.record(end - start);
        if let Some(first) = tokens.first() {
            load.first_token.record(first - request.arrival);
        }
        tokens.windows(2).for_each(|pair| load.next_token.record(pair[1] - pair[0]));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(plan: &Plan, now: f64) -> State {
        let source = match plan.arrivals {
            Arrivals::Closed { clients } => Source::Clients(vec![now; clients].into()),
            Arrivals::Open { rate, .. } => {
                let mut arrivals = timetable(rate, plan.seed).map(move |seconds| now + seconds);
                Source::Timetable(arrivals.next().unwrap_or(now), Box::new(arrivals))
            }
        };
        let load = Load::empty(plan.arrivals, plan.servers);
        State { source, taken: 0, since: None, last_answer: now, load, error: None }
    }

    fn load(self) -> Result<Load> {
        let seconds = self.since.map_or(0.0, |since| self.last_answer - since);
        self.error.map_or(Ok(Load { seconds, ..self.load }), Err)
    }
}

impl Source {
    fn take(&mut self) -> Option<f64> {
        match self {
            Source::Clients(waiting) => waiting.pop_front(),
            Source::Timetable(next, later) => later.next().map(|later| std::mem::replace(next, later)),
        }
    }
}

#[cfg(test)]
mod tests;
