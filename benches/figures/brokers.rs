//! Everybody that takes events durably, started together, and how each is given one.

use std::net::SocketAddr;
use std::time::Duration;

use super::house::Running;
use super::load::{self, PRODUCERS, Round};
use super::peer::Peer;
use super::peers::{nats, postgres, rabbit, redis};
use super::raw;

/// The peers, each running, or why it is not there.
pub(crate) struct Brokers(Vec<Result<Broker, (&'static str, String)>>);

/// One that runs.
struct Broker {
    kind: Kind,
    peer: Peer,
    is_durable: bool,
}

/// How an event is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Raw,
    Vigie,
    Rabbit { connections: usize },
    Nats,
    Redis,
    Postgres,
}

/// Where events are taken.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Who takes them, and how.
    pub name: String,
    /// Whether an event is on disk when its sender is told so.
    pub is_durable: bool,
    /// The server's process; none for a file.
    pub pid: Option<u32>,
    kind: Kind,
    address: SocketAddr,
}

impl Brokers {
    /// Starts all of them.
    pub(crate) fn start(runtime: &tokio::runtime::Runtime) -> Brokers {
        let broker = |kind, peer| Broker {
            kind,
            peer,
            is_durable: true,
        };
        let rabbit = Kind::Rabbit { connections: 1 };
        let nats = nats::start(runtime).map(|nats| Broker {
            kind: Kind::Nats,
            peer: nats.peer,
            is_durable: nats.is_durable,
        });
        let redis = redis::start().map(|peer| broker(Kind::Redis, peer));
        let postgres = postgres::start(runtime).map(|peer| broker(Kind::Postgres, peer));
        Brokers(vec![
            rabbit::start(runtime)
                .map(|peer| broker(rabbit, peer))
                .map_err(|why| ("RabbitMQ", why)),
            nats.map_err(|why| ("NATS JetStream", why)),
            redis.map_err(|why| ("Redis streams", why)),
            postgres.map_err(|why| ("PostgreSQL", why)),
        ])
    }

    /// Those that are not there, and why.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &(&'static str, String)> {
        self.0.iter().filter_map(|broker| broker.as_ref().err())
    }

    /// How soon each was ready, beside where it takes events.
    pub(crate) fn ready(&self) -> Vec<(Place, Duration)> {
        let running = self.0.iter().flatten();
        running
            .map(|broker| (broker.place(broker.kind), broker.peer.ready_after))
            .collect()
    }

    /// All places, the file, vigie and RabbitMQ with everybody on one channel first.
    pub(crate) fn places(&self, vigie: &Running) -> Vec<Place> {
        let mut places = vec![Place::file(), Place::of(vigie)];
        for broker in self.0.iter().flatten() {
            places.push(broker.place(broker.kind));
            if let Kind::Rabbit { .. } = broker.kind {
                places.push(broker.place(Kind::Rabbit {
                    connections: PRODUCERS,
                }));
            }
        }
        places
    }
}

impl Broker {
    fn place(&self, kind: Kind) -> Place {
        let how = match kind {
            Kind::Rabbit { connections: 1 } => ", durable queue, confirms, one channel",
            Kind::Rabbit { .. } => ", durable queue, confirms, a connection each",
            _ => "",
        };
        Place {
            name: format!("{}{how}", self.peer.name),
            is_durable: self.is_durable,
            pid: Some(self.peer.pid()),
            kind,
            address: self.peer.address,
        }
    }
}

impl Place {
    /// The limit.
    fn file() -> Place {
        Place {
            name: "one file, grouped fdatasync (the limit)".to_owned(),
            is_durable: true,
            pid: None,
            kind: Kind::Raw,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }

    /// Our own door for HTTP; its house has a channel `alert`.
    pub(crate) fn of(vigie: &Running) -> Place {
        Place {
            name: "vigie over HTTP, connections kept".to_owned(),
            is_durable: true,
            pid: Some(vigie.pid()),
            kind: Kind::Vigie,
            address: vigie.address,
        }
    }

    /// True of the limit.
    pub(crate) fn is_limit(&self) -> bool {
        self.kind == Kind::Raw
    }

    /// True of vigie.
    pub(crate) fn is_ours(&self) -> bool {
        self.kind == Kind::Vigie
    }

    /// True of RabbitMQ with everybody on one channel.
    pub(crate) fn is_one_channel(&self) -> bool {
        self.kind == Kind::Rabbit { connections: 1 }
    }

    /// True if this many producers would do nothing here that they do not do elsewhere.
    pub(crate) fn is_double(&self, producers: usize) -> bool {
        producers == 1 && matches!(self.kind, Kind::Rabbit { connections } if connections > 1)
    }

    /// So many producers at once, for this long.
    pub(crate) async fn round(&self, event: &[u8], (producers, time): (usize, Duration)) -> Round {
        let address = self.address;
        match self.kind {
            Kind::Raw => raw::round(event, (producers, time)),
            Kind::Vigie => {
                let request = load::request(address, "alert", event);
                load::http_round(address, &request, (producers, time)).await
            }
            Kind::Rabbit { connections } => {
                let opened = rabbit::producers(address, event, (producers, connections)).await;
                load::round(opened, time).await
            }
            Kind::Nats => {
                let open = async || nats::Publishing::open(address, event).await;
                load::round(each(producers, open).await, time).await
            }
            Kind::Redis => {
                let open = async || redis::Adding::open(address, event).await;
                load::round(each(producers, open).await, time).await
            }
            Kind::Postgres => {
                let open = async || postgres::Inserting::open(address, event).await.unwrap();
                load::round(each(producers, open).await, time).await
            }
        }
    }
}

async fn each<P>(producers: usize, open: impl AsyncFn() -> P) -> Vec<P> {
    let mut opened = Vec::new();
    for _ in 0..producers {
        opened.push(open().await);
    }
    opened
}
