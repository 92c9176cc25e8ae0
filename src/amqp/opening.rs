//! How a client opens a connection: start, tune, open; frames in, frames out.

use std::collections::BTreeMap;

use amq_protocol::protocol::connection::{self, AMQPMethod};
use amq_protocol::types::LongString;

use super::frame::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, Frame};
use super::message::short;
use super::{Method, Trouble, table};
use crate::event::Value;
use crate::secret::Secret;

/// Most channels that we agree to; RabbitMQ's own number.
const CHANNELS: u16 = 2047;

/// Who we are to the broker.
#[derive(Debug, Clone, PartialEq)]
pub enum Login {
    /// A user and a password.
    Plain {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// Our certificate says who we are (SASL EXTERNAL).
    External,
}

impl Login {
    fn mechanism(&self) -> &'static str {
        match self {
            Login::Plain { .. } => "PLAIN",
            Login::External => "EXTERNAL",
        }
    }

    fn response(&self) -> LongString {
        match self {
            Login::Plain { user, password } => {
                LongString::from(format!("\0{user}\0{}", password.expose()))
            }
            Login::External => LongString::default(),
        }
    }
}

/// What both ends agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Largest frame in bytes, envelope included.
    pub frame_bytes_max: usize,
    /// Seconds between signs of life; 0 for none.
    pub heartbeat: u16,
    /// The broker confirms what it keeps.
    pub has_confirms: bool,
}

/// What comes of a frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Send these, and wait for more.
    Send(Vec<Frame>),
    /// The connection is open.
    Open(Terms),
}

/// A connection being opened. What goes first is [`super::frame::PROTOCOL_HEADER`].
#[derive(Debug)]
pub struct Opening {
    login: Login,
    virtual_host: String,
    terms: Terms,
}

impl Opening {
    /// To log in to `virtual_host`; `heartbeat` in seconds is what we want at most, 0 for none.
    pub fn new(login: Login, virtual_host: &str, heartbeat: u16) -> Opening {
        Opening {
            login,
            virtual_host: virtual_host.to_owned(),
            terms: Terms {
                frame_bytes_max: FRAME_BYTES_MAX,
                heartbeat,
                has_confirms: false,
            },
        }
    }

    /// Takes the broker's next frame.
    ///
    /// # Errors
    /// The broker closed, offers no login of ours, or does not keep to the protocol.
    pub fn take(&mut self, frame: Frame) -> Result<Progress, Trouble> {
        let Frame::Method(0, Method::Connection(method)) = frame else {
            return Err(unexpected(&frame));
        };
        match method {
            AMQPMethod::Start(start) => self.start(&start),
            AMQPMethod::Tune(tune) => self.tune(&tune),
            AMQPMethod::OpenOk(_) => Ok(Progress::Open(self.terms)),
            AMQPMethod::Close(close) => Err(close.into()),
            other => Err(unexpected(&on_connection(other))),
        }
    }

    fn start(&mut self, start: &connection::Start) -> Result<Progress, Trouble> {
        let offered = start.mechanisms.to_string();
        let wanted = self.login.mechanism();
        if !offered.split_whitespace().any(|word| word == wanted) {
            return Err(Trouble::NoMechanism { wanted, offered });
        }
        let properties = table::from_table(&start.server_properties);
        let capabilities = properties.get("capabilities");
        let confirms = capabilities.and_then(|all| all.get("publisher_confirms"));
        self.terms.has_confirms = confirms == Some(&Value::Bool(true));
        let answer = connection::StartOk {
            client_properties: table::to_table(&ourselves()),
            mechanism: wanted.into(),
            response: self.login.response(),
            locale: "en_US".into(),
        };
        Ok(Progress::Send(vec![on_connection(AMQPMethod::StartOk(
            answer,
        ))]))
    }

    fn tune(&mut self, tune: &connection::Tune) -> Result<Progress, Trouble> {
        // 0 means no limit, for all three.
        let smaller = |theirs: u16, ours: u16| match theirs {
            0 => ours,
            theirs => theirs.min(ours),
        };
        let theirs = usize::try_from(tune.frame_max).unwrap_or(usize::MAX);
        self.terms.frame_bytes_max = match theirs {
            0 => FRAME_BYTES_MAX,
            theirs => theirs.clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX),
        };
        // A broker that wants no signs of life gets none; one that we do not want is refused.
        self.terms.heartbeat = self.terms.heartbeat.min(tune.heartbeat);
        let answer = connection::TuneOk {
            channel_max: smaller(tune.channel_max, CHANNELS),
            frame_max: u32::try_from(self.terms.frame_bytes_max).unwrap_or(u32::MAX),
            heartbeat: self.terms.heartbeat,
        };
        let virtual_host = short("virtual host", &self.virtual_host).map_err(Trouble::Unusable)?;
        Ok(Progress::Send(vec![
            on_connection(AMQPMethod::TuneOk(answer)),
            on_connection(AMQPMethod::Open(connection::Open { virtual_host })),
        ]))
    }
}

fn on_connection(method: AMQPMethod) -> Frame {
    Frame::Method(0, Method::Connection(method))
}

/// What we say about ourselves. A broker that closes for a wrong password says so only to a client
/// that can hear it.
fn ourselves() -> BTreeMap<String, Value> {
    let yes = || Value::Bool(true);
    let capabilities = Value::from([
        ("authentication_failure_close", yes()),
        ("basic.nack", yes()),
        ("connection.blocked", yes()),
        ("consumer_cancel_notify", yes()),
        ("publisher_confirms", yes()),
    ]);
    BTreeMap::from([
        ("product".to_owned(), Value::from("vigie")),
        ("version".to_owned(), Value::from(env!("CARGO_PKG_VERSION"))),
        ("capabilities".to_owned(), capabilities),
    ])
}

/// The trouble of a frame that does not belong where it came.
pub fn unexpected(frame: &Frame) -> Trouble {
    Trouble::Unexpected(match frame {
        Frame::Method(_, method) => {
            let (class, method) = (method.get_amqp_class_id(), method.get_amqp_method_id());
            format!("with method {class}.{method}")
        }
        Frame::Header(..) => "with a content header".to_owned(),
        Frame::Body(..) => "with a piece of a body".to_owned(),
        Frame::ProtocolHeader(_) => "that it speaks another version".to_owned(),
        Frame::Heartbeat | Frame::InvalidHeartbeat(_) => "with a heartbeat".to_owned(),
    })
}
