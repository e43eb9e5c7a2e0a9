//! What figures are counted in, and how they are written for people.
//!
//! Amounts of memory and sizes of files are written in binary units everywhere (KiB, MiB and GiB, powers of 1,024), as
//! operating systems show them and limits of memory are set. Limits may be given in either ([`crate::bytes`]).

use serde::Serialize;

/// The unit of a figure's value as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// 0 to 1, written in percent.
    Share,
    /// −1 to 1, written with three decimals.
    Correlation,
    /// A difference of shares, written in percentage points.
    Points,
    /// Bytes, written in KiB, MiB, GiB (powers of 1,024).
    Bytes,
    /// Seconds, written in ms, s, min, h.
    Seconds,
    /// Tokens per second.
    TokensPerSecond,
    /// Rows per second.
    ExamplesPerSecond,
    /// Requests per second.
    RequestsPerSecond,
    /// Numbers that are trained.
    Parameters,
    /// Rows.
    Examples,
    /// Optimizer steps.
    Steps,
    /// Joules.
    Joules,
    /// Watts.
    Watts,
    /// Grams of carbon dioxide, or of other gases that warm as much.
    Grams,
    /// Pieces, such as adapters.
    Count,
    /// Nats squared: the variance of a loss.
    SquareNats,
    /// A number without a unit.
    Number,
}

impl Unit {
    /// What a difference of two values is counted in.
    pub fn of_difference(self) -> Unit {
        if self == Unit::Share { Unit::Points } else { self }
    }

    /// The unit's own name.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Share => "%",
            Unit::Points => "points",
            Unit::Bytes => "bytes",
            Unit::Seconds => "seconds",
            Unit::TokensPerSecond => "tokens/s",
            Unit::ExamplesPerSecond => "examples/s",
            Unit::RequestsPerSecond => "requests/s",
            Unit::Parameters => "parameters",
            Unit::Examples => "examples",
            Unit::Steps => "steps",
            Unit::Joules => "J",
            Unit::Watts => "W",
            Unit::Grams => "g CO2e",
            Unit::Count => "pieces",
            Unit::SquareNats => "nats²",
            Unit::Number | Unit::Correlation => "",
        }
    }

    /// The part of the unit that a table's heading can say once for all: "examples/s".
    pub fn heading(self) -> Option<&'static str> {
        match self {
            Unit::TokensPerSecond
            | Unit::ExamplesPerSecond
            | Unit::RequestsPerSecond
            | Unit::Examples
            | Unit::Steps
            | Unit::Watts
            | Unit::Points
            | Unit::SquareNats => Some(self.name()),
            _ => None,
        }
    }

    /// A value without what [`Unit::heading`] says.
    pub fn write_bare(self, value: f64) -> String {
        let text = self.write(value);
        let bare = self.heading().and_then(|unit| text.strip_suffix(unit)).map(str::trim_end);
        bare.map_or_else(|| text.clone(), str::to_owned)
    }

    /// A value with its unit: "87.3 %", "412 MiB", "8.10 ms". What is nothing but a rounding error of arithmetic is 0.
    pub fn write(self, value: f64) -> String {
        if !value.is_finite() {
            return "–".to_owned();
        }
        let scaled = |steps: &[(f64, &str)]| {
            let scale =
                steps.iter().rev().find(|(size, _)| value.abs() >= *size * 0.9995).unwrap_or(&steps[0]);
            format!("{} {}", digits(value / scale.0), scale.1)
        };
        let value = if value.abs() < self.nothing() { 0.0 } else { value };
        match self {
            Unit::Share if value != 0.0 && value.abs() < 0.001 => format!("{} %", small(value * 100.0)),
            Unit::Share => format!("{} %", fixed(value * 100.0, 1)),
            Unit::Bytes | Unit::Seconds | Unit::Joules | Unit::Grams if value == 0.0 => "0".to_owned(),
            Unit::Points => format!("{} points", fixed(value * 100.0, 1)),
            Unit::Bytes => scaled(&[
                (1.0, "B"),
                (1024.0, "KiB"),
                (1024.0 * 1024.0, "MiB"),
                (1024.0 * 1024.0 * 1024.0, "GiB"),
                (1024.0 * 1024.0 * 1024.0 * 1024.0, "TiB"),
            ]),
            Unit::Seconds => scaled(&[(1e-6, "µs"), (1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "h")]),
            Unit::Parameters | Unit::Count => short_count(value),
            Unit::Joules => scaled(&[(1e-3, "mJ"), (1.0, "J"), (1e3, "kJ"), (1e6, "MJ")]),
            Unit::Correlation => fixed(value, 3),
            Unit::Grams => scaled(&[(1e-3, "mg CO2e"), (1.0, "g CO2e"), (1e3, "kg CO2e")]),
            Unit::Number => digits(value),
            Unit::SquareNats => format!("{} nats²", small(value)),
            other => format!("{} {}", digits(value), other.name()),
        }
    }

    /// What is smaller is nothing in this unit: no part of a byte, a second or a joule can be measured that finely.
    fn nothing(self) -> f64 {
        match self {
            Unit::Bytes => 0.005,
            Unit::Seconds | Unit::Joules | Unit::Grams | Unit::Watts => 1e-9,
            Unit::TokensPerSecond | Unit::ExamplesPerSecond | Unit::RequestsPerSecond => 1e-9,
            // A tensor of a model of 10^12 numbers is a larger share.
            Unit::Share | Unit::Points | Unit::Correlation => 1e-12,
            Unit::Parameters | Unit::Examples | Unit::Steps | Unit::Count => 1e-9,
            Unit::SquareNats | Unit::Number => 1e-15,
        }
    }
}

