//! What a repair could not keep: a numbered folder with the damaged rows, and later the old
//! database whole.
//!
//! Invariant: rows are written down as they come, none is held, and all are on disk before the
//! repaired database takes its place.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use super::error::StoreError;
use super::folder::{Folder, sync_folder};
use super::progress::Sentences;
use crate::hex;

/// A folder for one repair.
pub(super) struct Quarantine {
    pub(super) folder: Folder,
    rows: Option<BufWriter<File>>,
    named: Sentences,
}

impl Quarantine {
    /// A new one beside the store.
    pub(super) fn begin(store: &Folder) -> Result<Quarantine, StoreError> {
        Ok(Quarantine {
            folder: Folder(store.new_quarantine()?),
            rows: None,
            named: Sentences::default(),
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.0.join("rows")
    }

    /// Keeps the bytes of a row, with what is wrong about it.
    pub(super) fn put(&mut self, what: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path();
        let io = |why| StoreError::io(&path, &why);
        let rows = match &mut self.rows {
            Some(rows) => rows,
            none => none.insert(BufWriter::new(File::create(&path).map_err(io)?)),
        };
        writeln!(rows, "{what}\t{}", hex::encode(bytes)).map_err(io)?;
        self.named.add(what);
        Ok(())
    }

    /// Makes everything durable; answers what is in it, in words.
    pub(super) fn finish(mut self) -> Result<Vec<String>, StoreError> {
        let path = self.path();
        if let Some(rows) = self.rows.take() {
            let file = rows.into_inner().map_err(|why| why.into_error());
            file.and_then(|file| file.sync_all())
                .map_err(|why| StoreError::io(&path, &why))?;
        }
        sync_folder(&self.folder.0)?;
        Ok(self.named.into_vec())
    }
}
