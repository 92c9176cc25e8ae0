//! Attendance: which flow is attended by which dispatcher, through reloads and pauses.
//!
//! Invariant: a flow is attended by one dispatcher at most; a reload changes what the dispatcher
//! runs next and nothing that is at work.

mod floors;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::channel::LOOKED_AT;
use crate::claim::{Progress, lock};
use crate::dispatch::{Dispatcher, Left};
use crate::event::RunId;
use crate::flow::Flow;
use crate::rewait::Found;
use crate::run::{Conductor, Interrupted};
use crate::store::{Batch, StoreError};
use crate::weather::Weather;

/// All flows of a running server.
pub struct Attendance {
    conductor: Arc<Conductor>,
    attended: Mutex<BTreeMap<String, Attended>>,
    working: Mutex<Option<mpsc::Sender<()>>>,
}

struct Attended {
    flow: watch::Sender<Option<Arc<Flow>>>,
    woken: mpsc::UnboundedSender<RunId>,
    paused: watch::Sender<bool>,
    progress: Arc<Mutex<Progress>>,
    weather: Arc<Weather>,
    from: u64,
    kept: u64,
    task: Option<JoinHandle<()>>,
}

/// What a listing says about a flow.
#[derive(Debug, Clone)]
pub struct FlowLine {
    /// The flow.
    pub flow: Arc<Flow>,
    /// The event it looks at next.
    pub next: u64,
    /// True while an operator holds it.
    pub paused: bool,
    /// Its storm control.
    pub weather: Arc<Weather>,
}

impl Attendance {
    /// Nobody is attended yet. `working` is held by every run at work.
    pub fn new(conductor: Arc<Conductor>, working: mpsc::Sender<()>) -> Attendance {
        Attendance {
            conductor,
            attended: Mutex::default(),
            working: Mutex::new(Some(working)),
        }
    }

    /// Takes over what the last process left, and attends to these flows. `woken` brings runs that
    /// are to go on. What works in the background is given back; it ends when the server stops.
    ///
    /// # Errors
    /// What the store cannot read or keep.
    pub async fn take_over(
        self: &Arc<Self>,
        flows: &BTreeMap<String, Arc<Flow>>,
        woken: mpsc::UnboundedReceiver<RunId>,
    ) -> Result<Vec<JoinHandle<()>>, StoreError> {
        let conductor = &self.conductor;
        let mut found = conductor.find_waits()?;
        let left = left(conductor.store.live_runs()?, &found);
        self.attend(flows, left).await?;
        let attendance = Arc::clone(self);
        let handing_over = async move { attendance.hand_over(woken).await };
        let waiting = Arc::clone(conductor).attend_waits(found.rest());
        Ok(vec![tokio::spawn(handing_over), tokio::spawn(waiting)])
    }

    /// Attends to these flows: new ones begin, changed ones change, missing ones end. `left` is
    /// what the last process left, at the first call.
    ///
    /// # Errors
    /// What the store cannot read or keep.
    pub async fn attend(
        &self,
        flows: &BTreeMap<String, Arc<Flow>>,
        mut left: BTreeMap<String, Left>,
    ) -> Result<(), StoreError> {
        self.conductor.keep_versions(flows.values()).await?;
        let paused = self.conductor.store.paused()?;
        let mut gone = Vec::new();
        {
            let mut attended = lock(&self.attended);
            attended.retain(|path, one| flows.contains_key(path) || one.end(path, &mut gone));
            for (path, flow) in flows {
                match attended.get(path) {
                    Some(one) => one.change(flow),
                    None => {
                        let left = left.remove(path).unwrap_or_default();
                        let one = self.begin(flow, left, paused.contains(path))?;
                        attended.insert(path.clone(), one);
                    }
                }
            }
        }
        self.tell_channels(flows);
        self.forget(flows).await?;
        for left in left.into_values() {
            self.finish_orphans(left.runs);
        }
        self.set_floors();
        Ok(())
    }

