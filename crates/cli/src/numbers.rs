//! Numbers as options have them: each parser says what it expects, so that an option's fault is told as the option's.

use std::fmt::Display;
use std::ops::RangeInclusive;
use tenfold::words::thousands;

/// Counts above this are slips.
const MOST: usize = 1_000_000_000;

/// A seed. Studies keep seeds as TOML, whose whole numbers end here.
pub fn seed(text: &str) -> Result<u64, String> {
    const LAST: u64 = i64::MAX as u64;
    let seed = text.trim().parse().ok().filter(|seed| *seed <= LAST);
    seed.ok_or_else(|| fault(format!("a whole number from 0 to {}", thousands(LAST)), text))
}

/// A count that would mean nothing if it were 0.
pub fn one_or_more(text: &str) -> Result<usize, String> {
    let count = text.trim().parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| fault("1 or more", text))
}

/// A count of things that are done one after the other.
pub fn count(text: &str) -> Result<usize, String> {
    whole(1..=MOST, text)
}

/// The same, where 0 means something.
pub fn count_or_none(text: &str) -> Result<usize, String> {
    whole(0..=MOST, text)
}

/// How many clients or servers work side by side.
pub fn side_by_side(text: &str) -> Result<usize, String> {
    whole(1..=1024, text)
}

/// A number above 0 that is finite.
pub fn positive(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| fault("a number above 0", text))
}

/// The same in the precision that sampling computes in.
pub fn positive_single(text: &str) -> Result<f32, String> {
    let number = positive(text)? as f32;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err(fault("a number above 0", text)) }
}

/// A probability.
pub fn probability(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| fault("0 to 1", text))
}

/// Requests a second.
pub fn rate(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|number| tenfold::load::RATES.contains(number));
    number.ok_or_else(|| fault("0.001 to 1,000,000 requests a second", text))
}

/// Seconds of one measurement.
pub fn seconds(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|number| *number > 0.0 && *number <= 3600.0);
    number.ok_or_else(|| fault("seconds above 0, 3,600 at the most", text))
}

fn whole(range: RangeInclusive<usize>, text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok().filter(|number| range.contains(number));
    let expected = || format!("{} to {}", range.start(), thousands(*range.end() as u64));
    number.ok_or_else(|| fault(expected(), text))
}

fn fault(expected: impl Display, found: &str) -> String {
    format!("expected {expected}, found {found}")
}
