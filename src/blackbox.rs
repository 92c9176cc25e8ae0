//! Black box: which run each thread is thinking about, readable after the process has died.
//!
//! A script that kills the process would kill it again at every start. So its run is written into
//! a small file before each step (a write into the page cache survives the process, not the power,
//! which is all that is needed), and a run found there at start has one strike.
//!
//! Whoever ended the process from outside struck runs that did nothing wrong. So a struck run rests
//! before it thinks again: all others go on meanwhile, and it takes more than bad luck to be struck
//! twice.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event::RunId;

/// Bytes per thread: enough for any run id and a number.
const SLOT_BYTES: usize = 1024;
/// Strikes after which a run is a dead letter.
pub const STRIKES_MAX: usize = 2;
/// How long a run that was struck rests before it thinks again.
pub const STRUCK_REST: Duration = Duration::from_secs(1);

/// The file, and runs that were struck before anything of them was on disk.
#[derive(Debug, Clone)]
pub struct BlackBox {
    file: Arc<File>,
    set_aside: Arc<Mutex<Vec<RunId>>>,
}

/// A run that was thinking when the process died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Struck {
    /// Which.
    pub run: RunId,
    /// After how many commands.
    pub position: u64,
}

impl BlackBox {
    /// Opens the file, and tells who was thinking when the last process ended; empties all slots.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<(BlackBox, Vec<Struck>)> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let struck = bytes.chunks(SLOT_BYTES).filter_map(parse).collect();
        file.set_len(0)?;
        let blackbox = BlackBox {
            file: Arc::new(file),
            set_aside: Arc::default(),
        };
        Ok((blackbox, struck))
    }

    /// Remembers a struck run whose journal does not tell it when it begins.
    pub fn set_aside(&self, run: RunId) {
        self.aside().push(run);
    }

    /// True once for a run that was set aside.
    pub fn was_set_aside(&self, run: &RunId) -> bool {
        let mut aside = self.aside();
        let place = aside.iter().position(|one| one == run);
        place.map(|place| aside.swap_remove(place)).is_some()
    }

    fn aside(&self) -> MutexGuard<'_, Vec<RunId>> {
        self.set_aside
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Thread `thread` begins to think about `run`, which has come `position` commands far.
    pub fn enter(&self, thread: usize, run: &RunId, position: u64) {
        let mut slot = format!("{position} {run}\n").into_bytes();
        slot.resize(SLOT_BYTES, 0);
        // Without the black box the server still works; it only cannot tell who killed it.
        let _ = self.file.write_all_at(&slot, (thread * SLOT_BYTES) as u64);
    }

    /// Thread `thread` came back.
    pub fn leave(&self, thread: usize) {
        let _ = self.file.write_all_at(b"\n", (thread * SLOT_BYTES) as u64);
    }
}

fn parse(slot: &[u8]) -> Option<Struck> {
    let line = slot.split(|byte| *byte == b'\n').next()?;
    let (position, run) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some(Struck {
        run: run.parse().ok()?,
        position: position.parse().ok()?,
    })
}
