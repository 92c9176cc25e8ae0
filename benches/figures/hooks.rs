//! Those that take a webhook, run a small script and send a request out: vigie and its peers, all
//! doing the same to the same sink.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::house::{House, Running};
use super::load::{self, Connection, PRODUCERS};
use super::peer::{Peer, resident_mebibytes};
use super::peers::{nodered, rulebook};
use super::sink::Sink;
use super::statistics::milliseconds;

const FLOW: &str = include_str!("react.rhai");
/// Events that are enough for somebody who starts a program for each.
const SLOW_EVENTS: usize = 6;
/// Connections that share the steady work.
const STEADY_CONNECTIONS: usize = 32;

/// Where webhooks are taken.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    /// Who takes them.
    pub name: String,
    /// The server's first process.
    pub pid: u32,
    /// Most events of one burst.
    pub events_max: usize,
    address: SocketAddr,
    path: &'static str,
}

impl Hook {
    /// A house of vigie's with the flow in it.
    pub(crate) fn house(sink: &Sink) -> House {
        let house = House::new();
        house.file("channels/alert.toml", "");
        house.file(
            "flows/alert/react.rhai",
            &FLOW.replace("TARGET", &sink.url()),
        );
        house.file("flows/alert/react.toml", "runs_at_once_max = 256\n");
        house
    }

    /// vigie in such a house.
    pub(crate) fn vigie(server: &Running) -> Hook {
        Hook {
            name: "vigie".to_owned(),
            pid: server.pid(),
            events_max: usize::MAX,
            address: server.address,
            path: "/api/v1/channels/alert/events",
        }
    }

    /// Node-RED's door.
    pub(crate) fn nodered(peer: &Peer) -> Hook {
        Hook::of(peer, nodered::PATH, usize::MAX)
    }

    /// The rulebook's door.
    pub(crate) fn rulebook(peer: &Peer) -> Hook {
        Hook::of(peer, rulebook::PATH, SLOW_EVENTS)
    }

    fn of(peer: &Peer, path: &'static str, events_max: usize) -> Hook {
        Hook {
            name: peer.name.clone(),
            pid: peer.pid(),
            events_max,
            address: peer.address,
            path,
        }
    }

    /// True of somebody who starts a program for each event.
    pub(crate) fn is_slow(&self) -> bool {
        self.events_max == SLOW_EVENTS
    }

    fn request(&self, number: usize) -> Vec<u8> {
        let event = load::event();
        let numbered = [format!("{{\"n\":{number},").as_bytes(), &event[1..]].concat();
        load::post(self.address, self.path, &numbered)
    }
}

/// What came of a burst.
#[derive(Debug, Clone, Default)]
pub(crate) struct Burst {
    /// Events that were accepted.
    pub accepted: usize,
    /// Reactions that came, one per event.
    pub came: usize,
    /// Reactions that came more than once.
    pub again: usize,
    /// Reactions a second, from the first event to the last reaction.
    pub rate: f64,
    /// Memory when the last event had been accepted, in MiB.
    pub resident: f64,
}

/// All producers at once for this long; then everything may come to an end.
pub(crate) async fn burst(hook: &Hook, sink: &Sink, time: Duration) -> Burst {
    sink.clear();
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let producer = |_| {
        let (hook, next) = (hook.clone(), Arc::clone(&next));
        tokio::spawn(async move {
            let mut connection = Connection::open(hook.address).await;
            let mut accepted = 0;
            while began.elapsed() < time {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= hook.events_max {
                    break;
                }
                connection.send(&hook.request(number)).await;
                accepted += 1;
            }
            accepted
        })
    };
    let producers: Vec<_> = (0..PRODUCERS.min(hook.events_max)).map(producer).collect();
    let mut accepted = 0;
    for producer in producers {
        accepted += producer.await.unwrap();
    }
    let resident = resident_mebibytes(hook.pid);
    sink.settle(accepted).await;
    let (came, again, last) = sink.so_far();
    let took = last.unwrap_or(began).max(began) - began;
    Burst {
        accepted,
        came,
        again,
        rate: came as f64 / took.as_secs_f64().max(1e-3),
        resident,
    }
}

/// So many events a second for so many seconds; milliseconds from when each was due to its
/// reaction, and how many had none.
pub(crate) async fn steady(
    hook: &Hook,
    sink: &Sink,
    (per_second, seconds): (usize, usize),
) -> (Vec<f64>, usize) {
    sink.clear();
    let events = per_second * seconds;
    let began = Instant::now() + Duration::from_millis(100);
    let due =
        move |number: usize| began + Duration::from_secs(1) * number as u32 / per_second as u32;
    let sender = |first: usize| {
        let hook = hook.clone();
        tokio::spawn(async move {
            let mut connection = Connection::open(hook.address).await;
            for number in (first..events).step_by(STEADY_CONNECTIONS) {
                tokio::time::sleep_until(due(number).into()).await;
                connection.send(&hook.request(number)).await;
            }
        })
    };
    let senders: Vec<_> = (0..STEADY_CONNECTIONS).map(sender).collect();
    for sender in senders {
        sender.await.unwrap();
    }
    sink.settle(events).await;
    let when = |number| {
        Some(milliseconds(
            sink.when(number)?.saturating_duration_since(due(number)),
        ))
    };
    let times: Vec<f64> = (0..events).filter_map(when).collect();
    let lost = events - times.len();
    (times, lost)
}