    fn begin(&self, flow: &Arc<Flow>, left: Left, paused: bool) -> Result<Attended, StoreError> {
        let store = &self.conductor.store;
        let (from, next) = match store.cursor(&flow.path())? {
            Some(cursor) => (cursor.from, cursor.next),
            None => {
                let from = self.first_event(&flow.channel)?;
                (from, from)
            }
        };
        let (weather, next) = Weather::open(store, flow, (from, next))?;
        let weather = Arc::new(weather);
        let progress = Progress::at(next);
        let (flow_sender, flow_receiver) = watch::channel(Some(Arc::clone(flow)));
        let (paused_sender, paused_receiver) = watch::channel(paused);
        let (woken_sender, woken) = mpsc::unbounded_channel();
        let dispatcher = Dispatcher {
            woken,
            conductor: Arc::clone(&self.conductor),
            channel: self
                .conductor
                .channels
                .get(&flow.channel)
                .ok_or(StoreError::Closed)?,
            flow: flow_receiver,
            progress: Arc::clone(&progress),
            weather: Arc::clone(&weather),
            stop: self.conductor.stop.clone(),
            left,
            working: self.working()?,
            paused: paused_receiver,
        };
        let task = tokio::spawn(dispatcher.attend());
        Ok(Attended {
            flow: flow_sender,
            woken: woken_sender,
            paused: paused_sender,
            progress,
            weather,
            from,
            kept: u64::MAX,
            task: Some(task),
        })
    }

    /// Where a flow begins that has never been here: after what other flows of its channel have
    /// looked at (so that a renamed flow goes on where it was), else at the oldest waiting event.
    fn first_event(&self, channel: &str) -> Result<u64, StoreError> {
        let prefix = format!("{channel}/");
        let cursors = self.conductor.store.cursors()?;
        let others = cursors.iter().filter(|(path, _)| path.starts_with(&prefix));
        let furthest = others.map(|(_, cursor)| cursor.next).max();
        Ok(furthest.unwrap_or_else(|| self.conductor.store.channel_counts(channel).floor.max(1)))
    }

    /// A flow that is not in the folder any more holds no events back. Where the last one of a
    /// channel had come is written down: what it looked at does not wait to be taken.
    async fn forget(&self, flows: &BTreeMap<String, Arc<Flow>>) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        let mut looked: BTreeMap<&str, u64> = BTreeMap::new();
        let cursors = self.conductor.store.cursors()?;
        for (path, cursor) in cursors
            .iter()
            .filter(|(path, _)| !flows.contains_key(*path))
        {
            batch.drop_cursor(path);
            let channel = path.split('/').next().unwrap_or(path);
            if !flows.values().any(|flow| flow.channel == channel) {
                let next = looked.entry(channel).or_insert(cursor.next);
                *next = cursor.next.min(*next);
            }
            Weather::forget(&self.conductor.store, &mut batch, path)?;
        }
        for (channel, next) in &looked {
            let mark = next.to_be_bytes().to_vec();
            batch.set_mark(&format!("{LOOKED_AT}{channel}"), Some(mark))?;
        }
        self.conductor.store.commit(batch).await?;
        for (channel, next) in looked {
            if let Some(channel) = self.conductor.channels.get(channel) {
                channel.set_floor(next);
            }
        }
        Ok(())
    }

    /// Runs whose flow is gone go on with the version that they are pinned to.
    fn finish_orphans(&self, runs: Vec<RunId>) {
        let (conductor, working) = (Arc::clone(&self.conductor), self.working().ok());
        // Each by itself: one that waits for its target for days holds up nobody.
        for run in runs {
            let (conductor, working) = (Arc::clone(&conductor), working.clone());
            tokio::spawn(async move {
                let _working = working;
                if let Err(why) = finish_orphan(&conductor, &run).await {
                    conductor.interrupted(&run, &why);
                }
            });
        }
    }

    /// Hands runs that were woken to whoever attends to their flows, until the server stops.
    async fn hand_over(&self, mut woken: mpsc::UnboundedReceiver<RunId>) {
        while let Some(run) = woken.recv().await {
            self.take_up(run);
        }
    }

    /// Tells each channel whether a flow reacts to its events.
    fn tell_channels(&self, flows: &BTreeMap<String, Arc<Flow>>) {
        for channel in self.conductor.channels.all() {
            let has_flows = flows.values().any(|flow| flow.channel == channel.name);
            channel.set_has_flows(has_flows);
        }
    }

    /// Holds a flow or lets it go on; false if there is no such flow.
    pub fn set_paused(&self, path: &str, paused: bool) -> bool {
        let attended = lock(&self.attended);
        attended
            .get(path)
            .map(|one| one.paused.send_replace(paused))
            .is_some()
    }

    /// The flow as it is now.
    pub fn flow(&self, path: &str) -> Option<Arc<Flow>> {
        lock(&self.attended)
            .get(path)
            .and_then(|one| one.flow.borrow().clone())
    }

    /// Has a run that is on disk go on: by its flow's dispatcher, or by itself if the flow is gone.
    pub fn take_up(&self, run: RunId) {
        let path = run.flow_path();
        let woken = lock(&self.attended).get(&path).map(|one| one.woken.clone());
        let Some(run) = woken.map_or(Some(run.clone()), |woken| {
            woken.send(run).err().map(|unsent| unsent.0)
        }) else {
            return;
        };
        self.finish_orphans(vec![run]);
    }

    fn working(&self) -> Result<mpsc::Sender<()>, StoreError> {
        lock(&self.working).clone().ok_or(StoreError::Closed)
    }

    /// No more runs will begin; when those at work have ended, nobody holds the sender any more.
    pub fn release(&self) {
        lock(&self.working).take();
    }

    /// All flows, sorted.
    pub fn lines(&self) -> Vec<FlowLine> {
        let line = |one: &Attended| {
            let flow = one.flow.borrow().clone()?;
            let next = lock(&one.progress).next;
            Some(FlowLine {
                flow,
                next,
                paused: *one.paused.borrow(),
                weather: Arc::clone(&one.weather),
            })
        };
        lock(&self.attended).values().filter_map(line).collect()
    }

    /// Waits until no dispatcher is left.
    pub async fn ended(&self) {
        // How far each came is still to be written down.
        let take = |one: &mut Attended| one.task.take();
        let tasks: Vec<JoinHandle<()>> =
            lock(&self.attended).values_mut().filter_map(take).collect();
        for task in tasks {
            // It ended; in which way makes no difference now.
            let _ = task.await;
        }
    }
}

