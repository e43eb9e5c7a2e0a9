//! Amounts of memory as people write them. They may be given in decimal units (MB, GB) and in binary ones (MiB, GiB);
//! for people they are written in binary ones, as all of [`crate::unit`] is.

use crate::unit::Unit;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::str::FromStr;

/// A number of bytes. Reads "2GiB", "1500 MB" and plain numbers; writes the same number exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Bytes of a MiB.
pub(crate) const MEBIBYTE: f64 = (1u64 << 20) as f64;

/// Units, largest first of each kind.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl Bytes {
    /// For people: "1.40 GiB", "310 MiB".
    pub fn words(self) -> String {
        Unit::Bytes.write(self.0 as f64)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit));
        let (name, unit) = whole.unwrap_or(&UNITS[8]);
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Bytes, String> {
        let fault =
            || format!("an amount of memory such as 2GiB, 512MiB or 1.5GB was expected, found \"{text}\"");
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, name) = (&trimmed[..end], trimmed[end..].trim());
        let unit = match name {
            "" => 1,
            name => UNITS.iter().find(|unit| unit.0.eq_ignore_ascii_case(name)).ok_or_else(fault)?.1,
        };
        let bytes = match number.parse::<u64>() {
            Ok(number) => number.checked_mul(unit),
            // Below 2^53 bytes a fraction loses nothing that counts.
            Err(_) => number
                .parse()
                .ok()
                .map(|number: f64| number * unit as f64)
                .filter(|b| *b < 9e15)
                .map(|b| b as u64),
        };
        bytes.map(Bytes).ok_or_else(fault)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer) {
            Ok(Written::Number(bytes)) => Ok(Bytes(bytes)),
            Ok(Written::Text(text)) => text.parse().map_err(D::Error::custom),
            Err(_) => Err(D::Error::custom("expected an amount of memory such as \"2GiB\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for (text, bytes) in [("2GiB", 2 << 30), ("1500MB", 1_500_000_000), ("7B", 7), ("3KiB", 3072)] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)));
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(" 1.5 gib".parse(), Ok(Bytes(3 << 29)));
        assert_eq!("42".parse(), Ok(Bytes(42)));
        for wrong in ["", "GiB", "2 gigs", "-1GiB", "1e3", "99999999999999999999", "9999999999TiB", "1.2.3GB"]
        {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
        assert_eq!(Bytes((3 << 30) / 2).words(), "1.50 GiB");
        assert_eq!((Bytes(300 << 20).words(), Bytes(12).words()), ("300 MiB".into(), "12.0 B".into()));
    }
}
