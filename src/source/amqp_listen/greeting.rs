//! How a conversation begins: log in, agree on terms, open a virtual host.

use std::collections::BTreeMap;

use super::refusal::Refusal;
use super::session::{Effect, HEARTBEAT_SECONDS, LANES_MAX, Session, State};
use super::users::Users;
use crate::amqp::frame::{FRAME_BYTES_MAX, FRAME_BYTES_MIN};
use crate::amqp::{Method, connection, table};
use crate::event::Value;

impl Session {
    /// Says who we are and how one may log in.
    pub(super) fn start(&mut self) {
        let yes = || Value::Bool(true);
        let capabilities = Value::from([
            ("authentication_failure_close", yes()),
            ("basic.nack", yes()),
            ("publisher_confirms", yes()),
        ]);
        let properties = BTreeMap::from([
            ("product".to_owned(), Value::from("vigie")),
            ("version".to_owned(), Value::from(env!("CARGO_PKG_VERSION"))),
            ("capabilities".to_owned(), capabilities),
        ]);
        self.connection(connection::AMQPMethod::Start(connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: table::to_table(&properties),
            mechanisms: Users::mechanisms(&self.peer).into(),
            locales: "en_US".into(),
        }));
    }

    /// What the client says about the connection itself.
    ///
    /// # Errors
    /// 403 for a login, 530 for terms or a virtual host, 503 for what does not belong there.
    pub(super) fn on_connection(&mut self, method: connection::AMQPMethod) -> Result<(), Refusal> {
        use connection::AMQPMethod::{Close, Open, StartOk, TuneOk};
        match (self.state, method) {
            (State::Start, StartOk(answer)) => self.log_in(&answer),
            (State::Tune, TuneOk(answer)) => self.tuned(&answer),
            (State::Open, Open(open)) => self.open(&open),
            (_, Close(_)) => {
                self.connection(connection::AMQPMethod::CloseOk(connection::CloseOk {}));
                self.effects.push(Effect::End);
                Ok(())
            }
            (_, other) => Err(Refusal::misplaced(&Method::Connection(other))),
        }
    }

    fn log_in(&mut self, answer: &connection::StartOk) -> Result<(), Refusal> {
        let (mechanism, response) = (answer.mechanism.as_str(), answer.response.as_bytes());
        let user = self.house.users.log_in(mechanism, response, &self.peer);
        let Some(user) = user else {
            let why = format!("Login was refused using authentication mechanism {mechanism}");
            return Err(Refusal::new(403, why));
        };
        self.user = user;
        self.state = State::Tune;
        self.connection(connection::AMQPMethod::Tune(connection::Tune {
            channel_max: LANES_MAX,
            frame_max: u32::try_from(FRAME_BYTES_MAX).unwrap_or(u32::MAX),
            heartbeat: HEARTBEAT_SECONDS,
        }));
        Ok(())
    }

    fn tuned(&mut self, answer: &connection::TuneOk) -> Result<(), Refusal> {
        let bytes = match usize::try_from(answer.frame_max) {
            Ok(0) => FRAME_BYTES_MAX,
            Ok(bytes) => bytes,
            Err(_) => usize::MAX,
        };
        if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&bytes) {
            let why = format!("frames may have {FRAME_BYTES_MIN} to {FRAME_BYTES_MAX} bytes");
            return Err(Refusal::new(530, why));
        }
        self.heartbeat = answer.heartbeat;
        self.state = State::Open;
        self.effects.push(Effect::Limit(bytes));
        Ok(())
    }

    fn open(&mut self, open: &connection::Open) -> Result<(), Refusal> {
        let asked = open.virtual_host.as_str();
        if !self.house.virtual_hosts.iter().any(|host| host == asked) {
            return Err(Refusal::new(530, format!("vhost {asked} not found")));
        }
        self.state = State::Ready;
        self.connection(connection::AMQPMethod::OpenOk(connection::OpenOk {}));
        Ok(())
    }
}
