//! How estimates are written.

use crate::metric::conditions::MARK;
use crate::metric::{Figure, Reading, Unit};
use crate::statistics::Estimate;
use unicode_width::UnicodeWidthStr;

/// The value with its interval: "87.1 % (85.2 – 88.9 %)".
pub(super) fn with_interval(unit: Unit, e: &Estimate) -> String {
    match interval(unit, e) {
        Some(interval) => format!("{} ({interval})", unit.write(e.value)),
        None => unit.write(e.value),
    }
}

/// The interval alone; an open end is said to be open.
pub(super) fn interval(unit: Unit, e: &Estimate) -> Option<String> {
    match (e.low, e.high) {
        (Some(low), Some(high)) => Some(range(&unit.write(low), &unit.write(high))),
        (Some(low), None) => Some(format!("at least {}", unit.write(low))),
        (None, Some(high)) => Some(format!("at most {}", unit.write(high))),
        (None, None) => None,
    }
}

/// The interval without what the column's heading says.
pub(super) fn bare_interval(unit: Unit, e: &Estimate) -> Option<String> {
    match (e.low, e.high) {
        (Some(low), Some(high)) => Some(range(&unit.write_bare(low), &unit.write_bare(high))),
        _ => interval(unit, e),
    }
}

/// Text in which no line ends between a number and its unit.
pub(super) fn unbroken(text: &str) -> String {
    const UNITS: [&str; 15] =
        ["%", "B", "KiB", "MiB", "GiB", "TiB", "µs", "ms", "s", "min", "h", "J", "kJ", "k", "M"];
    let mut words = text.split(' ');
    let mut unbroken = words.next().unwrap_or_default().to_owned();
    for word in words {
        let unit = word.trim_end_matches([',', '.', ';', ')', ':']);
        let after_digit = unbroken.ends_with(|c: char| c.is_ascii_digit());
        unbroken.push(if after_digit && UNITS.contains(&unit) { '\u{a0}' } else { ' ' });
        unbroken.push_str(word);
    }
    unbroken
}

/// A figure in a few characters: a value, a word or a dash; "~" marks an estimate, "†" what was disturbed.
pub(super) fn short(figure: &Figure) -> String {
    let unit = figure.unit;
    let text = match &figure.reading {
        Reading::Measured { estimate } => unit.write(estimate.value),
        Reading::Estimated { estimate, .. } => format!("~{}", unit.write(estimate.value)),
        Reading::Judged { verdict, .. } => verdict.clone(),
        Reading::Unavailable { .. } => "–".to_owned(),
    };
    text + figure.mark().map_or("", |_| MARK)
}

/// Cut to a width, with an ellipsis where something is missing.
pub(super) fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        if format!("{short}{c}…").width() > width {
            break;
        }
        short.push(c);
    }
    if width > 0 { short + "…" } else { short }
}

/// A probability in three digits; what is below 0.001 is said to be. Digits that would round it to the 5 % that decide
/// are kept, so that it stands on its own side.
pub(super) fn probability(p: f64) -> String {
    match p {
        p if p < 0.001 => "< 0.001".to_owned(),
        p if (0.0495..0.05).contains(&p) => "< 0.050".to_owned(),
        p => format!("{p:.3}"),
    }
}

/// "85.2 – 88.9 %" where both ends carry the same unit, else both in full.
fn range(low: &str, high: &str) -> String {
    match (low.rsplit_once(' '), high.rsplit_once(' ')) {
        (Some((number, a)), Some((_, b))) if a == b => format!("{number} – {high}"),
        _ => format!("{low} – {high}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probability_stands_on_its_own_side_of_5_percent() {
        let cases = [0.0004, 0.0494, 0.0496, 0.05, 0.0504, 1.0];
        assert_eq!(cases.map(probability), ["< 0.001", "0.049", "< 0.050", "0.050", "0.050", "1.000"]);
    }

    #[test]
    fn a_number_keeps_its_unit() {
        assert_eq!(unbroken("takes 148 MiB, and 8 s more"), "takes 148\u{a0}MiB, and 8\u{a0}s more");
    }

    #[test]
    fn intervals_name_their_unit_once() {
        let e = Estimate { value: 0.871, low: Some(0.852), high: Some(0.889), n: 3 };
        assert_eq!(with_interval(Unit::Share, &e), "87.1 % (85.2 – 88.9 %)");
        let open = Estimate { high: None, ..e };
        assert_eq!(interval(Unit::Share, &open).unwrap(), "at least 85.2 %");
        let wide = Estimate { value: 1e6, low: Some(9e5), high: Some(1.2e6), n: 3 };
        assert_eq!(interval(Unit::Bytes, &wide).unwrap(), "879 KiB – 1.14 MiB");
    }
}
