//! KEY=VAL arguments, which become one JSON object whose values are all text.
//!
//! Rules seen in recordings kv_edge and kv_invalid_utf8: split at the first `=`; the last of two
//! equal keys wins and keeps the first one's place; an empty argument is passed over.

use std::ffi::OsString;

use super::python_text::{json_ascii, json_unicode};

/// Keys and values in order, as the bytes of the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs(Vec<(Vec<u8>, Vec<u8>)>);

impl Pairs {
    /// Reads the arguments; `None` if there are none, so that standard input counts.
    ///
    /// # Errors
    /// If an argument that is not empty has no `=`.
    pub fn read(arguments: &[OsString]) -> Result<Option<Pairs>, &'static str> {
        if arguments.is_empty() {
            return Ok(None);
        }
        let mut pairs = Pairs::default();
        for argument in arguments.iter().filter(|argument| !argument.is_empty()) {
            let bytes = argument.as_encoded_bytes();
            let equals = bytes.iter().position(|byte| *byte == b'=');
            let (key, value) = bytes.split_at(equals.ok_or("invalid message")?);
            pairs.set(key, &value[1..]);
        }
        Ok(Some(pairs))
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, place)) => *place = value.to_vec(),
            None => self.0.push((key.to_vec(), value.to_vec())),
        }
    }

    /// The body on the wire: Python's default separators, everything beyond ASCII escaped.
    pub fn to_body(&self) -> Vec<u8> {
        let mut json = String::from("{");
        for (place, (key, value)) in self.0.iter().enumerate() {
            json.push_str(if place == 0 { "" } else { ", " });
            json_ascii(key, &mut json);
            json.push_str(": ");
            json_ascii(value, &mut json);
        }
        json.push('}');
        json.into_bytes()
    }

    /// The object over several lines, indented by `indent` spaces, for people.
    pub fn to_pretty(&self, indent: usize) -> String {
        if self.0.is_empty() {
            return "{}".to_owned();
        }
        let margin = " ".repeat(indent);
        let mut json = String::from("{");
        for (place, (key, value)) in self.0.iter().enumerate() {
            json.push_str(if place == 0 { "\n" } else { ",\n" });
            json.push_str(&margin);
            json.push_str("  ");
            json_unicode(key, &mut json);
            json.push_str(": ");
            json_unicode(value, &mut json);
        }
        json.push('\n');
        json.push_str(&margin);
        json.push('}');
        json
    }
}
