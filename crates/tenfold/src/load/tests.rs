//! Loads against servers whose delays are known.

use super::*;
use crate::histogram::Histogram;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A clock that only waits and work move: for one server.
struct Virtual(Mutex<f64>);

impl Virtual {
    fn work(&self, seconds: f64) {
        *self.0.lock().unwrap() += seconds;
    }
}

impl Clock for Virtual {
    fn now(&self) -> f64 {
        *self.0.lock().unwrap()
    }

    fn wait_until(&self, seconds: f64) {
        let mut now = self.0.lock().unwrap();
        *now = now.max(seconds);
    }
}

fn plan(arrivals: Arrivals, requests: usize) -> Plan {
    Plan { arrivals, servers: 1, warm_up: 0, length: Length::Requests(requests), seed: 3 }
}

fn open(rate: f64) -> Arrivals {
    Arrivals::Open { rate, share: None }
}

/// A load on one server that takes so many seconds for the request of each number.
fn simulate(plan: &Plan, seconds: impl Fn(usize) -> f64 + Sync) -> Load {
    let clock = Virtual(Mutex::new(5.0));
    let answer = |number: usize, _: &mut dyn FnMut()| {
        clock.work(seconds(number));
        Ok(())
    };
    run(plan, &answer, &clock).unwrap()
}

fn quantiles(histogram: &Histogram) -> [f64; 3] {
    [0.5, 0.95, 0.99].map(|q| histogram.quantile(q).unwrap())
}

#[test]
fn poisson_arrivals_wait_as_long_as_queueing_theory_says() {
    // M/D/1, Pollaczek and Khinchine: the mean wait is ρ D / (2 (1 − ρ)).
    for share in [0.3, 0.5, 0.8] {
        let service = 0.010;
        let load = simulate(&plan(open(share / service), 200_000), |_| service);
        let expected = share * service / (2.0 * (1.0 - share));
        let wait = load.latency.mean().unwrap() - load.service.mean().unwrap();
        assert!((wait / expected - 1.0).abs() < 0.05, "{share}: {wait} against {expected}");
        assert!((load.utilisation().unwrap() - share).abs() < 0.001);
        assert!((load.rate() * service / share - 1.0).abs() < 0.01, "{}", load.rate());
        assert!(load.sustained());
    }
    // M/M/1: the whole time is exponential with mean S / (1 − ρ), so p95 is ln 20 of those.
    let exponential = |number: usize| -0.010 * (1.0 - random::unit_f64(random::mix(9, number as u64))).ln();
    let load = simulate(&plan(open(50.0), 200_000), exponential);
    let p95 = load.latency.quantile(0.95).unwrap();
    assert!((p95 / (0.020 * 20f64.ln()) - 1.0).abs() < 0.05, "{p95}");
}

#[test]
fn a_stall_shows_in_an_open_load_and_a_closed_one_hides_it() {
    let stalls = |number: usize| if number == 500 { 2.0 } else { 0.001 };
    let load = simulate(&plan(open(100.0), 1000), stalls);
    let [p50, _, p99] = quantiles(&load.latency);
    // Some 200 of the 1,000 came while it stood still, the first of them 2 s too early.
    assert!(p50 < 0.01 && p99 > 1.8 && load.latency.max().unwrap() >= 1.999, "{p50} {p99}");
    assert!(quantiles(&load.service)[2] < 0.0011, "service alone does not show it");
    let closed = simulate(&plan(Arrivals::Closed { clients: 1 }, 1000), stalls);
    assert!(quantiles(&closed.latency)[2] < 0.0011);
}

#[test]
fn more_than_the_server_can_do_is_said() {
    let load = simulate(&plan(open(150.0), 3000), |_| 0.010);
    assert!(!load.sustained() && load.utilisation().unwrap() > 1.4);
    assert!((load.rate() - 100.0).abs() < 1.0, "{}", load.rate());
    // The queue grows by a third of all that come.
    assert!(load.latency.max().unwrap() > 8.0);
}

#[test]
fn clients_of_a_closed_load_wait_for_one_another() {
    for clients in [1, 4, 7] {
        let load = simulate(&Plan { warm_up: 20, ..plan(Arrivals::Closed { clients }, 200) }, |_| 0.002);
        let expected = 0.002 * clients as f64;
        assert_eq!((load.latency.count(), load.service.count()), (200, 200));
        assert!(quantiles(&load.latency).iter().all(|s| (s / expected - 1.0).abs() < 1e-3));
        assert!((load.rate() - 500.0).abs() < 1.0 && load.utilisation().is_none() && load.sustained());
    }
}

