//! Takes in what senders left in the spool while the server was away.
//!
//! Invariant: a file is removed only after its event is on disk in a channel; its correlation id is
//! the event's message id, so one that was pushed and not yet removed when the process died is kept
//! once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use crate::channel::{Channels, PushError};
use crate::clock::Clock;
use crate::event::Value;
use crate::sender::spool::{self, Spooled};
use crate::source::parcel::Parcel;
use crate::stop::told;
use crate::store::StoreError;

/// How often the folder is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The spool of a running server.
pub struct Intake {
    folder: PathBuf,
    /// Files that were complained about; once is enough.
    complained: BTreeSet<PathBuf>,
    /// Files whose channel was full, with its name, so that they need not be read each time.
    held: BTreeMap<PathBuf, String>,
}

impl Intake {
    /// For a folder, which is made if it can be, open to every sender of this host.
    pub fn new(folder: PathBuf) -> Intake {
        if let Err(why) = spool::make(&folder) {
            tracing::warn!(folder = %folder.display(), "cannot make the spool: {why}");
        }
        Intake {
            folder,
            complained: BTreeSet::new(),
            held: BTreeMap::new(),
        }
    }

    /// Takes in what is there and what comes, until the server stops.
    pub async fn run(
        mut self,
        conductor: std::sync::Arc<crate::run::Conductor>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            self.look(&conductor.channels).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = told(&mut stop) => return,
            }
        }
    }

    /// Takes in what is there now; gives how many.
    pub async fn look(&mut self, channels: &Channels) -> usize {
        let listing = match spool::list(&self.folder) {
            Ok(listing) => listing,
            Err(why) => {
                self.complain(&self.folder.clone(), &why.to_string());
                return 0;
            }
        };
        for odd in &listing.odd {
            self.complain(odd.path(), &odd.to_string());
        }
        let mut taken = 0;
        let mut full = BTreeSet::new();
        let held = std::mem::take(&mut self.held);
        for path in listing.events {
            if let Some(channel) = held.get(&path).filter(|channel| full.contains(*channel)) {
                self.held.insert(path, channel.clone());
                continue;
            }
            match self.take(channels, &path, &full).await {
                Ok(true) => taken += 1,
                Ok(false) => {}
                // Events for other channels need not wait for this one.
                Err(PushError::Full { channel, .. }) => {
                    full.insert(channel.clone());
                    self.held.insert(path, channel);
                }
                Err(why @ PushError::Store(StoreError::TooLarge { .. })) => {
                    self.set_aside(&path, &why.to_string());
                }
                // The rest would fare no better.
                Err(PushError::Store(_)) => break,
            }
        }
        taken
    }

    /// Takes in one file, unless an earlier one for its channel is still here: the channel may have
    /// got room meanwhile, and order within a channel is kept.
    async fn take(
        &mut self,
        channels: &Channels,
        path: &Path,
        full: &BTreeSet<String>,
    ) -> Result<bool, PushError> {
        let spooled = match spool::read(path) {
            Ok(spooled) if spooled.lock() => spooled,
            Ok(_) => return Ok(false),
            Err(why) => {
                self.complain(path, &why.to_string());
                return Ok(false);
            }
        };
        let channel = spooled.post.channel.clone();
        let name = channels.find(&channel).map(|found| found.name.clone());
        if let Some(name) = name.filter(|name| full.contains(name)) {
            self.held.insert(path.to_owned(), name);
            return Ok(false);
        }
        let events = match parcel(&spooled).open() {
            Ok(events) => events,
            Err(why) => {
                self.set_aside(path, &why.to_string());
                return Ok(false);
            }
        };
        channels.push(&channel, events).await?;
        if let Err(why) = spool::remove(path) {
            self.complain(path, &why.to_string());
        }
        Ok(true)
    }

    /// What will never be taken stays, visible, under another name.
    fn set_aside(&mut self, path: &Path, why: &str) {
        self.complain(path, why);
        if let Err(why) = spool::set_aside(path) {
            tracing::warn!(path = %path.display(), "the spool: it cannot be set aside: {why}");
        }
    }

    fn complain(&mut self, path: &Path, why: &str) {
        if self.complained.insert(path.to_owned()) {
            tracing::warn!(path = %path.display(), "the spool: {why}");
        }
    }
}

fn parcel(spooled: &Spooled) -> Parcel {
    let post = &spooled.post;
    let text = |(name, value): (&String, &String)| (name.clone(), Value::Text(value.clone()));
    let mut extra: BTreeMap<String, Value> = post.meta.iter().map(text).collect();
    extra.insert("sent_at".to_owned(), Value::Text(post.received_at.clone()));
    Parcel {
        content_type: post.content_type.clone(),
        source: post.source.clone(),
        peer: "spool".to_owned(),
        message_id: Some(post.correlation_id.clone()),
        // The sender's own time, so that one pushed just before its answer got lost is recognised.
        received_at: spooled.received_at().min(Clock::system().now()),
        extra,
        body: post.body.clone(),
    }
}