impl Attended {
    fn change(&self, flow: &Arc<Flow>) {
        self.flow.send_if_modified(|current| {
            let same = current.as_ref().is_some_and(|current| {
                current.script.version == flow.script.version && current.settings == flow.settings
            });
            if !same {
                *current = Some(Arc::clone(flow));
            }
            !same
        });
    }

    /// Ends it; always false, so that `retain` lets it go.
    fn end(&self, path: &str, gone: &mut Vec<String>) -> bool {
        self.flow.send_replace(None);
        gone.push(path.to_owned());
        false
    }
}

/// Runs that the last process left, by flow; those in `found` wait and are not at work.
fn left(runs: Vec<RunId>, found: &Found) -> BTreeMap<String, Left> {
    let mut left: BTreeMap<String, Left> = BTreeMap::new();
    for run in runs.into_iter().filter(|run| !found.runs.contains(run)) {
        left.entry(run.flow_path()).or_default().runs.push(run);
    }
    for (trouble, run) in &found.troubles {
        let troubles = &mut left.entry(run.flow_path()).or_default().troubles;
        troubles.push((trouble.clone(), run.clone()));
    }
    for one in left.values_mut() {
        one.runs.sort_by_key(|run| run.event().number);
    }
    left
}

async fn finish_orphan(conductor: &Arc<Conductor>, run: &RunId) -> Result<(), Interrupted> {
    let gone = || Interrupted::Unreadable(format!("the journal of {run} is gone"));
    let journal = conductor.journal(run)?.ok_or_else(gone)?;
    let version = journal.version().ok_or_else(gone)?;
    let flow = Flow {
        name: run.flow().to_owned(),
        channel: run.event().channel,
        settings: conductor.kept_settings(run),
        settings_text: String::new(),
        script: conductor.script(version).await?,
    };
    let work = conductor
        .recall(Arc::new(flow), run.clone(), &Progress::at(0))
        .await?;
    conductor.carry(work).await;
    Ok(())
}
