//! Metric 7: how long a whole request takes, alone and under load, and which applications that suits.

use super::application::percent;
use super::{Direction, Evidence, Figure, Metric, Reading, TakenFrom, Unit};
use crate::record::{Arrivals, Disturbance, Load};
use crate::statistics::{Estimate, quantile};
use crate::unit::digits;

/// Quantiles of requests that come one at a time; under load those of [`UNDER_LOAD`].
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];
const UNDER_LOAD: [f64; 2] = [0.95, 0.99];

pub(super) static METRIC: Metric = Metric {
    number: 7,
    name: "response_time",
    title: "Response time",
    unit: "seconds for a whole request: one at a time, and under load",
    direction: Direction::Lower,
    source: "Probe: text in, label out, tokenizer included, warm-up left out. Closed load: each of so many clients sends its \
             next request when the last is answered. Open load: requests come at random moments (Poisson arrivals, the same \
             timetable for every method) at a stated rate, or at a share of the capacity that the closed loads found, and wait \
             in one queue. Times count from the moment at which a request was to be sent, also while the server was busy \
             (no coordinated omission), in HDR histograms of three digits. A load that asks for more than the servers can do is \
             not sustained: its queue grows for ever. Interval: order statistics (binomial), no distribution assumed, but that \
             requests do not hang together: in a queue they do, and the interval is too narrow. Merged: the adapter folded into \
             the base first. Verdicts are of the better form, and name the heaviest load that keeps to the \
             target: p95 within 2 s for customer support (good: 1 s), 500 ms for real-time decisions (200 ms), 5 s for \
             documents (3 s), and the study's own.",
    taken_from: TakenFrom::Probe,
    compute,
};

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let probe = evidence.probe(method);
    let loads = probe.map_or(&[][..], |probe| &probe.loads);
    let why = match (probe, loads) {
        (None, _) => evidence.why_no_probe(method),
        (_, []) => "the task asks nothing, so there is no request".to_owned(),
        _ => "no request was counted".to_owned(),
    };
    let unmergeable = evidence.method(method).is_some_and(|m| !m.mergeable);
    let why_merged = match loads {
        _ if unmergeable => "cannot be merged into the base",
        [] => &why,
        _ => "not measured merged",
    };
    let of = |merged: bool| loads.iter().filter(|load| load.merged == merged).collect::<Vec<_>>();
    let mut figures = Vec::new();
    for (prefix, suffix, loads, why) in
        [("", ", not merged", of(false), why.as_str()), ("merged_", ", merged", of(true), why_merged)]
    {
        figures.extend(alone(prefix, suffix, &loads, why));
        figures.extend(loads.iter().skip(1).flat_map(|load| under(prefix, suffix, load)));
        figures.push(saturated(prefix, suffix, &loads, why));
    }
    let best: Vec<&Load> = better_form(loads).collect();
    figures.extend(
        evidence
            .study
            .applications
            .iter()
            .map(|application| application.verdict(&best, &why).disturbed_by(disturbances(&best))),
    );
    figures.extend(tokens(&best, &why));
    figures
}

/// The loads of the form, merged or not, whose p95 is lower when requests come one at a time.
pub(crate) fn better_form(loads: &[Load]) -> impl Iterator<Item = &Load> {
    let p95 = |merged: bool| loads.iter().find(|load| load.merged == merged)?.latency.quantile(0.95);
    let merged = match (p95(false), p95(true)) {
        (Some(plain), Some(merged)) => merged < plain,
        (plain, _) => plain.is_none(),
    };
    loads.iter().filter(move |load| load.merged == merged)
}

