//! Reads events of the elder generation by [`super::table`].

use super::field::{Fields, Kind, Meaning};
use super::table::Row;
use crate::event::Value;

/// Reads the fields of `row`; bytes behind the last one are of a later version and are left.
///
/// # Errors
/// The field that is not there, or not what it should be.
pub fn read(row: &Row, payload: &[u8]) -> Result<Fields, String> {
    // Ids of indexes grew from four bytes to eight; only the length tells which these are.
    read_with(row, payload, 8).or_else(|why| match row.is_wide() {
        true => read_with(row, payload, 4),
        false => Err(why),
    })
}

impl Row {
    fn is_wide(&self) -> bool {
        self.fields.iter().any(|(_, kind)| *kind == Kind::Wide)
    }
}

fn read_with(row: &Row, payload: &[u8], wide_bytes: usize) -> Result<Fields, String> {
    let mut reader = Reader {
        rest: payload,
        wide_bytes,
    };
    let mut fields = Fields::new();
    for (name, kind) in &row.fields {
        let value = reader.value(*kind);
        let value = value.ok_or_else(|| format!("{}: `{name}` cannot be read", row.name))?;
        fields.insert((*name).to_owned(), value);
    }
    Ok(fields)
}

struct Reader<'a> {
    rest: &'a [u8],
    wide_bytes: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, kind: Kind) -> Option<Value> {
        Some(match kind {
            Kind::Bool => Value::Bool(self.number(1)? != 0),
            Kind::Short(meaning) => meaning.value(self.signed(2)?),
            Kind::Int => Meaning::Plain.value(self.signed(4)?),
            Kind::Unsigned(meaning) => meaning.value(self.number(4)?.cast_signed()),
            Kind::Wide => Meaning::Id.value(self.number(self.wide_bytes)?.cast_signed()),
            Kind::Long(meaning) => meaning.value(self.signed(8)?),
            Kind::Real => Value::Float(self.text()?.trim().parse().ok()?),
            Kind::Text => Value::Text(self.text()?),
        })
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn number(&mut self, count: usize) -> Option<u64> {
        let bytes = self.take(count)?;
        Some(
            bytes
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        )
    }

    fn signed(&mut self, count: usize) -> Option<i64> {
        let unused = 64 - 8 * count;
        Some((self.number(count)? << unused).cast_signed() >> unused)
    }

    /// Text should be UTF-8; a plugin may say anything.
    fn text(&mut self) -> Option<String> {
        let end = self.rest.iter().position(|byte| *byte == 0)?;
        let text = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Some(text)
    }
}
