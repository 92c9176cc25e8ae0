//! How much room there is: the low-water mark, the operator's limit, and the ballast.
//!
//! Invariant: pushes are refused before the disk is full, so that what is under way can be
//! finished; and if it fills up anyway, the ballast is there to be thrown overboard, because the
//! engine cannot even be opened on a full disk.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::error::StoreError;
use super::folder::{Folder, remove_file};
use super::options::Options;

/// How long a look at the disk stays true.
const LOOK_AGE_MAX: Duration = Duration::from_secs(1);

/// Watches the room on disk.
#[derive(Debug)]
pub(super) struct Room {
    folder: Folder,
    disk_max: Option<u64>,
    low_water: u64,
    ballast: u64,
    looked: Option<(Instant, Result<(), String>)>,
}

impl Room {
    pub(super) fn new(folder: &Folder, options: &Options) -> Room {
        Room {
            folder: folder.clone(),
            disk_max: options.disk_max,
            low_water: options.low_water_bytes,
            ballast: options.ballast_bytes,
            looked: None,
        }
    }

    /// May another event come in? Looks at the disk at most once a second.
    pub(super) fn for_events(&mut self, body_bytes: u64) -> Result<(), StoreError> {
        let fresh = |at: &Instant| at.elapsed() < LOOK_AGE_MAX;
        let known = self.looked.as_ref().filter(|(at, _)| fresh(at));
        let verdict = match known {
            Some((_, verdict)) => verdict.clone(),
            None => {
                let verdict = self.look(body_bytes);
                self.looked = Some((Instant::now(), verdict.clone()));
                verdict
            }
        };
        verdict.map_err(|why| StoreError::Full { why })
    }

    /// Is there room for `bytes`, and as much again?
    pub(super) fn has_twice(&self, bytes: u64) -> bool {
        free_bytes(&self.folder.0) / 2 >= bytes
    }

    /// The disk has changed: look again next time.
    pub(super) fn forget(&mut self) {
        self.looked = None;
    }

    fn look(&self, body_bytes: u64) -> Result<(), String> {
        if !self.fill_ballast() {
            return Err("there is no room for the ballast that a restart needs".to_owned());
        }
        let free = free_bytes(&self.folder.0);
        if free < self.low_water {
            return Err(format!(
                "{} MiB of disk are free, and below {} MiB no event is taken",
                free >> 20,
                self.low_water >> 20
            ));
        }
        let used = file_bytes(&self.folder.tree_file()) + body_bytes;
        match self.disk_max {
            Some(most) if used > most => Err(format!(
                "{} MiB are used of the {} MiB that disk_max allows",
                used >> 20,
                most >> 20
            )),
            _ => Ok(()),
        }
    }

    /// Makes the ballast if it is not there and there is room for it; false if there is none.
    pub(super) fn fill_ballast(&self) -> bool {
        let path = self.folder.ballast();
        if self.ballast == 0 || file_bytes(&path) >= self.ballast {
            return true;
        }
        if free_bytes(&self.folder.0) < self.ballast.saturating_add(self.low_water) {
            return false;
        }
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .and_then(|file| {
                fallocate(&file, FallocateFlags::empty(), 0, self.ballast)?;
                Ok(())
            });
        if made.is_err() {
            // Half a ballast is worth less than its room.
            let _ = remove_file(&path);
        }
        made.is_ok()
    }

    /// Throws the ballast overboard.
    pub(super) fn drop_ballast(&mut self) {
        self.forget();
        // If even this fails, opening fails too and says why.
        let _ = remove_file(&self.folder.ballast());
    }
}

fn free_bytes(folder: &Path) -> u64 {
    statvfs(folder).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn file_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}