/// So many decimals, with a real minus sign, which 0 does not have.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(number) if number.chars().all(|c| matches!(c, '0' | '.')) => number.to_owned(),
        Some(number) => format!("−{number}"),
        None => text,
    }
}

/// Three significant digits, thousands set apart: "0.0123", "4.56", "78.9", "1,234".
pub(crate) fn digits(value: f64) -> String {
    let size = value.abs();
    if size >= 99.95 {
        grouped(value.round())
    } else if size >= 9.995 {
        fixed(value, 1)
    } else if size >= 0.0995 {
        fixed(value, 2)
    } else if size == 0.0 {
        "0".to_owned()
    } else {
        small(value)
    }
}

fn small(value: f64) -> String {
    if value.abs() >= 1e-4 { fixed(value, 4) } else { minus(format!("{value:.1e}")) }
}

fn short_count(value: f64) -> String {
    match value.abs() {
        x if x >= 999.5e6 => format!("{} G", digits(value / 1e9)),
        x if x >= 999.5e3 => format!("{} M", digits(value / 1e6)),
        x if x >= 9_999.5 => format!("{} k", digits(value / 1e3)),
        x if x >= 100.0 || x.fract() == 0.0 => grouped(value.round()),
        _ => digits(value),
    }
}

fn grouped(value: f64) -> String {
    let plain = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in plain.chars().enumerate() {
        if index > 0 && (plain.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("−{text}") } else { text }
}

fn minus(text: String) -> String {
    text.replace('-', "−").replace("e−", "e-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_with_three_digits_and_their_unit() {
        let cases = [
            (Unit::Share, 0.8734, "87.3 %"),
            (Unit::Share, 0.000_034, "0.0034 %"),
            (Unit::Seconds, 0.0, "0"),
            (Unit::Correlation, -0.0312, "−0.031"),
            (Unit::Points, -0.0312, "−3.1 points"),
            (Unit::Bytes, 412_345_678.0, "393 MiB"),
            (Unit::Bytes, 12.0, "12.0 B"),
            (Unit::Seconds, 0.0081, "8.10 ms"),
            (Unit::Seconds, 90.0, "1.50 min"),
            (Unit::TokensPerSecond, 1234.5, "1,235 tokens/s"),
            (Unit::Parameters, 147_968.0, "148 k"),
            (Unit::Parameters, 22_713_216.0, "22.7 M"),
            (Unit::Parameters, 770.0, "770"),
            (Unit::Joules, 1500.0, "1.50 kJ"),
            (Unit::RequestsPerSecond, 41.26, "41.3 requests/s"),
            (Unit::Grams, 0.0123, "12.3 mg CO2e"),
            (Unit::Number, 0.0, "0"),
            (Unit::Bytes, 1_048_570.0, "1.00 MiB"),
            (Unit::Bytes, 1_000_000.0, "977 KiB"),
            (Unit::Bytes, (3u64 << 40) as f64, "3.00 TiB"),
            (Unit::Share, f64::NAN, "–"),
        ];
        for (unit, value, expected) in cases {
            assert_eq!(unit.write(value), expected);
        }
    }

    #[test]
    fn what_arithmetic_leaves_over_is_nothing_and_nothing_has_no_sign() {
        let cases = [
            (Unit::Bytes, 6.3e-10, "0"),
            (Unit::Bytes, -6.3e-10, "0"),
            (Unit::Seconds, 2.2e-16, "0"),
            (Unit::Points, -0.000_02, "0.0 points"),
            (Unit::Points, -1e-17, "0.0 points"),
            (Unit::Share, -0.000_000_000_000_1, "0.0 %"),
            (Unit::Share, -0.25, "−25.0 %"),
            (Unit::Share, -0.000_2, "−0.0200 %"),
            (Unit::Correlation, -0.0003, "0.000"),
            (Unit::Number, -3e-17, "0"),
            (Unit::Number, -1234.5, "−1,235"),
            (Unit::Number, -0.000_01, "−1.0e-5"),
            (Unit::TokensPerSecond, -1e-12, "0 tokens/s"),
            (Unit::Bytes, 0.3, "0.30 B"),
        ];
        for (unit, value, expected) in cases {
            assert_eq!(unit.write(value), expected, "{unit:?} {value}");
        }
    }
}
