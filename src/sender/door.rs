//! The door that an event leaves by: our own over HTTP, or a broker; one try, one answer.

use super::{AmqpDoor, HttpDoor, Post};

/// What one try came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// On the server's disk, or in a broker that confirmed it.
    Accepted,
    /// The server will never take it: 4xx but 408 and 429 (DESIGN, Retries); a broker's 403 and 530.
    Refused {
        /// The HTTP status, or AMQP's reply code.
        status: u16,
        /// The server's own reason, one line.
        reason: String,
    },
    /// Nobody there, or nobody who can take it now.
    Away {
        /// What happened, one line.
        reason: String,
        /// No connection came about, as against one that broke.
        is_connect: bool,
        /// Trying again soon may help; a wrong certificate stays wrong.
        is_passing: bool,
    },
}

/// What an event is handed to.
pub enum Door {
    /// A vigie server.
    Http(Box<HttpDoor>),
    /// A message broker.
    Amqp(Box<AmqpDoor>),
}

impl Door {
    /// Hands over one event, once.
    pub fn post(&self, post: &Post) -> Answer {
        match self {
            Door::Http(door) => door.post(post),
            Door::Amqp(door) => door.post(post),
        }
    }

    /// Asks whether it is ready to take events; sends none.
    ///
    /// # Errors
    /// A sentence: away, or not ready, with the reason.
    pub fn ready(&self) -> Result<(), String> {
        match self {
            Door::Http(door) => door.ready(),
            Door::Amqp(door) => door.ready(),
        }
    }

    /// What is behind it, as it is shown.
    pub fn name(&self) -> String {
        match self {
            Door::Http(door) => door.server().base().to_owned(),
            Door::Amqp(door) => door.broker().url(),
        }
    }

    /// The protocol as `--test-connection` names it.
    pub fn protocol(&self) -> &'static str {
        match self {
            Door::Http(_) => "HTTP",
            Door::Amqp(_) => "AMQP",
        }
    }

    /// True if a server of ours is behind it that empties this host's spool by itself.
    pub fn empties_spool(&self) -> bool {
        match self {
            Door::Http(door) => door.server().is_own_host(),
            Door::Amqp(_) => false,
        }
    }
}

impl From<HttpDoor> for Door {
    fn from(door: HttpDoor) -> Door {
        Door::Http(Box::new(door))
    }
}
