//! `kind = "poll"`: asks a web service on a period; each item of its answers becomes one event.
//!
//! Invariant: an item is one event, because what was seen is remembered in the batch that keeps the
//! events; what went wrong is told and asked again, and nothing is passed over meanwhile.

mod answer;
mod keys;
mod seen;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::context::NotKept;
use super::{Block, Context, Door, Opened, Source, Trouble};
use crate::action::http::{self, Redirects, Request, Response};
use crate::action::{Failure, FailureKind};
use crate::error::Diagnostic;
use crate::event::{Incoming, Meta};

pub use answer::ITEMS_MAX;
pub use keys::First;
pub use seen::KEYS_MAX;

use answer::Item;
use keys::Wish;
use seen::Seen;

/// Events that are kept in one batch.
const BATCH_EVENTS_MAX: usize = 250;
/// A service that is away is asked at least this often, unless the period is longer.
const AWAY_MAX: Duration = Duration::from_secs(300);
/// The longest wish of a service, by `Retry-After`, that is honoured.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(6 * 3600);

/// Longest `ETag` that is sent back, in bytes.
const TAG_BYTES_MAX: usize = 1_024;

/// The kind.
pub struct Poll;

impl Source for Poll {
    fn name(&self) -> &'static str {
        "poll"
    }

    fn about(&self) -> &'static str {
        "asks a web service on a period; new items of its JSON become events once"
    }

    fn example(&self) -> &'static str {
        "url = \"https://app.example/api/incidents\"\nevery = \"30s\"\nitems = \"/incidents\"\n\
        key = [\"id\", \"updated_at\"]\nfirst = \"skip\""
    }

    fn read(&self, block: &Block<'_>) -> Result<Arc<dyn Door>, Diagnostic> {
        Ok(Arc::new(Polling(keys::read(block)?)))
    }
}

struct Polling(Wish);

/// What is known of the service between two rounds.
#[derive(Default)]
struct Known {
    seen: Seen,
    /// How to ask only for what changed; not written down, so that a new process asks for all of it.
    tag: Option<String>,
    modified: Option<String>,
}

/// What went wrong with one round, and when the service wishes to be asked again.
struct Mishap {
    why: String,
    retry_after: Option<Duration>,
}

impl Door for Polling {
    fn place(&self) -> String {
        format!("{} every {}", self.0.shown, self.0.every)
    }

    fn check(&self, http: &http::Client) -> Result<(), String> {
        http.permits(&self.0.url)
    }

    fn run<'a>(&'a self, context: &'a Context) -> Opened<'a> {
        Box::pin(self.poll(context))
    }
}

impl Polling {
    async fn poll(&self, context: &Context) -> Result<(), Trouble> {
        let memory = context.memory()?;
        let mut known = Known {
            seen: Seen::recall(memory.as_deref()),
            ..Known::default()
        };
        context.up();
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let round = tokio::select! {
                round = self.round(context, &mut known) => round,
                () = context.stopped() => return Ok(()),
            };
            let wait = match round {
                Ok(()) => {
                    failures = 0;
                    context.up();
                    self.0.every.0.saturating_sub(began.elapsed())
                }
                Err(mishap) => {
                    failures += 1;
                    context.trouble(&mishap.why);
                    self.wait_after(failures, &mishap)
                }
            };
            if !context.pause(wait).await {
                return Ok(());
            }
        }
    }

    /// The period, doubled with each failure up to [`AWAY_MAX`], or the service's own wish.
    fn wait_after(&self, failures: u32, mishap: &Mishap) -> Duration {
        let every = self.0.every.0;
        let doubled = every.saturating_mul(1 << failures.min(16));
        let wish = mishap.retry_after.unwrap_or_default();
        doubled
            .min(AWAY_MAX)
            .max(every)
            .max(wish.min(RETRY_AFTER_MAX))
    }

    /// Asks once and hands in what is new.
    async fn round(&self, context: &Context, known: &mut Known) -> Result<(), Mishap> {
        let response = context.http().send(self.request(known)).await?;
        let items = match response.status {
            304 => return Ok(()),
            204 => Vec::new(),
            200..=299 => answer::items(&response, &self.0)?,
            status => return Err(Mishap::from(format!("{} answered {status}", self.0.shown))),
        };
        self.hand_in(context, &mut known.seen, items).await?;
        // Only now: what was not handed in must be asked for again.
        known.tag = header(&response, "etag");
        known.modified = header(&response, "last-modified");
        Ok(())
    }

    fn request(&self, known: &Known) -> Request {
        let wish = &self.0;
        let mut request = Request::new("GET", &wish.url);
        request.trusted = false;
        request.redirects = Redirects::Follow;
        request.timeout = wish.timeout.0;
        request.headers.clone_from(&wish.headers);
        request.hidden.clone_from(&wish.hidden);
        request.header("accept", "application/json, */*;q=0.1");
        // RFC 9110 §13.1.3: the date is for when there is no tag.
        match (&known.tag, &known.modified) {
            (Some(tag), _) => request.header("if-none-match", tag),
            (None, Some(date)) => request.header("if-modified-since", date),
            (None, None) => {}
        }
        request
    }

    async fn hand_in(
        &self,
        context: &Context,
        seen: &mut Seen,
        items: Vec<Item>,
    ) -> Result<(), Mishap> {
        let mut next = seen.meet(&items, self.0.key.is_empty());
        let mut fresh = next.fresh(items);
        if seen.is_blank() && self.0.first == First::Skip {
            next.add(&fresh);
            fresh.clear();
        }
        let mut rest = fresh.as_slice();
        let mut size = BATCH_EVENTS_MAX;
        while !rest.is_empty() || seen.differs(&next) {
            let (some, others) = rest.split_at(size.min(rest.len()));
            match self.keep(context, &next, some).await {
                Ok(kept) => (*seen, next, rest) = (kept.clone(), kept, others),
                // There may be room for a part of them.
                Err(_) if some.len() > 1 => size = some.len() / 2,
                Err(why) => return Err(Mishap::from(why.to_string())),
            }
        }
        Ok(())
    }

    /// Pushes some new items and remembers them beside `before`; gives what is remembered then.
    async fn keep(&self, context: &Context, before: &Seen, some: &[Item]) -> Result<Seen, NotKept> {
        let mut seen = before.clone();
        seen.add(some);
        let events = some.iter().map(|item| self.event(context, item)).collect();
        context.push_and_remember(events, seen.memory()).await?;
        Ok(seen)
    }

    fn event(&self, context: &Context, item: &Item) -> Incoming {
        let mut meta = Meta::new("poll", context.clock().now());
        meta.peer.clone_from(&self.0.peer);
        Incoming {
            body: item.body.clone(),
            meta,
        }
    }
}

impl From<String> for Mishap {
    fn from(why: String) -> Mishap {
        Mishap {
            why,
            retry_after: None,
        }
    }
}

impl From<Failure> for Mishap {
    fn from(failure: Failure) -> Mishap {
        let retry_after = match failure.kind {
            FailureKind::Away { retry_after } => retry_after,
            _ => None,
        };
        Mishap {
            why: failure.message,
            retry_after,
        }
    }
}

/// A header of a response, unless it is absurdly long.
fn header(response: &Response, name: &str) -> Option<String> {
    let text = response.headers.get(name);
    text.filter(|text| text.len() <= TAG_BYTES_MAX).cloned()
}
