//! Trace: which events were suppressed, by what and under which key, for `vigie explain`.
//!
//! Invariant: sheets of a bounded number of lines, a bounded number of sheets; the newest stay. A sheet is
//! written in one batch with the state that it belongs to.

use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::{Batch, Store, StoreError};
use crate::storm::{Kind, Suppressed};

/// Lines of one sheet.
const SHEET_LINES: usize = 100;
/// Sheets that are kept of a flow: 100,000 events.
pub const SHEETS_MAX: u64 = 1_000;
/// Lines that wait to be written; the oldest go if there are more.
const PENDING_MAX: usize = 20_000;

/// What was suppressed last.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// The number of the sheet that is being filled.
    sheet: u64,
    /// What stands on it on disk.
    written: Vec<Suppressed>,
    /// What goes behind that.
    pending: Vec<Suppressed>,
}

impl Traces {
    /// Goes on with a sheet.
    pub(crate) fn at(sheet: u64) -> Traces {
        Traces {
            sheet,
            ..Traces::default()
        }
    }

    pub(crate) fn sheet(&self) -> u64 {
        // As it is once what waits is written.
        let lines = self.written.len() + self.pending.len();
        self.sheet + (lines / SHEET_LINES) as u64
    }

    pub(crate) fn sheet_name(&self, path: &str) -> String {
        sheet_name(path, self.sheet)
    }

    /// What stands on the sheet; events from `position` on are met again.
    pub(crate) fn take_up(
        &mut self,
        sheet: Option<Vec<u8>>,
        position: u64,
    ) -> Result<(), CodecError> {
        self.written = sheet.map_or(Ok(Vec::new()), |sheet| read(&sheet))?;
        self.written.retain(|one| one.number < position);
        Ok(())
    }

    pub(crate) fn add(&mut self, one: Suppressed) {
        if self.pending.len() >= 2 * PENDING_MAX {
            self.pending.drain(..PENDING_MAX);
        }
        self.pending.push(one);
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Puts what waits into a batch.
    pub(crate) fn write(&self, batch: &mut Batch, path: &str) -> Result<(), StoreError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let lines: Vec<&Suppressed> = self.written.iter().chain(&self.pending).collect();
        for (number, lines) in (self.sheet..).zip(lines.chunks(SHEET_LINES)) {
            batch.set_mark(&sheet_name(path, number), Some(encode(lines)))?;
            if let Some(old) = number.checked_sub(SHEETS_MAX) {
                batch.set_mark(&sheet_name(path, old), None)?;
            }
        }
        Ok(())
    }

    /// The first `count` of what waited are on disk.
    pub(crate) fn kept(&mut self, count: usize) {
        let count = count.min(self.pending.len());
        self.written.extend(self.pending.drain(..count));
        let full = self.written.len() / SHEET_LINES;
        self.sheet += full as u64;
        self.written.drain(..full * SHEET_LINES);
    }

    pub(crate) fn find(&self, number: u64) -> Option<&Suppressed> {
        let mut lines = self.pending.iter().chain(&self.written);
        lines.find(|one| one.number == number)
    }

    /// What was suppressed and is on disk.
    pub(crate) fn find_kept(
        store: &Store,
        path: &str,
        number: u64,
    ) -> Result<Option<Suppressed>, StoreError> {
        for (_, sheet) in store.marks(&prefix(path))?.into_iter().rev() {
            let lines = read(&sheet).map_err(|why| StoreError::Damaged {
                what: format!("the traces of flow {path}"),
                why: why.to_string(),
            })?;
            let found = lines.into_iter().find(|one| one.number == number);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Has all sheets of a flow removed.
    pub(crate) fn forget(store: &Store, batch: &mut Batch, path: &str) -> Result<(), StoreError> {
        let prefix = prefix(path);
        for (name, _) in store.marks(&prefix)? {
            batch.set_mark(&format!("{prefix}{name}"), None)?;
        }
        Ok(())
    }
}

fn prefix(path: &str) -> String {
    format!("storm-trace/{path}/")
}

fn sheet_name(path: &str, number: u64) -> String {
    format!("{}{number:020}", prefix(path))
}

fn encode(lines: &[&Suppressed]) -> Vec<u8> {
    let mut out = Writer::new();
    out.number(lines.len() as u64);
    for line in lines {
        out.number(line.number).byte(line.by as u8).text(&line.key);
    }
    out.into_bytes()
}

fn read(sheet: &[u8]) -> Result<Vec<Suppressed>, CodecError> {
    let mut input = Reader::new(sheet);
    let count = input.number()?;
    let line = |_| {
        let (number, by) = (input.number()?, usize::from(input.byte()?));
        let by = Kind::ALL.get(by).copied();
        Ok(Suppressed {
            number,
            by: by.ok_or(CodecError::Wrong("an unknown kind of storm control"))?,
            key: input.text()?.to_owned(),
        })
    };
    (0..count).map(line).collect()
}