#[test]
fn what_warms_up_is_not_counted_and_seconds_end_a_load() {
    let slow_start = |number: usize| if number < 10 { 1.0 } else { 0.010 };
    let clients = Arrivals::Closed { clients: 1 };
    let load = simulate(&Plan { warm_up: 10, ..plan(clients, 50) }, slow_start);
    assert!(load.latency.max().unwrap() < 0.011 && (load.seconds - 0.5).abs() < 1e-6);
    let length = Length::Seconds(1.0);
    let load = simulate(&Plan { warm_up: 10, length, ..plan(clients, 0) }, slow_start);
    assert!((99..=101).contains(&load.latency.count()), "{}", load.latency.count());
    let load = simulate(&Plan { length, ..plan(open(400.0), 0) }, |_| 0.001);
    assert!((330..=470).contains(&load.latency.count()), "{}", load.latency.count());
}

#[test]
fn the_timetable_is_a_poisson_process_that_the_seed_decides() {
    let first = |seed| timetable(50.0, seed).take(20_000).collect::<Vec<f64>>();
    let times = first(1);
    assert_eq!(times, first(1));
    assert_ne!(times[..10], first(2)[..10]);
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
    assert!((mean * 50.0 - 1.0).abs() < 0.03 && (deviation / mean - 1.0).abs() < 0.03, "{mean} {deviation}");
    // Twice the rate: the same timetable in half the time.
    let twice: Vec<f64> = timetable(100.0, 1).take(10).collect();
    assert!(twice.iter().zip(&times).all(|(a, b)| (2.0 * a - b).abs() < 1e-9));
}

#[test]
fn tokens_count_from_the_arrival_and_from_one_another() {
    let clock = Virtual(Mutex::new(0.0));
    let answer = |_: usize, token: &mut dyn FnMut()| {
        for seconds in [0.100, 0.020, 0.020, 0.020] {
            clock.work(seconds);
            token();
        }
        Ok(())
    };
    let load = run(&plan(Arrivals::Closed { clients: 2 }, 50), &answer, &clock).unwrap();
    assert_eq!((load.first_token.count(), load.next_token.count()), (50, 150));
    let near = |found: Option<f64>, expected: f64| (found.unwrap() / expected - 1.0).abs() < 1e-3;
    assert!(near(load.next_token.max(), 0.020) && near(load.service.max(), 0.160));
    // The other client's whole answer comes first.
    assert!(near(load.first_token.quantile(0.5), 0.260) && near(load.latency.max(), 0.320));
}

#[test]
fn servers_side_by_side_share_the_requests() {
    let (busy, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let answer = |_: usize, _: &mut dyn FnMut()| {
        most.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(5));
        busy.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    };
    let two = Plan { servers: 2, ..plan(Arrivals::Closed { clients: 4 }, 30) };
    let load = run(&two, &answer, &Wall::start()).unwrap();
    assert_eq!((most.load(Ordering::SeqCst), load.latency.count()), (2, 30));
    // Each of four clients waits for one round of the two servers, and is served in the next.
    assert!(load.latency.quantile(0.5).unwrap() >= 0.0099, "{:?}", load.latency.quantile(0.5));
    assert!(load.service.quantile(0.5).unwrap() < load.latency.quantile(0.5).unwrap());
    let one = run(&Plan { servers: 8, ..plan(Arrivals::Closed { clients: 1 }, 3) }, &answer, &Wall::start());
    assert_eq!(one.unwrap().latency.count(), 3);
}

#[test]
fn the_wall_waits_until_the_time_and_not_much_longer() {
    let load = run(&plan(open(200.0), 40), &|_, _| Ok(()), &Wall::start()).unwrap();
    assert!(load.seconds > 0.1, "40 requests at 200/s take 0.2 s: {}", load.seconds);
    // On a busy machine some wake up late; not all.
    assert!(load.latency.at_rank(1).unwrap() < 0.002, "{:?}", load.latency);
}

#[test]
fn the_first_error_ends_the_load() {
    let answered = AtomicUsize::new(0);
    let answer = |number: usize, _: &mut dyn FnMut()| {
        answered.fetch_add(1, Ordering::SeqCst);
        if number == 3 { Err(Error::Interrupted) } else { Ok(()) }
    };
    let clock = Virtual(Mutex::new(0.0));
    let error = run(&plan(open(10.0), 100), &answer, &clock).unwrap_err();
    assert!(matches!(error, Error::Interrupted) && answered.load(Ordering::SeqCst) == 4);
}