/// Requests one at a time, and how many of them a second at the most.
fn alone(prefix: &str, suffix: &str, loads: &[&Load], why: &str) -> Vec<Figure> {
    let one = loads.first();
    let seconds = |key: String, label: String, estimate: Option<Estimate>| {
        let reading = Reading::measured(estimate, why);
        Figure::new(key, label + suffix, Unit::Seconds, Direction::Lower, reading)
            .disturbed_by([one.and_then(|load| load.disturbance.as_ref())])
    };
    let mut figures: Vec<Figure> = QUANTILES
        .iter()
        .map(|q| {
            let name = format!("p{}", percent(*q));
            let estimate = one.and_then(|load| quantile(&load.latency, *q));
            seconds(prefix.to_owned() + &name.replace('.', "_"), name, estimate)
        })
        .collect();
    let longest = one.and_then(|load| load.latency.max()).map(Estimate::exact);
    figures.push(seconds(format!("{prefix}max"), "longest".to_owned(), longest));
    let closed = loads.iter().filter(|load| matches!(load.arrivals, Arrivals::Closed { .. }));
    let capacity = closed.clone().map(|load| load.rate()).max_by(f64::total_cmp);
    let capacity = Figure::new(
        format!("{prefix}capacity"),
        format!("Capacity{suffix}"),
        Unit::RequestsPerSecond,
        Direction::Higher,
        Reading::measured(capacity.map(Estimate::exact), why),
    );
    figures.push(capacity.disturbed_by(closed.map(|load| load.disturbance.as_ref())));
    figures
}

/// Quantiles under one load. Of one that cannot be sustained there are none: they would be those of how long it went on.
fn under(prefix: &str, suffix: &str, load: &Load) -> Vec<Figure> {
    let (key, label) = match load.arrivals {
        Arrivals::Closed { clients } => (format!("clients_{clients}"), load.words()),
        Arrivals::Open { rate, share: None } => (format!("rate_{rate}"), load.words()),
        Arrivals::Open { share: Some(share), .. } => {
            let share = percent(share);
            (format!("load_{share}"), format!("{share} % load"))
        }
    };
    let reading = |q: f64| match (load.sustained(), load.utilisation()) {
        (false, Some(share)) => Reading::unavailable(format!(
            "not sustained: {} asks for {} % of what can be done",
            load.words(),
            percent((share * 100.0).round() / 100.0)
        )),
        _ => Reading::measured(quantile(&load.latency, q), "no request was counted"),
    };
    UNDER_LOAD
        .iter()
        .map(|q| {
            let name = format!("p{}", percent(*q));
            let key = format!("{prefix}{key}_{name}").replace('.', "_");
            Figure::new(key, format!("{name}, {label}{suffix}"), Unit::Seconds, Direction::Lower, reading(*q))
                .disturbed_by([load.disturbance.as_ref()])
        })
        .collect()
}

/// Whether all loads can go on for ever.
fn saturated(prefix: &str, suffix: &str, loads: &[&Load], why: &str) -> Figure {
    let open = |load: &&&Load| matches!(load.arrivals, Arrivals::Open { .. });
    let each = loads.iter().filter(open).map(|load| {
        let share = load.utilisation().unwrap_or(0.0) * 100.0;
        let done = digits(load.rate());
        format!("{}: {done}/s done, {share:.0} % of the servers' time asked for", load.words())
    });
    let because = each.collect::<Vec<_>>().join("; ");
    let lost = loads.iter().find(|load| !load.sustained());
    let reading = match lost {
        Some(load) => {
            Reading::Judged { verdict: format!("not at {}", load.words()), good: Some(false), because }
        }
        None if loads.iter().any(|load| open(&load)) => {
            Reading::Judged { verdict: "all".to_owned(), good: Some(true), because }
        }
        None if loads.is_empty() => Reading::unavailable(why),
        None => Reading::unavailable("no rate was offered"),
    };
    Figure::new(
        format!("{prefix}sustained"),
        format!("Rates sustained{suffix}"),
        Unit::Number,
        Direction::Neither,
        reading,
    )
    .disturbed_by(disturbances(loads))
}

/// What disturbed each of the loads.
fn disturbances<'l>(loads: &[&'l Load]) -> impl Iterator<Item = Option<&'l Disturbance>> {
    loads.iter().map(|load| load.disturbance.as_ref())
}

