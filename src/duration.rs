//! Durations as people write them: `"90s"`, `"10m"`, `"7d"`.
//!
//! A number without a unit is refused: whoever writes `10` means seconds as often as minutes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};

/// A duration written with its unit: `ms`, `s`, `m`, `h`, `d` or `w`, also in a row (`"1h30m"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lasting(pub Duration);

const UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

impl FromStr for Lasting {
    type Err = String;

    fn from_str(text: &str) -> Result<Lasting, String> {
        let wrong = || {
            format!("`{text}` is no duration; write a number and a unit, as in 90s, 10m, 2h, 7d")
        };
        let mut rest = text.trim();
        let mut milliseconds: u64 = 0;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (_, unit) = UNITS
                .iter()
                .find(|(name, _)| *name == &rest[..letters])
                .ok_or_else(wrong)?;
            let part = number.checked_mul(*unit).ok_or_else(wrong)?;
            milliseconds = milliseconds.checked_add(part).ok_or_else(wrong)?;
            rest = rest[letters..].trim_start();
        }
        Ok(Lasting(Duration::from_millis(milliseconds)))
    }
}

impl Lasting {
    /// With as many units as it takes, largest first: `"10m2s"`.
    pub fn spelled(&self) -> String {
        let mut left = self.0.as_millis() as u64;
        let mut text = String::new();
        for (name, unit) in UNITS.iter().rev().filter(|(name, _)| *name != "w") {
            if left >= *unit {
                text.push_str(&format!("{}{name}", left / unit));
                left %= unit;
            }
        }
        match text.is_empty() {
            true => "0s".to_owned(),
            false => text,
        }
    }
}

impl fmt::Display for Lasting {
    /// With the largest unit that says it exactly.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis() as u64;
        let exact = |(_, unit): &&(&str, u64)| milliseconds.is_multiple_of(*unit);
        match UNITS.iter().rev().find(exact) {
            Some((name, unit)) if milliseconds > 0 => write!(out, "{}{name}", milliseconds / unit),
            _ => write!(out, "{milliseconds}ms"),
        }
    }
}

impl<'de> Deserialize<'de> for Lasting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Lasting, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
