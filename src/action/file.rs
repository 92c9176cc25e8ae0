//! `file::append`: one line more in a file under the one folder that settings.toml names.
//!
//! Invariant: nothing outside that folder is touched. A name is a plain file name, and a symbolic
//! link in its place is not followed. A line is on disk before the verb says so.

use std::fs::File as Handle;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags};
use serde::Deserialize;

use super::arguments::wrong;
use super::{Action, Argument, Call, Failure, Performing, Repeat, Verb};
use crate::event::Value;

/// Longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Longest file name, in bytes; room is left for the number of a rotated file.
const NAME_BYTES_MAX: usize = 200;
/// Rotated files that can be kept at most.
const KEEP_MAX: u32 = 1_000;

/// The `[file]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the files are; a relative path counts from the settings file's folder.
    pub folder: PathBuf,
    /// A file that would grow beyond this many bytes is rotated first: `name` becomes `name.1`.
    pub rotate_bytes_max: u64,
    /// How many rotated files are kept; the oldest goes.
    pub rotate_keep: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            folder: PathBuf::new(),
            rotate_bytes_max: 64 * 1024 * 1024,
            rotate_keep: 5,
        }
    }
}

/// `[file]`, ready for use.
#[derive(Debug, Clone)]
pub struct Service {
    folder: PathBuf,
    rotate_bytes_max: u64,
    rotate_keep: u32,
    /// One writer at a time, so that a rotation is never seen halfway.
    turn: Arc<Mutex<()>>,
}

impl Service {
    /// Checks the settings; a relative path counts from `folder`.
    ///
    /// # Errors
    /// A sentence about the folder that is not named or not there, or the limit that is none.
    pub fn prepare(settings: Settings, folder: &Path) -> Result<Service, String> {
        if settings.folder.as_os_str().is_empty() {
            return Err("set `folder` under [file]".to_owned());
        }
        let folder = folder.join(&settings.folder);
        let shown = folder.display();
        let real =
            std::fs::canonicalize(&folder).map_err(|why| format!("`folder` {shown}: {why}"))?;
        if !real.is_dir() {
            return Err(format!("`folder` {shown} is no folder"));
        }
        if settings.rotate_bytes_max == 0 || settings.rotate_keep > KEEP_MAX {
            let wrong = "`rotate_bytes_max` must be more than 0 and `rotate_keep` at most 1000";
            return Err(wrong.to_owned());
        }
        Ok(Service {
            folder: real,
            rotate_bytes_max: settings.rotate_bytes_max,
            rotate_keep: settings.rotate_keep,
            turn: Arc::default(),
        })
    }

    fn append(&self, name: &str, line: &[u8]) -> io::Result<u64> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join(name);
        let mut file = self.open(&path)?;
        let mut size = file.metadata()?.len();
        if size > 0 && size + line.len() as u64 > self.rotate_bytes_max {
            drop(file);
            self.rotate(&path)?;
            file = self.open(&path)?;
            size = 0;
        }
        let written = file.write_all(line).and_then(|()| file.sync_data());
        if written.is_err() {
            // A line is there as a whole or not at all, as far as the disk lets us.
            let _ = file.set_len(size);
        }
        written?;
        if size == 0 {
            Handle::open(&self.folder)?.sync_all()?;
        }
        Ok(size + line.len() as u64)
    }

    fn open(&self, path: &Path) -> io::Result<Handle> {
        // NONBLOCK: a pipe somebody put there must not hold us; it is refused below.
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::APPEND
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC
            | OFlags::NONBLOCK;
        let mode = Mode::from_raw_mode(0o640);
        let file = Handle::from(rustix::fs::openat(CWD, path, flags, mode)?);
        let known = file.metadata()?;
        if !known.is_file() {
            return Err(io::Error::other("is no plain file"));
        }
        if known.len() == 0 {
            // Whatever the process' umask says.
            rustix::fs::fchmod(&file, mode)?;
        }
        Ok(file)
    }

    /// `name.1` is the newest of the old ones.
    fn rotate(&self, path: &Path) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.rotate_keep == 0 {
            return std::fs::remove_file(path);
        }
        for number in (1..self.rotate_keep).rev() {
            if numbered(number).symlink_metadata().is_ok() {
                std::fs::rename(numbered(number), numbered(number + 1))?;
            }
        }
        std::fs::rename(path, numbered(1))
    }
}