/// The first token of an answer and every further one, one request at a time.
fn tokens(loads: &[&Load], why: &str) -> [Figure; 4] {
    let one = loads.first();
    let why = if one.is_some() { "a request is answered at once, not token by token" } else { why };
    let figure = |key: &str, label: &str, estimate: Option<Estimate>| {
        Figure::new(key, label, Unit::Seconds, Direction::Lower, Reading::measured(estimate, why))
            .disturbed_by([one.and_then(|load| load.disturbance.as_ref())])
    };
    let first = |q: f64| one.and_then(|load| quantile(&load.first_token, q));
    let next = |q: f64| one.and_then(|load| quantile(&load.next_token, q));
    [
        figure("first_token", "First token, p50", first(0.5)),
        figure("first_token_p95", "First token, p95", first(0.95)),
        figure("next_token", "Next token, p50", next(0.5)),
        figure("next_token_p95", "Next token, p95", next(0.95)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::World;
    use super::*;
    use crate::record::Record;

    fn with_loads(change: impl Fn(&mut Vec<Load>)) -> Vec<Record> {
        let world = World::new();
        let mut records = world.evidence().records.to_vec();
        for record in &mut records {
            if let Some(probed) = &mut record.measured.probe {
                change(&mut probed.rounds[0].loads);
            }
        }
        records
    }

    fn find(records: &[Record], method: &str, key: &str) -> Reading {
        let world = World::new();
        let evidence = Evidence::new(world.evidence().study, records);
        let figures = compute(&evidence, method);
        figures.into_iter().find(|figure| figure.key == key).unwrap_or_else(|| panic!("no {key}")).reading
    }

    #[test]
    fn every_load_has_its_figures_and_one_that_is_too_much_says_so() {
        let records = with_loads(|_| {});
        let value = |key: &str| find(&records, "lora", key).estimate().unwrap().value;
        assert!(
            value("p50") < value("p90") && value("p95") <= value("p99") && value("p99_9") <= value("max")
        );
        assert!(value("merged_p95") < value("p95"));
        assert!(
            value("load_50_p95") < value("load_80_p95")
                && value("merged_clients_4_p99") > value("merged_p99")
        );
        assert!((value("capacity") * value("p50") - 1.0).abs() < 0.2);
        assert!(matches!(find(&records, "lora", "sustained"), Reading::Judged { good: Some(true), .. }));
        assert!(matches!(find(&records, "full", "merged_p95"), Reading::Unavailable { .. }));
        assert!(matches!(find(&records, "lora", "first_token"), Reading::Unavailable { .. }));

        let flooded = with_loads(|loads| {
            for load in loads.iter_mut() {
                if let Arrivals::Open { rate, share } = &mut load.arrivals {
                    (*rate, *share) = (2000.0, None);
                }
            }
        });
        let reading = find(&flooded, "lora", "rate_2000_p95");
        assert!(matches!(&reading, Reading::Unavailable { reason } if reason.contains("2,000/s asks for")));
        let Reading::Judged { verdict, because, .. } = find(&flooded, "lora", "sustained") else { panic!() };
        assert_eq!(verdict, "not at 2,000/s");
        assert!(because.contains("of the servers' time asked for"), "{because}");
    }

    #[test]
    fn every_form_is_labelled() {
        let world = World::new();
        for figure in compute(&world.evidence(), "lora") {
            let times = figure.label.starts_with('p') || figure.label.starts_with("longest");
            let expected = if figure.key.starts_with("merged_") { ", merged" } else { ", not merged" };
            assert!(!times || figure.label.ends_with(expected), "{}: {}", figure.key, figure.label);
        }
    }

    #[test]
    fn where_nothing_is_asked_no_request_is_missed() {
        let silent = with_loads(Vec::clear);
        for key in ["p95", "capacity", "merged_p95", "sustained", "for_real_time", "first_token"] {
            let Reading::Unavailable { reason } = find(&silent, "lora", key) else { panic!("{key}") };
            assert_eq!(reason, "the task asks nothing, so there is no request", "{key}");
        }
        let unprobed = find(&[], "lora", "p95");
        assert!(matches!(unprobed, Reading::Unavailable { reason } if reason.contains("not probed")));
    }

    #[test]
    fn answers_of_many_tokens_have_a_first_and_a_next() {
        let records = with_loads(|loads| {
            loads[0].first_token.record(0.3);
            (0..9).for_each(|_| loads[0].next_token.record(0.02));
        });
        let value = |key: &str| find(&records, "full", key).estimate().unwrap().value;
        assert!((value("first_token") - 0.3).abs() < 1e-3 && (value("next_token_p95") - 0.02).abs() < 1e-4);
    }
}
