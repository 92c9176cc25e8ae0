//! Lua's patterns as regular expressions: what was written for a stream connector goes on meaning the
//! same.

use std::iter::Peekable;
use std::str::Chars;

/// The regular expression that finds what a Lua pattern finds.
///
/// # Errors
/// A sentence naming what regular expressions cannot do: `%b`, `%f`, `%1`; or what is no pattern.
pub fn to_regex(pattern: &str) -> Result<String, String> {
    let mut rest = pattern.chars().peekable();
    let mut regex = String::new();
    if rest.next_if_eq(&'^').is_some() {
        regex.push('^');
    }
    let mut open = 0_usize;
    while let Some(char) = rest.next() {
        match char {
            '$' if rest.peek().is_none() => regex.push('$'),
            // Where something was found, which nobody asks for here.
            '(' if rest.next_if_eq(&')').is_some() => {}
            '(' => {
                open += 1;
                regex.push_str("(?:");
            }
            ')' => {
                open = open
                    .checked_sub(1)
                    .ok_or("a bracket is closed that was not opened")?;
                regex.push(')');
            }
            char => regex.push_str(&single(char, &mut rest)?),
        }
    }
    match open {
        0 => Ok(regex),
        _ => Err("a bracket is not closed".to_owned()),
    }
}

/// One character or class, and how often it comes; only these can be repeated.
fn single(char: char, rest: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let class = match char {
        '.' => "(?s:.)".to_owned(),
        '%' => escaped(rest.next())?,
        '[' => set(rest)?,
        char => regex::escape(&char.to_string()),
    };
    let times = rest.next_if(|char| matches!(char, '*' | '+' | '-' | '?'));
    let times = match times {
        Some('-') => "*?".to_owned(),
        times => times.map(String::from).unwrap_or_default(),
    };
    Ok(format!("{class}{times}"))
}

fn escaped(char: Option<char>) -> Result<String, String> {
    match char {
        Some(char) if class(char).is_some() => {
            let lower = class(char).unwrap_or_default();
            let not = if char.is_ascii_uppercase() { "^" } else { "" };
            Ok(format!("[{not}{lower}]"))
        }
        Some(char) if char.is_ascii_alphanumeric() => {
            Err(format!("`%{char}` has no like among regular expressions"))
        }
        Some(char) => Ok(regex::escape(&char.to_string())),
        None => Err("it ends with `%`".to_owned()),
    }
}

/// What stands in brackets for a class of Lua's, upper or lower case.
fn class(char: char) -> Option<&'static str> {
    Some(match char.to_ascii_lowercase() {
        'a' => "[:alpha:]",
        'c' => "[:cntrl:]",
        'd' => "0-9",
        'g' => "[:graph:]",
        'l' => "[:lower:]",
        'p' => "[:punct:]",
        's' => "[:space:]",
        'u' => "[:upper:]",
        'w' => "[:alnum:]",
        'x' => "[:xdigit:]",
        _ => return None,
    })
}

fn set(rest: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let mut regex = String::from("[");
    if rest.next_if_eq(&'^').is_some() {
        regex.push('^');
    }
    let mut is_first = true;
    loop {
        let char = rest.next().ok_or("a set is not closed")?;
        match char {
            ']' if !is_first => break,
            '%' => {
                let char = rest.next().ok_or("it ends with `%`")?;
                regex.push_str(&member(char)?);
            }
            char => {
                regex.push_str(&regex::escape(&char.to_string()));
                range(rest, &mut regex);
            }
        }
        is_first = false;
    }
    regex.push(']');
    Ok(regex)
}

/// `%x` within a set.
fn member(char: char) -> Result<String, String> {
    match class(char) {
        Some(lower) if char.is_ascii_uppercase() => Ok(format!("[^{lower}]")),
        Some(lower) => Ok(lower.to_owned()),
        None if char.is_ascii_alphanumeric() => {
            Err(format!("`%{char}` has no like among regular expressions"))
        }
        None => Ok(regex::escape(&char.to_string())),
    }
}

/// The end of `a-z`, whose beginning was read; a dash before the set's end is a dash.
fn range(rest: &mut Peekable<Chars<'_>>, regex: &mut String) {
    let mut ahead = rest.clone();
    let end = match (ahead.next(), ahead.next()) {
        (Some('-'), Some(end)) if end != ']' => end,
        _ => return,
    };
    regex.push('-');
    regex.push_str(&regex::escape(&end.to_string()));
    *rest = ahead;
}