/// `file::*`
pub struct File;

const VERBS: &[Verb] = &[Verb {
    name: "append",
    arguments: &[
        Argument::required("name", "text"),
        Argument::required("line", "text or map"),
    ],
    about: "appends one line to a file under the [file] folder: text with its line breaks written as \\n, or a map as JSON; flushed; rotates; gives #{ name, size }",
    example: r#"file::append("alerts.jsonl", #{ host: event.hostname, status: event.status });"#,
    repeat: Repeat::InDoubt,
}];

impl Action for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn about(&self) -> &'static str {
        "appends lines to files under one folder"
    }

    fn verbs(&self) -> &'static [Verb] {
        VERBS
    }

    fn perform<'a>(&'a self, call: Call<'a>) -> Performing<'a> {
        Box::pin(perform(call))
    }
}

async fn perform(call: Call<'_>) -> Result<Value, Failure> {
    let service = call.services.file.as_ref();
    let service = service
        .ok_or_else(|| Failure::not_configured("file"))?
        .clone();
    let name = checked_name(call.text(0, "name")?)?.to_owned();
    let line = line(call.argument(1))?;
    let shown = name.clone();
    let append = move || service.append(&name, &line);
    let done = tokio::task::spawn_blocking(append).await;
    let size = match done {
        Ok(written) => written.map_err(|why| of_error(&shown, &why))?,
        Err(why) => return Err(Failure::other(format!("cannot append: {why}")).in_doubt()),
    };
    Ok(Value::from([
        ("name", Value::from(shown)),
        ("size", Value::Int(i64::try_from(size).unwrap_or(i64::MAX))),
    ]))
}

/// A plain file name: letters, digits, `.`, `_`, `-`, not beginning with a dot.
fn checked_name(name: &str) -> Result<&str, Failure> {
    let plain = |char: char| char.is_alphanumeric() || matches!(char, '.' | '_' | '-');
    let good = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(plain);
    match good && !name.starts_with('.') {
        true => Ok(name),
        false => Err(Failure::refused(format!(
            "{name:?} is no file name here: letters, digits, '.', '_' and '-', not beginning with a dot"
        ))),
    }
}

fn line(value: &Value) -> Result<Vec<u8>, Failure> {
    let text = match value {
        Value::Map(_) | Value::List(_) => value.to_json().to_string(),
        Value::Bytes(_) | Value::Null => return Err(wrong("line", "text or a map", value)),
        plain => escaped(plain.to_plain().trim_end_matches(['\r', '\n'])),
    };
    match text.len() < LINE_BYTES_MAX {
        true => Ok((text + "\n").into_bytes()),
        false => Err(Failure::refused(format!(
            "the line is longer than {LINE_BYTES_MAX} bytes"
        ))),
    }
}

/// Control characters written out, so that what a sender put into an event cannot forge a line or
/// steer a terminal.
fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\t' => line.push(char),
            control if control.is_control() => line.extend(control.escape_default()),
            other => line.push(other),
        }
    }
    line
}

fn of_error(name: &str, why: &io::Error) -> Failure {
    let message = format!("cannot append to {name}: {why}");
    // ELOOP is what NOFOLLOW says of a symbolic link.
    let is_link = why.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    match why.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::Other => Failure::refused(message),
        _ if is_link => Failure::refused(message),
        // A full disk may be freed.
        _ => Failure::other(message),
    }
}
