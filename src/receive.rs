//! Receive: a caller from outside takes an event off a channel, or waits for one in the same line as
//! runs.
//!
//! Invariants: an event is on disk as taken before anybody is given it, and nobody else is; one whose
//! taker was gone before the answer was on its way is put back. From then on it stays taken: it can
//! be read and put back, and whoever asks again with the same key is given the same event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::channel::Channel;
use crate::event::{Event, EventId, RunId, Value};
use crate::hex;
use crate::run::Conductor;
use crate::stop::told;
use crate::store::{Batch, StoreError, taker};
use crate::wait::{Form, Wait};
use crate::waits::Entered;
use crate::want::Want;

/// The longest time that a caller may wait for one event.
pub const RECEIVE_WAIT_MAX: Duration = Duration::from_secs(300);
/// How long an event that is there already, or is being taken, may need to reach the caller.
const HAND_OVER_MAX: Duration = Duration::from_secs(10);
/// What the names of takers begin with who are no runs.
const CALLER: &str = "caller ";
/// Bytes of a receipt before encoding.
const RECEIPT_BYTES: usize = 16;

/// What a caller asks for.
#[derive(Debug, Clone)]
pub struct Order {
    /// Where.
    pub channel: Arc<Channel>,
    /// Fields that the event must have.
    pub fields: BTreeMap<String, Value>,
    /// Only this event.
    pub only: Option<EventId>,
    /// How long at most; nothing means: if there is one now.
    pub wait: Duration,
    /// Who asks, from [`caller`].
    pub by: String,
}

/// What a caller is told.
#[derive(Debug)]
pub enum Received {
    /// An event, which is the caller's.
    Event(Taken),
    /// None came.
    Nothing,
    /// Too many callers wait.
    TooMany,
}

/// What the usher puts into a caller's hands.
#[derive(Debug)]
pub(crate) enum Handed {
    /// An event.
    Event(Taken),
    /// Nothing after all: somebody else was first.
    Nothing,
    /// The store did not keep it.
    Failed(StoreError),
}

/// An event that was taken for a caller. Dropped before [`Taken::handed_over`] it is put back.
pub struct Taken {
    conductor: Arc<Conductor>,
    event: Arc<Event>,
    by: String,
    is_returned: bool,
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} for {}", self.event.id, self.by)
    }
}

impl Taken {
    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The answer is on its way to the caller.
    pub fn handed_over(&mut self) {
        self.is_returned = false;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.is_returned {
            return;
        }
        let (conductor, event) = (Arc::clone(&self.conductor), Arc::clone(&self.event));
        let by = std::mem::take(&mut self.by);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { conductor.return_unheard(&event, &by).await });
        }
    }
}

