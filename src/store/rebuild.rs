//! A whole store out of the rows that could be saved: indexes, heads, references and the summary
//! are worked out anew from events, runs, journals and dead letters.
//!
//! Invariant: what comes out passes `check`. A run whose journal has a hole, or whose event is gone,
//! is blocked, because going on from there could do things twice; a person looks at it. The rows go by, some at a
//! time, from one database into the other; only what is known of each channel is held.

use std::collections::{BTreeMap, HashMap};

use super::bodies::Bodies;
use super::codec::{Reader, Writer};
use super::engine::{Engine, Pair};
use super::error::StoreError;
use super::keys::{self, split_counted, split_number, split_run, split_timed, split_timer, words};
use super::newest::newest;
use super::open::read_summary;
use super::plan::Plan;
use super::progress::{Progress, Sentences, Watch};
use super::quarantine::Quarantine;
use super::record::{self, Content, Row, Stored};
use super::run_row::{End, RunRow};
use super::site::Site;
use super::summary::{Head, Summary};
use super::verify::each_of;
use crate::event::RunId;

/// Rows that are made anew from others.
const DERIVED: [u8; 8] = [
    keys::SUMMARY,
    keys::HEAD,
    keys::ORDER,
    keys::LIVE,
    keys::BLOCKED,
    keys::ENDED,
    keys::DEAD_OF,
    keys::BODY,
];
/// Heads that are written at once.
const HEADS_AT_ONCE: usize = 500;

/// The events of one channel as they go by.
#[derive(Debug, Clone, Copy, Default)]
struct Chain {
    /// Where the numbers without a hole begin that end at `last`.
    first: u64,
    last: u64,
    count: u64,
    taken: u64,
}

impl Chain {
    fn add(&mut self, number: u64, floor: u64) {
        if self.count == 0 || self.last + 1 != number || self.first < floor {
            self.first = number;
        }
        self.last = number;
        self.count += 1;
    }

    /// The head over these events: a hole lifts the floor above it.
    fn head(&self, old: &Head) -> Head {
        let next = match self.count {
            0 => old.next,
            _ => old.next.max(self.last + 1),
        };
        let whole = self.count > 0 && self.last + 1 == next && self.first >= old.floor;
        let (floor, above) = match whole {
            true => (self.first, next - self.first),
            false => (next, 0),
        };
        Head {
            floor,
            next,
            stragglers: self.count - above,
            taken: self.taken,
            swept: floor,
        }
    }
}

/// Makes the rows of `source` a whole store at `site`, which holds nothing yet; what cannot be kept
/// goes into the quarantine. Answers what had to be changed, in words.
pub(super) fn rebuild(
    source: &Engine,
    site: &mut Site,
    quarantine: &mut Quarantine,
    watch: &mut Watch,
) -> Result<Vec<String>, StoreError> {
    let mut builder = Builder {
        quarantine,
        changed: Sentences::default(),
        heads: HashMap::new(),
        sequence: 0,
    };
    builder.learn(source, site)?;
    builder.sort(source, site, watch)?;
    watch(Progress::step("making indexes"));
    builder.heads(site)?;
    builder.runs(site)?;
    builder.journals(site)?;
    dead(site)?;
    builder.timers(site)?;
    site.summary.sequence = site.summary.sequence.max(builder.sequence) + 1;
    Ok(builder.changed.into_vec())
}

struct Builder<'a> {
    quarantine: &'a mut Quarantine,
    changed: Sentences,
    /// Heads as they were.
    heads: HashMap<String, Head>,
    /// The last commit that wrote any of the rows.
    sequence: u64,
}

