//! What a caller's process gives the sender besides arguments: its streams and environment.
//!
//! Writing never fails: a closed standard output must not change what happens to an event.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The streams and the environment of one call.
pub struct Caller<'a> {
    /// The name shown in messages: `sendevt`, `vigie mail` …
    pub name: String,
    /// Where an event without KEY=VAL comes from.
    pub stdin: &'a mut dyn Read,
    /// Answers that were asked for: a dry run, a version.
    pub out: &'a mut dyn Write,
    /// Everything else that is said.
    pub err: &'a mut dyn Write,
    /// Environment variables.
    pub env: BTreeMap<OsString, OsString>,
}

impl Caller<'_> {
    /// The variable `name` as a path; `None` if unset or empty.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.env.get(OsStr::new(name))?;
        (!value.is_empty()).then(|| Path::new(value).to_owned())
    }

    /// The variable `name` as text, with U+FFFD for what is not UTF-8; `None` if unset.
    pub fn text(&self, name: &str) -> Option<String> {
        let value = self.env.get(OsStr::new(name))?;
        Some(value.to_string_lossy().into_owned())
    }

    /// Writes one line on standard error, led by the name of the command. Control characters of
    /// `text` are shown as `\u{..}`, because parts of it come from servers and files.
    pub fn say(&mut self, text: &str) {
        let _ = writeln!(self.err, "{}: {}", self.name, one_line(text));
    }

    /// Writes one line on standard error as it is.
    pub fn line(&mut self, text: &str) {
        let _ = writeln!(self.err, "{}", one_line(text));
    }

    /// Writes `text` on standard output and flushes it.
    pub fn print(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }

    /// All of standard input, at most `bytes_max`.
    ///
    /// # Errors
    /// A sentence: closed, unreadable, or larger than `bytes_max`.
    pub fn read_stdin(&mut self, bytes_max: usize) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let limit = bytes_max as u64 + 1;
        let read = Read::take(&mut self.stdin, limit).read_to_end(&mut bytes);
        read.map_err(|why| format!("cannot read standard input: {why}"))?;
        if bytes.len() > bytes_max {
            return Err(format!("standard input is larger than {bytes_max} bytes"));
        }
        Ok(bytes)
    }
}

/// The text without line ends and other control characters, so that it stays one line.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.trim_end().chars() {
        if char.is_control() {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    line
}

/// The process's standard input; reading it fails if the caller closed it.
///
/// Rust opens a closed descriptor anew as /dev/null for reading and writing, which would look
/// like an empty event; kompira_sendevt fails in that case.
pub struct StandardInput(io::Stdin);

impl StandardInput {
    /// The process's standard input.
    pub fn new() -> StandardInput {
        StandardInput(io::stdin())
    }

    #[cfg(target_os = "linux")]
    fn is_closed(&self) -> bool {
        use rustix::fs::{OFlags, fcntl_getfl, fstat, makedev};
        let flags = fcntl_getfl(&self.0).unwrap_or(OFlags::empty());
        let null = fstat(&self.0).is_ok_and(|stat| stat.st_rdev == makedev(1, 3));
        null && flags.contains(OFlags::RDWR)
    }

    #[cfg(not(target_os = "linux"))]
    fn is_closed(&self) -> bool {
        false
    }
}

impl Default for StandardInput {
    fn default() -> StandardInput {
        StandardInput::new()
    }
}

impl Read for StandardInput {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.is_closed() {
            return Err(io::Error::other("it is closed"));
        }
        self.0.read(into)
    }
}
