//! What a number in an event means, so that "unset" is nothing in both generations.
//!
//! The elder one writes an unset time as −1 or 0, the younger one as 0 or as the largest number that
//! 64 bits hold; an id of 0 is no object.

use std::collections::BTreeMap;

use crate::event::Value;

/// Named values.
pub type Fields = BTreeMap<String, Value>;

/// How a field of the elder generation is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One byte.
    Bool,
    /// Two bytes, signed.
    Short(Meaning),
    /// Four bytes, signed.
    Int,
    /// Four bytes.
    Unsigned(Meaning),
    /// An id of eight bytes, of four until 20.10.
    Wide,
    /// Eight bytes, signed.
    Long(Meaning),
    /// A number as decimal text.
    Real,
    /// UTF-8 until a zero byte.
    Text,
}

/// What a whole number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Itself.
    Plain,
    /// An object; 0 is none.
    Id,
    /// Seconds since 1970; 0 and below is unset.
    Time,
    /// How many; below 0 is unset.
    Count,
    /// A number that the other generation writes with a fraction.
    Real,
}

impl Meaning {
    /// The value of a whole number.
    pub fn value(self, number: i64) -> Value {
        let is_unset = match self {
            Meaning::Plain | Meaning::Real => false,
            Meaning::Id => number == 0,
            Meaning::Time => number <= 0,
            Meaning::Count => number < 0,
        };
        match self {
            _ if is_unset => Value::Null,
            // Periods, far from where a float has gaps.
            Meaning::Real => Value::Float(number as f64),
            _ => Value::Int(number),
        }
    }
}