/// The name of a taker: who calls, and a receipt if it gave a `key` to ask again with.
pub fn caller(name: &str, channel: &str, key: Option<&str>) -> String {
    let name = format!("{CALLER}{name}");
    let Some(key) = key else {
        let once: [u8; RECEIPT_BYTES] = rand::random();
        return format!("{name} {}", hex::encode(&once));
    };
    let mut hash = Sha256::new();
    for part in [&name, channel, key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    taker(&name, &hex::encode(&hash.finalize()[..RECEIPT_BYTES]))
}

/// True for a taker that is no run.
pub fn is_caller(by: &str) -> bool {
    by.starts_with(CALLER)
}

impl Order {
    fn wait(&self, run: RunId, since: jiff::Timestamp) -> Wait {
        let want = Want {
            which: 0,
            channel: self.channel.name.clone(),
            fields: self.fields.clone(),
            condition: false,
            listed: false,
            from: 0,
        };
        Wait {
            run,
            command: 0,
            since,
            laid: 0,
            form: Form::Receive,
            alarm: None,
            wants: vec![want],
            trouble: None,
        }
    }
}

/// A caller in the line.
struct Guest {
    order: Order,
    wait: Arc<Wait>,
    handed: mpsc::UnboundedReceiver<Handed>,
    answer: oneshot::Sender<Result<Received, StoreError>>,
    until: Instant,
}

impl Conductor {
    /// Takes the oldest event for a caller, or the next one that comes. The longest-waiting of all
    /// callers and runs gets an event.
    ///
    /// # Errors
    /// What the store cannot read or keep.
    pub async fn receive(self: &Arc<Self>, order: Order) -> Result<Received, StoreError> {
        let (answer, answered) = oneshot::channel();
        // By itself: whoever asked may leave at any moment, and what is being taken just then has to
        // be put back.
        tokio::spawn(Arc::clone(self).attend_caller(order, answer));
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn attend_caller(
        self: Arc<Self>,
        order: Order,
        answer: oneshot::Sender<Result<Received, StoreError>>,
    ) {
        let (hands, handed) = mpsc::unbounded_channel();
        let guest = (hands, order.by.clone());
        let Some(run) = self.waits.welcome(&order.channel.name, guest) else {
            return drop(answer.send(Ok(Received::TooMany)));
        };
        let mut guest = Guest {
            wait: Arc::new(order.wait(run.clone(), self.clock.now())),
            until: Instant::now() + order.wait,
            order,
            handed,
            answer,
        };
        let received = self.stand_in_line(&mut guest).await;
        self.waits.leave(&run);
        // Whoever has gone meanwhile gives back what it got by dropping it.
        drop(guest.answer.send(received));
    }

    async fn stand_in_line(self: &Arc<Self>, guest: &mut Guest) -> Result<Received, StoreError> {
        let channel = Arc::clone(&guest.order.channel);
        loop {
            if let Some(event) = self.received(&guest.order)? {
                return Ok(Received::Event(event));
            }
            if let Some(id) = guest.order.only.clone() {
                return self.take_only(guest, &id).await;
            }
            let returns = self.waits.returns();
            let next = self.open(&channel);
            let mut hand = self.take_past(guest, next).await?;
            if hand.is_none() {
                if self.waits.enter(&guest.wait, &[next], returns) != Entered::Waits {
                    tokio::task::yield_now().await;
                    continue;
                }
                hand = self.next_hand(guest).await;
            }
            match hand {
                Some(Handed::Event(taken)) => return Ok(Received::Event(taken)),
                Some(Handed::Nothing) => {}
                Some(Handed::Failed(why)) => return Err(why),
                None => return Ok(Received::Nothing),
            }
        }
    }

    /// What the caller took before with the same key.
    fn received(self: &Arc<Self>, order: &Order) -> Result<Option<Taken>, StoreError> {
        let Some(id) = self.store.received(&order.channel.name, &order.by)? else {
            return Ok(None);
        };
        let again = |event| {
            let mut taken = self.taken(Arc::new(event), &order.by);
            // The first answer may have been heard.
            taken.handed_over();
            taken
        };
        Ok(self.store.event(&id)?.map(again))
    }

    fn taken(self: &Arc<Self>, event: Arc<Event>, by: &str) -> Taken {
        Taken {
            conductor: Arc::clone(self),
            event,
            by: by.to_owned(),
            is_returned: true,
        }
    }

    async fn take_only(
        self: &Arc<Self>,
        guest: &Guest,
        id: &EventId,
    ) -> Result<Received, StoreError> {
        // Those who wait are shown it first.
        let mut offered = guest.order.channel.watch();
        let shown = offered.wait_for(|offered| *offered > id.number);
        let was_shown = tokio::time::timeout(HAND_OVER_MAX, shown).await.is_ok();
        let Some(event) = self.store.event(id)?.filter(|_| was_shown) else {
            return Ok(Received::Nothing);
        };
        let event = Arc::new(event);
        match self.take(&event, guest).await? {
            true => Ok(Received::Event(self.taken(event, &guest.order.by))),
            false => Ok(Received::Nothing),
        }
    }

    /// Takes the oldest event below `next` that fits, if there is one. Where there are flows, what is
    /// there already is theirs.
    async fn take_past(
        self: &Arc<Self>,
        guest: &Guest,
        next: u64,
    ) -> Result<Option<Handed>, StoreError> {
        if guest.order.channel.has_flows() {
            return Ok(None);
        }
        let Some(event) = self.next_past(&guest.wait, 0, 0..next).await? else {
            return Ok(None);
        };
        let event = Arc::new(event);
        Ok(Some(match self.take(&event, guest).await? {
            true => Handed::Event(self.taken(event, &guest.order.by)),
            false => Handed::Nothing,
        }))
    }

    /// Waits in the line until something is put into the caller's hands, or it is of no use any more.
    async fn next_hand(&self, guest: &mut Guest) -> Option<Handed> {
        let mut stop = self.stop.clone();
        let hand = tokio::select! {
            hand = guest.handed.recv() => hand,
            () = over(&guest.order.channel, guest.until) => None,
            () = guest.answer.closed() => None,
            () = told(&mut stop) => None,
        };
        if hand.is_some()
            || self
                .waits
                .win(&guest.wait.run, guest.wait.command)
                .is_some()
        {
            return hand;
        }
        // The usher has called this caller: what it takes just now is not to be lost.
        let called = tokio::time::timeout(HAND_OVER_MAX, guest.handed.recv());
        called.await.ok().flatten()
    }

    /// Takes an event for a caller that was called, and puts it into its hands. Gives the event back
    /// if it is for somebody else then.
    pub(crate) async fn hand_over(
        self: &Arc<Self>,
        wait: &Wait,
        event: Arc<Event>,
    ) -> Option<Arc<Event>> {
        let free = || (!self.is_taken(&event)).then(|| Arc::clone(&event));
        let Some((hands, by)) = self.waits.guest(&wait.run) else {
            return free();
        };
        let taken = match self.take_for(&event, (&wait.run, &by)).await {
            Ok(true) => Handed::Event(self.taken(Arc::clone(&event), &by)),
            Ok(false) => Handed::Nothing,
            Err(why) => Handed::Failed(why),
        };
        let Err(unsent) = hands.send(taken) else {
            return free();
        };
        if let Handed::Event(mut taken) = unsent.0 {
            // Flows have not looked yet, and those who wait are shown it now.
            taken.handed_over();
            self.free_patiently(&event, &by).await;
        }
        free()
    }

    async fn take(&self, event: &Event, guest: &Guest) -> Result<bool, StoreError> {
        let by = (&guest.wait.run, guest.order.by.as_str());
        self.take_for(event, by).await
    }

    /// Has it written down that `by` took the event; false if somebody else has it.
    async fn take_for(&self, event: &Event, (run, by): (&RunId, &str)) -> Result<bool, StoreError> {
        let mut batch = Batch::new();
        batch.take(&event.id, by);
        let was_kept = || Ok(self.store.taken_by(&event.id)?.as_deref() == Some(by));
        match self.commit_patiently(run, batch, was_kept).await {
            Ok(()) => Ok(true),
            Err(StoreError::Lost { .. }) => Ok(false),
            Err(why) => Err(why),
        }
    }
}

/// Waits until the time is over and whoever waits was shown what came before that.
async fn over(channel: &Channel, until: Instant) {
    tokio::time::sleep_until(until).await;
    let (tail, mut offered) = (channel.tail(), channel.watch());
    let shown = offered.wait_for(|offered| *offered >= tail);
    let _ = tokio::time::timeout(HAND_OVER_MAX, shown).await;
}
