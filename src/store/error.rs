//! What can go wrong in the store, as sentences that name the thing.
//!
//! Invariant: whatever is lost or unreadable is an error here, never an empty answer.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::Exit;

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process (or another handle of this one) owns the folder.
    #[error("the store {} is held by process {pid}; this is process {ours}", folder.display())]
    Held {
        /// The store's folder.
        folder: PathBuf,
        /// The owner's process id; 0 if it wrote none yet.
        pid: u32,
        /// The id of the process that asked.
        ours: u32,
    },
    /// The folder was written by another format version.
    #[error(
        "the store {} has format {found}; this program reads and writes format {ours}", folder.display()
    )]
    Format {
        /// The store's folder.
        folder: PathBuf,
        /// The format version it was written with.
        found: u32,
        /// The format version of this program.
        ours: u32,
    },
    /// Something that was kept cannot be read, or is missing.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// What, in words: `event alert/1042`, `the ledger` …
        what: String,
        /// What was found instead.
        why: String,
    },
    /// There is no room; nothing of the batch was kept. Try again when there is.
    #[error("the store is full: {why}")]
    Full {
        /// Which limit was met.
        why: String,
    },
    /// The disk failed; whether the batch was kept is not known, so it was not acknowledged.
    #[error("the store failed: {why}")]
    Failed {
        /// The operating system's or the engine's own words.
        why: String,
    },
    /// The batch or a value in it is beyond a limit; nothing of it was kept.
    #[error("{what} is larger than the store takes: {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit in words.
        limit: String,
    },
    /// Somebody else was first: the event is taken, the run was woken or has ended. Nothing of the
    /// batch was kept.
    #[error("{what}: somebody else was first")]
    Lost {
        /// What the batch was about.
        what: String,
    },
    /// Something that stands before it in its line was not kept, so nothing of the batch was either.
    #[error("what comes before it was not kept")]
    Behind,
    /// The store was closed before it answered.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// What the process says when it ends because of this: 69 for a store that cannot be had, 78
    /// for another format, 75 for one that may work later.
    pub fn exit(&self) -> Exit {
        match self {
            StoreError::Held { .. } | StoreError::Damaged { .. } => Exit::Unavailable,
            StoreError::Format { .. } => Exit::Configuration,
            StoreError::Full { .. }
            | StoreError::Failed { .. }
            | StoreError::Behind
            | StoreError::Closed => Exit::TryAgain,
            StoreError::TooLarge { .. } | StoreError::Lost { .. } => Exit::Failed,
        }
    }

    pub(super) fn lost(what: impl Into<String>) -> StoreError {
        StoreError::Lost { what: what.into() }
    }

    pub(super) fn damaged(what: impl Into<String>, why: impl Into<String>) -> StoreError {
        StoreError::Damaged {
            what: what.into(),
            why: why.into(),
        }
    }

    /// An operating system's error while doing something to `path`.
    pub(super) fn io(path: &Path, why: &io::Error) -> StoreError {
        let text = format!("{}: {why}", path.display());
        if is_full(why) {
            StoreError::Full { why: text }
        } else {
            StoreError::Failed { why: text }
        }
    }

    /// The engine's own error while reading or writing.
    pub(super) fn engine(why: &sled::Error) -> StoreError {
        match why {
            sled::Error::Io(io) if is_full(io) => StoreError::Full {
                why: io.to_string(),
            },
            sled::Error::Corruption { .. } => {
                StoreError::damaged("the database", "a page of it fails its checksum")
            }
            other => StoreError::Failed {
                why: other.to_string(),
            },
        }
    }
}

fn is_full(why: &io::Error) -> bool {
    matches!(
        why.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
