//! What applications ask of a response, and under which load they get it.

use super::{Direction, Figure, Reading, Unit};
use crate::record::{Arrivals, Load};
use crate::statistics::{Estimate, quantile};
use serde::{Deserialize, Serialize};

/// What an application asks of a response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// Its name: "customer_support".
    pub name: String,
    /// Seconds that the `quantile` of the requests must keep to.
    pub target_seconds: f64,
    /// Seconds at which it is good, where that is said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub good_seconds: Option<f64>,
    /// The share of requests that must keep to it.
    #[serde(default = "most")]
    pub quantile: f64,
}

fn most() -> f64 {
    0.95
}

/// The applications that a verdict is given for in every study.
pub fn applications() -> [Application; 3] {
    [("customer_support", 2.0, 1.0), ("real_time", 0.5, 0.2), ("documents", 5.0, 3.0)].map(
        |(name, target_seconds, good)| Application {
            name: name.to_owned(),
            target_seconds,
            good_seconds: Some(good),
            quantile: most(),
        },
    )
}

/// One line for each value of a study's own applications that makes no sense.
pub fn application_faults(own: &[Application]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut names: Vec<String> = applications().map(|known| known.name).to_vec();
    for Application { name, target_seconds, good_seconds, quantile } in own {
        let mut require = |fine: bool, fault: String| {
            if !fine {
                faults.push(format!("applications.{name}{fault}"));
            }
        };
        let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-_".contains(c));
        require(plain, ": expected a name of letters, digits, - and _".to_owned());
        require(!names.contains(name), ": there is one of that name already".to_owned());
        let seconds = |seconds: f64| seconds.is_finite() && seconds > 0.0;
        require(
            seconds(*target_seconds),
            format!(".target_seconds: expected seconds above 0, found {target_seconds}"),
        );
        if let Some(good) = good_seconds {
            require(
                seconds(*good) && good <= target_seconds,
                format!(".good_seconds: expected seconds above 0, at most target_seconds, found {good}"),
            );
        }
        require(
            *quantile > 0.0 && *quantile < 1.0,
            format!(".quantile: expected a share between 0 and 1, such as 0.95, found {quantile}"),
        );
        names.push(name.clone());
    }
    faults
}

/// How a method keeps to what an application asks, under the loads that a study states: so many clients, or so many
/// requests a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Under every load.
    Everywhere,
    /// Under the lighter ones, up to this one.
    UpTo(String),
    /// Under none, although the interval of the lightest still reaches the target.
    Perhaps,
    /// Under none: even under the lightest load the whole interval is above the target.
    Never,
    /// Nothing was measured.
    Unknown,
}

impl Application {
    /// How a method with these loads, the lightest first, keeps to the target. Loads that are a share of the method's own
    /// capacity are another amount of work for every method, and are left out.
    pub(crate) fn kept(&self, loads: &[&Load]) -> Kept {
        let stated = |load: &&&Load| !matches!(load.arrivals, Arrivals::Open { share: Some(_), .. });
        let found: Vec<(&Load, Estimate)> = loads
            .iter()
            .filter(stated)
            .filter_map(|load| Some((*load, quantile(&load.latency, self.quantile)?)))
            .collect();
        let Some((lightest, seconds)) = found.first() else { return Kept::Unknown };
        let holds =
            |(load, seconds): &&(&Load, Estimate)| load.sustained() && seconds.value <= self.target_seconds;
        match found.iter().rev().find(holds) {
            Some(_) if found.iter().all(|load| holds(&load)) => Kept::Everywhere,
            Some((heaviest, _)) => Kept::UpTo(heaviest.words()),
            None if lightest.sustained() && seconds.low.is_none_or(|low| low <= self.target_seconds) => {
                Kept::Perhaps
            }
            None => Kept::Never,
        }
    }

    /// What it asks: "spell check (p99.9 within 100 ms)".
    pub(crate) fn words(&self) -> String {
        let target = Unit::Seconds.write(self.target_seconds);
        format!("{} (p{} within {target})", self.name.replace('_', " "), percent(self.quantile))
    }

    /// Its name for people.
    fn title(&self) -> String {
        let words = self.name.replace('_', " ");
        let mut letters = words.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().to_string() + letters.as_str())
    }

    /// Whether, and up to which of the loads, it gets what it asks for; the lightest comes first. A load that cannot be
    /// sustained satisfies nobody, whatever its times were so far.
    pub(super) fn verdict(&self, loads: &[&Load], why_none: &str) -> Figure {
        let found: Vec<(&Load, f64)> =
            loads.iter().filter_map(|load| Some((*load, load.latency.quantile(self.quantile)?))).collect();
        let heaviest = |limit: f64| {
            let holds = |(load, seconds): &&(&Load, f64)| load.sustained() && *seconds <= limit;
            found.iter().rev().find(holds).map(|(load, _)| load.words())
        };
        let form = if loads.iter().any(|load| load.merged) { "merged" } else { "not merged" };
        let because = || {
            let each = found.iter().map(|(load, seconds)| {
                let seconds = Unit::Seconds.write(*seconds);
                let more = if load.sustained() { "" } else { ", not sustained" };
                format!("{seconds} under {}{more}", load.words())
            });
            let good = self.good_seconds.map(|good| format!(" (good: {})", Unit::Seconds.write(good)));
            format!(
                "p{}, {}, against {}{}: {}",
                percent(self.quantile),
                form,
                Unit::Seconds.write(self.target_seconds),
                good.unwrap_or_default(),
                each.collect::<Vec<_>>().join("; ")
            )
        };
        let reading = if found.is_empty() {
            Reading::unavailable(why_none)
        } else if let Some(load) = self.good_seconds.and_then(heaviest) {
            Reading::Judged { verdict: format!("good to {load}"), good: Some(true), because: because() }
        } else if let Some(load) = heaviest(self.target_seconds) {
            Reading::Judged {
                verdict: format!("within target to {load}"),
                good: Some(true),
                because: because(),
            }
        } else {
            Reading::Judged { verdict: "too slow".to_owned(), good: Some(false), because: because() }
        };
        Figure::new(format!("for_{}", self.name), self.title(), Unit::Number, Direction::Neither, reading)
    }
}