impl Builder<'_> {
    /// What the old summary and heads still tell, and which numbers are taken.
    fn learn(&mut self, source: &Engine, site: &mut Site) -> Result<(), StoreError> {
        let summary = &mut site.summary;
        if let Ok(Some(old)) = read_summary(source) {
            summary.store_id = old.store_id;
            summary.sequence = summary.sequence.max(old.sequence);
            summary.next_order = old.next_order;
            summary.next_audit = old.next_audit;
        }
        each_of(source, &[keys::HEAD], |(key, bytes)| {
            if let Some(head) = inline(&key, &bytes).and_then(|bytes| Head::decode(&bytes).ok()) {
                let name = String::from_utf8_lossy(&key[1..]).into_owned();
                self.heads.insert(name, head);
            }
        })?;
        each_of(source, &[keys::RUN], |pair| {
            if let Some((_, row)) = run_of(&pair) {
                summary.next_order = summary.next_order.max(row.order + 1);
            }
        })?;
        let last = newest(source, keys::AUDIT, None, 1)?;
        let last = last.first().and_then(|(key, _)| split_counted(key));
        summary.next_audit = summary.next_audit.max(last.unwrap_or(0) + 1);
        Ok(())
    }

    /// Keeps each row, drops one that is made anew, or puts a damaged one aside.
    fn sort(
        &mut self,
        source: &Engine,
        site: &mut Site,
        watch: &mut Watch,
    ) -> Result<(), StoreError> {
        let bodies = site.bodies;
        let mut done = 0;
        site.pass_from(source, &[], &mut |plan, (key, bytes)| {
            done += 1;
            Progress::rows("saving rows", done, 0, watch);
            let is_derived = key.first().is_some_and(|kind| DERIVED.contains(kind));
            match readable(bodies, &(key, bytes)) {
                Ok(row) => {
                    self.sequence = self.sequence.max(row.sequence);
                    if !is_derived {
                        plan.put_new(row.key, &row.stored);
                    }
                    Ok(())
                }
                Err(_) if is_derived => Ok(()),
                Err((why, bytes)) => self.quarantine.put(&why.to_string(), &bytes),
            }
        })
    }

    fn put_aside(&mut self, plan: &mut Plan, pair: Pair, why: &str) -> Result<(), StoreError> {
        let what = format!("{}: {why}", words(&pair.0));
        self.quarantine.put(&what, &pair.1)?;
        plan.remove(pair.0).map(drop)
    }

    /// Heads from the events that are there, and taken marks of those alone.
    fn heads(&mut self, site: &mut Site) -> Result<(), StoreError> {
        let empty = |name: &String| (name.clone(), Chain::default());
        let mut chains: BTreeMap<String, Chain> = self.heads.keys().map(empty).collect();
        each_of(site.engine, &[keys::EVENT], |(key, _)| {
            if let Some((id, _)) = split_number(&key) {
                let floor = self.heads.get(&id.channel).unwrap_or(&Head::EMPTY).floor;
                chains.entry(id.channel).or_default().add(id.number, floor);
            }
        })?;
        site.pass(&[keys::TAKEN], &mut |plan, pair| {
            let mut event = pair.0.clone();
            event[0] = keys::EVENT;
            if !plan.has(&event)? {
                return self.put_aside(plan, pair, "there is no such event");
            }
            if let Some((id, _)) = split_number(&pair.0) {
                chains.entry(id.channel).or_default().taken += 1;
            }
            Ok(())
        })?;
        let mut chains = chains.into_iter().peekable();
        while chains.peek().is_some() {
            let some: Vec<_> = chains.by_ref().take(HEADS_AT_ONCE).collect();
            site.change(&mut |plan| {
                for (channel, chain) in &some {
                    plan.set_head(channel, self.head(channel, chain));
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn head(&mut self, channel: &str, chain: &Chain) -> Head {
        let old = self.heads.get(channel).copied().unwrap_or(Head::EMPTY);
        let head = chain.head(&old);
        if head.floor != old.floor {
            let text = "its events are whole only from";
            let text = format!("channel {channel}: {text} {} on", head.floor);
            self.changed.add(text);
        }
        head
    }

    /// Runs with their order, their state's index, and journals without holes.
    fn runs(&mut self, site: &mut Site) -> Result<(), StoreError> {
        site.pass(&[keys::RUN], &mut |plan, pair| match run_of(&pair) {
            Some((run, row)) => self.run(plan, &run, row),
            None => self.put_aside(plan, pair, "it is no run"),
        })
    }

    fn run(&mut self, plan: &mut Plan, run: &RunId, mut row: RunRow) -> Result<(), StoreError> {
        // Of two that claim one place, which only an old state of one of them can, one goes last.
        if plan.has(&keys::counted(keys::ORDER, row.order))? {
            row.order = plan.summary.next_order;
            plan.summary.next_order += 1;
        }
        let mut whole = row.dropped;
        while whole < row.entries && plan.has(&keys::journal(run, whole))? {
            whole += 1;
        }
        let event = run.event();
        let began = event.number < plan.head(&event.channel).next;
        let why = match (
            whole < row.entries,
            began && !plan.has(&keys::event(&event))?,
        ) {
            (true, _) => Some(format!("its journal is whole only up to {whole}")),
            (false, true) => Some("its event is missing".to_owned()),
            (false, false) => None,
        };
        if let (Some(why), None) = (why, row.end) {
            row.end = Some((End::Blocked, row.began_at));
            self.changed.add(format!("run {run}: blocked, {why}"));
        }
        row.entries = whole;
        row.first = row.first.min(whole);
        let name = Stored::inline(run.as_str().as_bytes().to_vec());
        plan.put_new(keys::counted(keys::ORDER, row.order), &name);
        plan.put_inline(row.place(run), Vec::new())?;
        plan.put_inline(keys::run(keys::RUN, run), row.encode())
    }

    /// Journal records of no run, and those after a hole.
    fn journals(&mut self, site: &mut Site) -> Result<(), StoreError> {
        site.pass(&[keys::JOURNAL], &mut |plan, pair| {
            let parts = pair.0.split_last_chunk::<4>();
            let parts = parts.and_then(|(of, entry)| {
                let run = split_run(of.strip_suffix(&[0])?)?;
                Some((run, u32::from_be_bytes(*entry)))
            });
            let row = match &parts {
                Some((run, _)) => plan.inline(&keys::run(keys::RUN, run))?,
                None => None,
            };
            let entries = row.and_then(|row| RunRow::decode(&pair.0, &row).ok());
            match (parts, entries) {
                (Some((_, entry)), Some(row)) if (row.dropped..row.entries).contains(&entry) => {
                    Ok(())
                }
                (Some((_, entry)), Some(row)) if entry < row.dropped => {
                    self.put_aside(plan, pair, "the journal begins after it")
                }
                (_, Some(_)) => self.put_aside(plan, pair, "an entry before it is missing"),
                (_, None) => self.put_aside(plan, pair, "its run is missing"),
            }
        })
    }

    /// Timers and waits of runs that are not live.
    fn timers(&mut self, site: &mut Site) -> Result<(), StoreError> {
        for kind in [keys::TIMER, keys::WAIT] {
            site.pass(&[kind], &mut |plan, pair| {
                let run = match kind {
                    keys::TIMER => split_timer(&pair.0).map(|(_, run, _)| run),
                    _ => split_run(&pair.0),
                };
                let Some(run) = run else {
                    return self.put_aside(plan, pair, "its run is not live");
                };
                if !plan.has(&keys::run(keys::LIVE, &run))? {
                    return self.put_aside(plan, pair, "its run is not live");
                }
                match plan.has(&keys::run(keys::WAIT, &run))? {
                    true => Ok(()),
                    false => self.put_aside(plan, pair, "its run does not wait"),
                }
            })?;
        }
        Ok(())
    }
}

/// References of dead letters; the newest of a run counts.
fn dead(site: &mut Site) -> Result<(), StoreError> {
    site.pass(&[keys::DEAD], &mut |plan, (key, _)| {
        let Some((at, run)) = split_timed(&key) else {
            return Ok(());
        };
        let reference = keys::run(keys::DEAD_OF, &run);
        let before = plan.inline(&reference)?;
        if let Some(before) = before.and_then(|bytes| Reader::new(&bytes).time().ok()) {
            plan.remove(keys::timed(keys::DEAD, before, &run))?;
        }
        let mut out = Writer::new();
        out.time(at);
        plan.put_inline(reference, out.into_bytes())
    })
}

/// The row with its body read; else why not, and its bytes.
fn readable(bodies: &Bodies, (key, bytes): &Pair) -> Result<Row, (StoreError, Vec<u8>)> {
    let read = record::decode(key, bytes).and_then(|row| match row.stored.beside() {
        Some(beside) => bodies.read(beside, &words(key)).map(|_| row),
        None => Ok(row),
    });
    read.map_err(|why| (why, bytes.clone()))
}

fn inline(key: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
    match record::decode(key, bytes).ok()?.stored.content {
        Content::Inline(bytes) => Some(bytes),
        _ => None,
    }
}

fn run_of((key, bytes): &Pair) -> Option<(RunId, RunRow)> {
    let row = RunRow::decode(key, &inline(key, bytes)?).ok()?;
    Some((split_run(key)?, row))
}

/// The summary of a store of which nothing is known yet.
pub(super) fn unknown() -> Summary {
    Summary::new(rand::random())
}
