//! How verbs speak to people: mistakes on standard error, answers on standard output.

use std::io::Write;

use unicode_width::UnicodeWidthStr;

use crate::error::Diagnostic;
use crate::printable::printable;

/// Prints a line of an answer; text from outside in it does nothing to the terminal.
pub(super) fn line(text: &str) {
    exact(&printable(text));
}

/// Prints a line as it is. A closed pipe (`| head`) is no reason to complain.
pub(super) fn exact(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a sentence about what went wrong.
pub(super) fn sentence(text: &str) {
    let _ = writeln!(std::io::stderr(), "vigie: {}", printable(text));
}

/// Prints what a person should know although nothing is wrong.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "note: {}", printable(text));
}

/// Prints mistakes with their pictures, and how many there are.
pub(super) fn mistakes(mistakes: &[Diagnostic]) {
    let mut out = std::io::stderr();
    for mistake in mistakes {
        let _ = writeln!(out, "{}\n", printable(&mistake.to_string()));
    }
    let plural = if mistakes.len() == 1 { "" } else { "s" };
    let _ = writeln!(out, "{} mistake{plural}", mistakes.len());
}

/// Prints rows as a table; columns are as wide as their widest cell, counting what a terminal
/// shows, so that Japanese names line up too.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(String::as_str);
        cells
            .chain(head.get(column).copied())
            .map(UnicodeWidthStr::width)
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            let gap = width.saturating_sub(cell.width()) + 2;
            text.push_str(cell);
            text.push_str(&" ".repeat(gap));
        }
        line(text.trim_end());
    };
    print(&mut head.iter().copied());
    for row in rows {
        print(&mut row.iter().map(String::as_str));
    }
}