/// A share in percent without idle digits: "95", "99.9".
pub(super) fn percent(share: f64) -> String {
    let text = format!("{:.3}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(arrivals: Arrivals, service: f64, latency: f64) -> Load {
        let mut load = Load::empty(arrivals, 1);
        (0..100).for_each(|_| load.service.record(service));
        (0..100).for_each(|_| load.latency.record(latency));
        load
    }

    fn verdict(loads: &[&Load]) -> (String, Option<bool>, String) {
        match applications()[1].verdict(loads, "").reading {
            Reading::Judged { verdict, good, because } => (verdict, good, because),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn verdicts_follow_the_targets_and_name_the_heaviest_load_that_keeps_to_them() {
        let one = |seconds| load(Arrivals::Closed { clients: 1 }, seconds, seconds);
        let words = [0.199, 0.21, 0.499, 0.51].map(|seconds| verdict(&[&one(seconds)]).0);
        assert_eq!(
            words,
            ["good to 1 client", "within target to 1 client", "within target to 1 client", "too slow"]
        );
        let open = |rate, latency| load(Arrivals::Open { rate, share: None }, 0.1, latency);
        let (light, heavy, flood) = (open(5.0, 0.15), open(8.0, 0.4), open(20.0, 0.18));
        let (word, good, because) = verdict(&[&one(0.1), &light, &heavy, &flood]);
        // The flood's times are fine so far, but its queue grows.
        assert_eq!((word.as_str(), good), ("good to 5.00/s", Some(true)));
        assert!(
            because.contains("20.0/s, not sustained") && because.contains("400 ms under 8.00/s"),
            "{because}"
        );
        assert!(
            because.starts_with("p95, not merged, against 500 ms (good: 200 ms): 100 ms under 1 client"),
            "{because}"
        );
        assert_eq!(verdict(&[&one(0.3), &heavy, &flood]).0, "within target to 8.00/s");
        assert_eq!(verdict(&[&flood]).1, Some(false));
    }

    #[test]
    fn a_target_is_kept_up_to_a_load_that_the_study_states() {
        let (clients, rate) =
            (|clients| Arrivals::Closed { clients }, |rate| Arrivals::Open { rate, share: None });
        let (fast, slow) = (load(clients(1), 0.1, 0.1), load(clients(4), 0.1, 0.7));
        let flood = load(rate(20.0), 0.1, 0.18);
        let share = load(Arrivals::Open { rate: 9.0, share: Some(0.9) }, 0.1, 0.9);
        let real_time = &applications()[1];
        assert_eq!(real_time.kept(&[&fast, &share]), Kept::Everywhere);
        assert_eq!(real_time.kept(&[&fast, &slow, &flood]), Kept::UpTo("1 client".into()));
        assert_eq!(real_time.kept(&[&slow, &flood]), Kept::Never);
        assert_eq!(real_time.kept(&[]), Kept::Unknown);
        // Seven slow requests of a hundred: the interval of p95 reaches down to the fast ones.
        let mut unsure = load(clients(1), 0.1, 0.1);
        (0..7).for_each(|_| unsure.latency.record(0.7));
        assert_eq!(real_time.kept(&[&unsure]), Kept::Perhaps);
        assert_eq!(real_time.words(), "real time (p95 within 500 ms)");
    }

    #[test]
    fn an_application_of_ones_own_may_ask_for_another_quantile_and_say_nothing_of_good() {
        let own = Application {
            name: "spell_check".into(),
            target_seconds: 0.1,
            good_seconds: None,
            quantile: 0.999,
        };
        assert!(application_faults(std::slice::from_ref(&own)).is_empty());
        let mut slow = load(Arrivals::Closed { clients: 1 }, 0.05, 0.05);
        let figure = own.verdict(&[&slow], "");
        assert_eq!((figure.key.as_str(), figure.label.as_str()), ("for_spell_check", "Spell check"));
        assert!(
            matches!(&figure.reading, Reading::Judged { verdict, .. } if verdict == "within target to 1 client")
        );
        slow.latency.record(0.2);
        let Reading::Judged { good, because, .. } = own.verdict(&[&slow], "").reading else { panic!() };
        assert!(
            good == Some(false) && because.starts_with("p99.9, not merged, against 100 ms: 200 ms"),
            "{because}"
        );
        assert!(
            matches!(own.verdict(&[], "why").reading, Reading::Unavailable { reason } if reason == "why")
        );
    }
}
