//! Loads as text of at most 80 columns: a line of quantiles for each, and a histogram of its times.

use crate::histogram::Histogram;
use crate::record::{Arrivals, Load};
use crate::unit::digits;
use crate::words::wrapped;

/// Quantiles that are shown, and their headings; the longest time stands after them.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)];
/// Lines of a histogram at the most.
const LINES: usize = 12;
/// Columns of its longest bar.
const BAR: usize = 50;

/// Quantiles of each load in milliseconds, what was achieved, and the histogram of each load's whole requests.
pub fn table(loads: &[Load]) -> String {
    let mut text = format!("{:<16}{:>7}", "load", "n");
    QUANTILES.iter().for_each(|(heading, _)| text += &format!("{heading:>8}"));
    text += &format!("{:>8}{:>8}\n", "max ms", "done/s");
    for load in loads {
        line(&mut text, &name(load), &load.latency, &digits(load.rate()));
        for (name, times) in [
            ("  service", &load.service),
            ("  first token", &load.first_token),
            ("  next token", &load.next_token),
        ] {
            if !times.is_empty() {
                line(&mut text, name, times, "");
            }
        }
        if let Some(words) = load.disturbance.and_then(|found| found.words()) {
            let words = wrapped(&format!("disturbed by other work on the machine: {words}"), 76);
            words.iter().for_each(|line| text += &format!("  {line}\n"));
        }
        if !load.sustained() {
            let share = 100.0 * load.utilisation().unwrap_or(f64::NAN);
            text +=
                &format!("  not sustained: asks for {share:.0} % of the servers' time, so the queue grows\n");
        }
    }
    for load in loads {
        text += &format!("\n{}: whole requests, ms\n{}", name(load), histogram(&load.latency));
    }
    text
}

fn name(load: &Load) -> String {
    match load.arrivals {
        Arrivals::Closed { .. } => load.words(),
        Arrivals::Open { rate, .. } => format!("{}/s", digits(rate)),
    }
}

fn line(text: &mut String, name: &str, times: &Histogram, done: &str) {
    *text += &format!("{name:<16}{:>7}", times.count());
    for (_, q) in QUANTILES {
        *text += &format!("{:>8}", milliseconds(times.quantile(q)));
    }
    *text += &format!("{:>8}{done:>8}\n", milliseconds(times.max()));
}

/// Bars over equal factors of time, from the shortest to the longest.
fn histogram(times: &Histogram) -> String {
    let (Some(shortest), Some(longest)) = (times.at_rank(1), times.max()) else { return String::new() };
    let lines = if longest > 1.01 * shortest { LINES } else { 1 };
    let factor = (longest / shortest).powf(1.0 / lines as f64);
    let mut counts = vec![0u64; lines];
    for (seconds, count) in times.buckets() {
        let place = ((seconds / shortest).ln() / factor.ln()).max(0.0) as usize;
        counts[place.min(lines - 1)] += count;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let mut text = String::new();
    for (number, count) in counts.iter().enumerate() {
        let upper = shortest * factor.powi(number as i32 + 1);
        let bar = "█".repeat((*count as f64 / most as f64 * BAR as f64).round() as usize);
        text += &format!("{:>10} {count:>7} {bar}\n", format!("≤ {}", milliseconds(Some(upper))));
    }
    text
}

fn milliseconds(seconds: Option<f64>) -> String {
    match seconds.map(|seconds| seconds * 1e3) {
        None => "–".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.3}"),
        Some(ms) if ms < 1000.0 => format!("{ms:.1}"),
        Some(ms) => format!("{ms:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_width::UnicodeWidthStr;

    #[test]
    fn a_table_fits_80_columns_and_says_what_cannot_be_sustained() {
        let mut loads = Vec::new();
        for arrivals in [Arrivals::Closed { clients: 4 }, Arrivals::Open { rate: 12345.6, share: None }] {
            let mut load = Load::empty(arrivals, 1);
            for number in 0..1000 {
                load.latency.record(0.000_8 * 1.013f64.powi(number));
                load.service.record(0.000_8);
                load.next_token.record(0.1);
            }
            loads.push(Load { seconds: 0.9, ..load });
        }
        loads.push(Load::empty(Arrivals::Closed { clients: 1 }, 1));
        let text = table(&loads);
        assert!(text.lines().all(|line| line.width() <= 80), "{text}");
        assert!(text.contains("4 clients") && text.contains("12,346/s") && text.contains("next token"));
        assert_eq!(text.matches("not sustained: asks for 988 %").count(), 1, "{text}");
        // Equal factors of time hold equally many of these.
        assert_eq!(text.matches(&"█".repeat(BAR - 3)).count(), 2 * LINES, "{text}");
        assert!(text.contains("1,111"), "{text}");
    }

    #[test]
    fn slow_loads_are_not_called_none() {
        let mut slow = Load::empty(Arrivals::Open { rate: 0.004, share: None }, 1);
        slow.latency.record(0.2);
        let text = table(&[Load { seconds: 250.0, ..slow }]);
        // Asked for, done, and over the histogram.
        assert_eq!(text.matches("0.0040").count(), 3, "{text}");
    }
}
