//! The doors that channels open by themselves: opened, watched, opened again, closed on reload.
//!
//! Invariants: of one source one door stands at most; a reload touches only the doors whose block or
//! secrets changed; whatever a door does, a panic included, it takes nothing else with it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use serde_json::Value as Json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::attempt;
use crate::claim::lock;
use crate::post::{self, Post};
use crate::run::Conductor;
use crate::source::door::CLOSE_SECONDS_MAX;
use crate::source::{Context, Plan};

/// A door that stood this long was well: its next failure is the first again.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// All sources of a running server.
pub struct Doors {
    conductor: Arc<Conductor>,
    open: Mutex<BTreeMap<String, Open>>,
}

struct Open {
    post: Arc<Post>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Doors {
    /// None is open yet.
    pub fn new(conductor: Arc<Conductor>) -> Doors {
        Doors {
            conductor,
            open: Mutex::default(),
        }
    }

    /// Opens these and no others: new ones open, changed ones close and open anew, missing ones
    /// close. A door that cannot open is tried again with back-off and holds up nobody.
    pub async fn attend(&self, plans: &[Plan]) {
        let wanted: BTreeMap<String, &Plan> = plans.iter().map(|plan| (plan.id(), plan)).collect();
        let same = |id: &String, open: &Open| {
            let plan = wanted.get(id);
            plan.is_some_and(|plan| *open.post.plan() == **plan)
        };
        let gone: Vec<Open> = {
            let mut open = lock(&self.open);
            let all = std::mem::take(&mut *open);
            let (stay, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
                all.into_iter().partition(|(id, open)| same(id, open));
            *open = stay;
            gone.into_values().collect()
        };
        // An address must be free again before the next door takes it.
        for post in close(gone).await {
            let id = post.plan().id();
            if !wanted.contains_key(&id) {
                self.conductor.thinkers.engine.brokers.forget(&id);
            }
        }
        let mut open = lock(&self.open);
        for (id, plan) in wanted {
            open.entry(id).or_insert_with(|| self.begin(plan));
        }
    }

    fn begin(&self, plan: &Plan) -> Open {
        recall(&self.conductor, std::slice::from_ref(plan));
        let (stop, stopping) = watch::channel(false);
        let post = Arc::new(Post::new(Arc::clone(&self.conductor), plan.clone()));
        let task = tokio::spawn(attend(Arc::clone(&post), stopping));
        Open { post, stop, task }
    }

    /// Closes all, each given [`CLOSE_SECONDS_MAX`].
    pub async fn ended(&self) {
        let all = std::mem::take(&mut *lock(&self.open));
        drop(close(all.into_values().collect()).await);
    }

    /// The sources whose door has not stood since it was last changed, as `channel/name`.
    pub fn not_up(&self) -> Vec<String> {
        let open = lock(&self.open);
        let down = open.iter().filter(|(_, open)| !open.post.was_up());
        down.map(|(id, _)| id.clone()).collect()
    }

    /// All sources with their state, sorted.
    pub fn lines(&self) -> Vec<Json> {
        let open = lock(&self.open);
        open.values().map(|open| open.post.line()).collect()
    }
}

/// Lets scripts ask for what the sources know by name: before the first filter is asked, and before the
/// doors open.
pub(crate) fn recall(conductor: &Arc<Conductor>, plans: &[Plan]) {
    for plan in plans {
        let pieces = match conductor.store.marks(&plan.pieces_name()) {
            Ok(pieces) => pieces,
            Err(why) => {
                tracing::error!(source = plan.id(), "what it knew by name is lost: {why}");
                continue;
            }
        };
        let Some(directory) = plan.door.recall(pieces) else {
            continue;
        };
        // Weak, because what is registered there belongs to the conductor itself.
        let (counts, plan) = (Arc::downgrade(conductor), plan.clone());
        let brokers = &conductor.thinkers.engine.brokers;
        brokers.register(plan.id(), directory, move || {
            if let Some(conductor) = counts.upgrade() {
                post::missed(&conductor, &plan);
            }
        });
    }
}

/// Tells all of them first, so that they close at the same time.
async fn close(doors: Vec<Open>) -> Vec<Arc<Post>> {
    for door in &doors {
        door.stop.send_replace(true);
    }
    let mut closed = Vec::new();
    for Open { post, mut task, .. } in doors {
        if tokio::time::timeout(CLOSE_SECONDS_MAX, &mut task)
            .await
            .is_err()
        {
            tracing::warn!(
                source = post.plan().id(),
                "the source did not close in time"
            );
            task.abort();
        }
        post.gone();
        closed.push(post);
    }
    closed
}

/// Keeps one door open until it is told to stop.
async fn attend(post: Arc<Post>, stop: watch::Receiver<bool>) {
    let context = Context::new(post.clone(), stop);
    let mut failures = 0;
    while !context.is_stopping() {
        post.opening();
        let began = Instant::now();
        let ended = AssertUnwindSafe(async { post.plan().door.run(&context).await }).catch_unwind();
        let why = match ended.await {
            _ if context.is_stopping() => return,
            Ok(Ok(())) => "it ended by itself".to_owned(),
            Ok(Err(why)) => why.to_string(),
            Err(_) => "it panicked, which is a bug of vigie".to_owned(),
        };
        failures = match began.elapsed() >= WELL_AFTER {
            true => 1,
            false => failures + 1,
        };
        let wait = delay(failures);
        post.closed(&why, wait);
        context.pause(wait).await;
    }
}

/// From 1 s doubling to 5 min; half of it is jitter, so that there always is a pause.
fn delay(failures: u32) -> Duration {
    attempt::backoff(failures, 0.5 + rand::random::<f64>() / 2.0)
}
