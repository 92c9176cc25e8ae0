//! Where a store is built anew, some rows at a time: summary, heads and references stay in step with
//! every row, as they do in a commit, and memory does not grow with the store.

use super::batch::BATCH_BYTES_MAX;
use super::bodies::Bodies;
use super::engine::{Engine, Pair};
use super::error::StoreError;
use super::keys::Key;
use super::plan::{Ground, Heads, Plan};
use super::summary::Summary;
use super::verify::CHUNK_ROWS;

/// What a row may bring with it (its place, its order, a reference), roughly, in bytes.
const COMPANY_BYTES: usize = 512;

/// A store in the making.
pub(super) struct Site<'a> {
    pub(super) engine: &'a Engine,
    pub(super) bodies: &'a Bodies,
    pub(super) heads: Heads,
    /// Every row is written as by the commit after this one.
    pub(super) summary: Summary,
}

/// What is done with one row.
pub(super) type Work<'a> = dyn FnMut(&mut Plan, Pair) -> Result<(), StoreError> + 'a;

impl Site<'_> {
    /// Does `work` with every row of `prefix` that is here.
    pub(super) fn pass(&mut self, prefix: &[u8], work: &mut Work) -> Result<(), StoreError> {
        self.pass_from(self.engine, prefix, work)
    }

    /// Does `work` with every row of `prefix` in `source`.
    pub(super) fn pass_from(
        &mut self,
        source: &Engine,
        prefix: &[u8],
        work: &mut Work,
    ) -> Result<(), StoreError> {
        let mut from: Key = prefix.to_vec();
        loop {
            let pairs = source.next(prefix, &mut from, CHUNK_ROWS)?;
            if pairs.is_empty() {
                return Ok(());
            }
            self.chunk(pairs, work)?;
        }
    }

    fn chunk(&mut self, pairs: Vec<Pair>, work: &mut Work) -> Result<(), StoreError> {
        let mut pairs = pairs.into_iter().peekable();
        while pairs.peek().is_some() {
            let mut weight = 0;
            self.change(&mut |plan| {
                while weight < BATCH_BYTES_MAX / 2 {
                    let Some(pair) = pairs.next() else { break };
                    weight += pair.1.len() + COMPANY_BYTES;
                    work(plan, pair)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Makes some changes at once; few enough for one write.
    pub(super) fn change(
        &mut self,
        work: &mut dyn FnMut(&mut Plan) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut plan = Plan::new(Ground {
            engine: self.engine,
            bodies: self.bodies,
            heads: &self.heads,
            summary: &self.summary,
        });
        work(&mut plan)?;
        let planned = plan.finish()?;
        self.engine.apply(&planned.changes)?;
        let sequence = self.summary.sequence;
        self.heads.extend(planned.heads);
        self.summary = planned.summary;
        self.summary.sequence = sequence;
        Ok(())
    }
}
