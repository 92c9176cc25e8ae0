//! The sender's log file, `kompira_sendevt.log`, in the line form its readers know.
//!
//! Invariant: no body and no password is ever written into it, only sizes and ids; the file is
//! not readable by everyone. What is wrong with the log never stops an event.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Caller;
use super::caller::one_line;
use super::post::local_time;

/// The log file's name.
const FILE_NAME: &str = "kompira_sendevt.log";
/// Mode of the log file, set explicitly.
#[cfg(unix)]
const FILE_MODE: u32 = 0o640;
/// Rotated at this size, in bytes, if nothing says otherwise; 0 never rotates.
const SIZE_BYTES_MAX_DEFAULT: u64 = 1_073_741_824;
/// Rotated files kept if nothing says otherwise.
const BACKUPS_DEFAULT: u64 = 10;
/// Most rotated files that are kept.
const BACKUPS_MAX: u64 = 1000;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl Level {
    const ALL: [(&str, Level); 5] = [
        ("DEBUG", Level::Debug),
        ("INFO", Level::Info),
        ("WARNING", Level::Warning),
        ("ERROR", Level::Error),
        ("CRITICAL", Level::Critical),
    ];

    /// The level called `name`.
    ///
    /// # Errors
    /// A sentence that lists the names.
    pub fn by_name(name: &str) -> Result<Level, String> {
        let known = Level::ALL.iter().find(|(known, _)| *known == name.trim());
        known.map(|(_, level)| *level).ok_or_else(|| {
            format!("unknown log level `{name}`; one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Level::ALL
            .iter()
            .find(|(_, level)| *level == self)
            .map_or("", |(name, _)| name)
    }
}

/// Where and how much is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    pub folder: PathBuf,
    /// The folder was named by the user: it is worth a warning if it is missing.
    pub is_named: bool,
    pub level: Level,
    pub size_bytes_max: u64,
    pub backups: u64,
    pub to_standard_error: bool,
}

impl LogSettings {
    /// The settings for `folder`, or for the usual folder.
    pub fn new(folder: Option<PathBuf>) -> LogSettings {
        let usual = if cfg!(windows) {
            r"C:\Kompira\Log"
        } else {
            "/var/log/kompira"
        };
        LogSettings {
            is_named: folder.is_some(),
            folder: folder.unwrap_or_else(|| PathBuf::from(usual)),
            level: Level::Info,
            size_bytes_max: SIZE_BYTES_MAX_DEFAULT,
            backups: BACKUPS_DEFAULT,
            to_standard_error: false,
        }
    }
}

/// An open log, or one that goes nowhere.
pub struct Log {
    file: Option<File>,
    level: Level,
    to_standard_error: bool,
}

impl Log {
    /// Opens the log. A folder that was named but cannot be used is said on standard error.
    pub fn open(settings: &LogSettings, caller: &mut Caller) -> Log {
        let path = settings.folder.join(FILE_NAME);
        let file = match open(&path, settings) {
            Ok(file) => Some(file),
            Err(why) if settings.is_named && !settings.to_standard_error => {
                let path = path.display();
                caller.say(&format!("warning: cannot log to {path}: {why}"));
                None
            }
            Err(_) => None,
        };
        Log {
            file,
            level: settings.level,
            to_standard_error: settings.to_standard_error,
        }
    }

    /// Writes one line, if `level` is logged at all.
    pub fn write(&mut self, level: Level, text: &str, caller: &mut Caller) {
        if level < self.level && !self.to_standard_error {
            return;
        }
        let time = local_time("%Y-%m-%d %H:%M:%S,%3f");
        let process = std::process::id();
        let name = level.name();
        let line = format!(
            "[{time}:{process}:MainProcess] {name}: {}\n",
            one_line(text)
        );
        if let Some(file) = self.file.as_mut().filter(|_| level >= self.level) {
            let _ = file.write_all(line.as_bytes());
        }
        if self.to_standard_error {
            let _ = caller.err.write_all(line.as_bytes());
        }
    }
}

fn open(path: &Path, settings: &LogSettings) -> io::Result<File> {
    let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
    if settings.size_bytes_max > 0 && size >= settings.size_bytes_max {
        rotate(path, settings.backups.min(BACKUPS_MAX));
    }
    let is_new = !path.exists();
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;
        // The folder may be open to others: a link there could name any file.
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        options.mode(FILE_MODE).custom_flags(flags);
    }
    let file = options.open(path)?;
    #[cfg(unix)]
    if is_new {
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
    }
    Ok(file)
}

/// `.1` is the newest; without backups the log is never rotated, as in Python's logging.
fn rotate(path: &Path, backups: u64) {
    let numbered = |number: u64| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (1..backups).rev() {
        // A number that does not exist yet is no error.
        let _ = fs::rename(numbered(number), numbered(number + 1));
    }
    if backups > 0 {
        let _ = fs::rename(path, numbered(1));
    }
}
