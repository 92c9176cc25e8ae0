//! The reader: the rules of Centreon's own, which is more lenient than the plugins' guidelines.
//!
//! It goes forward by at least one byte at every turn, so any text comes to an end.

use std::collections::BTreeSet;

use super::metric::{Metric, Range};

/// Metrics that are read of one text.
pub const METRICS_MAX: usize = 4_000;

/// Reads performance data; of metrics with the same name the first counts.
pub fn parse(text: &str) -> Vec<Metric> {
    let mut reader = Reader { rest: text };
    let mut names = BTreeSet::new();
    let mut metrics = Vec::new();
    reader.skip_spaces();
    while !reader.rest.is_empty() && metrics.len() < METRICS_MAX {
        match reader.metric(&names) {
            Some(metric) => {
                names.insert(metric.name.clone());
                metrics.push(metric);
                reader.skip_spaces();
            }
            None => reader.skip_word(),
        }
    }
    metrics
}

/// What is still to be read.
struct Reader<'a> {
    rest: &'a str,
}

fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\n' | '\r' | '\x0B' | '\x0C')
}

impl<'a> Reader<'a> {
    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(is_space);
    }

    fn skip_word(&mut self) {
        self.rest = self.rest.trim_start_matches(|char| !is_space(char));
        self.skip_spaces();
    }

    /// What comes before the first of `ends`.
    fn until(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        text
    }

    fn take(&mut self, char: char) -> bool {
        let rest = self.rest.strip_prefix(char);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn metric(&mut self, names: &BTreeSet<String>) -> Option<Metric> {
        let (kind, name) = self.label();
        if !self.take('=') || name.is_empty() || names.contains(name) {
            return None;
        }
        let value = self.number();
        if value.is_nan() {
            return None;
        }
        let unit = self.until(|char| matches!(char, ' ' | '\t' | '\n' | '\r' | ';'));
        self.take(';');
        Some(Metric {
            name: name.to_owned(),
            kind,
            value,
            unit: unit.to_owned(),
            warning: self.range(),
            critical: self.range(),
            min: self.field(),
            max: self.field(),
        })
    }

    /// What stands before the equals sign, quotes keeping it together, and its type.
    fn label(&mut self) -> (&'static str, &'a str) {
        let mut is_quoted = false;
        let mut end = self.rest.len();
        for (at, char) in self.rest.char_indices() {
            if !is_quoted && (char == '=' || is_space(char)) {
                end = at;
                break;
            }
            is_quoted ^= char == '\'';
        }
        let (label, rest) = self.rest.split_at(end);
        self.rest = rest;
        let label = label.strip_prefix('\'').unwrap_or(label);
        let label = label
            .strip_suffix('\'')
            .unwrap_or(label)
            .trim_matches(is_space);
        typed(label)
    }

    /// A number and the semicolon after it.
    fn field(&mut self) -> f64 {
        // Nothing stands before a space, and what comes after it is another metric.
        let number = self.number();
        self.take(';');
        number
    }

    fn range(&mut self) -> Range {
        let inside = self.take('@');
        let low = match self.take('~') {
            true => f64::NEG_INFINITY,
            false => self.field(),
        };
        if !self.take(':') {
            let from_zero = if low.is_nan() { low } else { 0.0 };
            return Range {
                low: from_zero,
                high: low,
                inside,
            };
        }
        let before = self.rest.len();
        let high = self.field();
        let is_open = high.is_nan() && before - self.rest.len() <= 1;
        Range {
            low,
            high: if is_open { f64::INFINITY } else { high },
            inside,
        }
    }

    /// A number, with a point or a comma; not a number if there is none.
    fn number(&mut self) -> f64 {
        let length = number_length(self.rest);
        let (number, rest) = self.rest.split_at(length);
        if length == 0 {
            return f64::NAN;
        }
        self.rest = rest;
        number.replace(',', ".").parse().unwrap_or(f64::NAN)
    }
}

/// `c[name]` is a counter, and so on.
fn typed(label: &str) -> (&'static str, &str) {
    const TYPES: &[(&str, &str)] = &[
        ("a[", "absolute"),
        ("c[", "counter"),
        ("d[", "derive"),
        ("g[", "gauge"),
    ];
    let inner = |begin: &str| label.strip_prefix(begin)?.strip_suffix(']');
    let found = TYPES
        .iter()
        .find_map(|(begin, kind)| Some((*kind, inner(begin)?)));
    found.unwrap_or(("gauge", label))
}

/// How many bytes at the beginning are a number, as C's `strtod` sees it without hexadecimals.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let word = |word: &str| {
        let found = bytes.get(sign..sign + word.len());
        found.is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
    };
    for known in ["infinity", "inf", "nan"] {
        if word(known) {
            return sign + known.len();
        }
    }
    let whole = digits(sign);
    let mut end = sign + whole;
    let mut fraction = 0;
    if matches!(bytes.get(end), Some(b'.' | b',')) {
        fraction = digits(end + 1);
        end += usize::from(whole + fraction > 0) + fraction;
    }
    if whole + fraction == 0 {
        return 0;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let power = digits(end + 1 + sign);
        end += if power > 0 { 1 + sign + power } else { 0 };
    }
    end
}
