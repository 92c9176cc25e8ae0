//! A client's conversation with the door: frames in, frames and messages out; no socket, no clock.
//!
//! Invariant: what is to be said after a message stands behind it in the effects, so whoever performs
//! them in order says "closed" or "confirmed" only once the message is on disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::declared::Declared;
use super::lane::{Lane, MESSAGE_BYTES_MAX, Publication};
use super::refusal::Refusal;
use super::users::{Peer, Users};
use crate::amqp::{Frame, FrameError, Method, basic, channel, connection};

/// Channels that one connection may have open; RabbitMQ's own number.
pub const LANES_MAX: u16 = 2_047;
/// Seconds between signs of life that are proposed, as RabbitMQ does.
pub const HEARTBEAT_SECONDS: u16 = 60;

/// What a door knows about all its clients.
#[derive(Debug)]
pub struct House {
    /// Who may send.
    pub users: Users,
    /// Virtual hosts that clients may open.
    pub virtual_hosts: Vec<String>,
    /// What clients declared.
    pub declared: Mutex<Declared>,
}

impl House {
    /// What clients declared; held for a look only.
    pub(super) fn declared(&self) -> MutexGuard<'_, Declared> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Say this, after everything before it is on disk.
    Send(Frame),
    /// Say which protocol this is, to somebody who speaks another.
    Header,
    /// Put this on disk, then tell [`Session::kept`] or [`Session::not_kept`].
    Push(Publication),
    /// Frames may have so many bytes from now on.
    Limit(usize),
    /// End the connection; nothing more is listened to.
    End,
}

/// How far the conversation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for the protocol's header, start-ok, tune-ok, open.
    Header,
    Start,
    Tune,
    Open,
    /// Work may be done.
    Ready,
    /// We closed and wait for the answer.
    Closing,
}

/// One connection of a client.
#[derive(Debug)]
pub struct Session {
    pub(super) house: Arc<House>,
    pub(super) peer: Peer,
    pub(super) state: State,
    pub(super) user: String,
    pub(super) heartbeat: u16,
    pub(super) effects: Vec<Effect>,
    lanes: BTreeMap<u16, Lane>,
}

impl Session {
    /// With a client that has just connected.
    pub fn new(house: Arc<House>, peer: Peer) -> Session {
        Session {
            house,
            peer,
            state: State::Header,
            user: String::new(),
            heartbeat: 0,
            lanes: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// Seconds between signs of life that were agreed on; 0 for none.
    pub fn heartbeat(&self) -> u16 {
        self.heartbeat
    }

    /// Who logged in; empty before.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// True once work may be done, until somebody closes.
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// True once we closed, or will hear nothing more.
    pub fn is_closing(&self) -> bool {
        self.state == State::Closing
    }

    /// How many bytes of unfinished messages are held.
    pub fn held_bytes(&self) -> usize {
        self.lanes.values().map(Lane::held_bytes).sum()
    }

    /// Takes the client's next frame.
    pub fn take(&mut self, frame: Frame) -> Vec<Effect> {
        let number = frame.channel_id();
        if let Err(refusal) = self.look(frame) {
            self.refuse(number, &refusal);
        }
        std::mem::take(&mut self.effects)
    }

    /// The client's bytes are no frame.
    pub fn broken(&mut self, why: FrameError) -> Vec<Effect> {
        let code = match why {
            FrameError::Unreadable | FrameError::TooDeep => 502,
            _ => 501,
        };
        self.close(&Refusal::new(code, why.to_string()))
    }

    /// Ends the conversation with this code and reason.
    pub fn close(&mut self, refusal: &Refusal) -> Vec<Effect> {
        match self.state {
            // Nobody said yet that this is AMQP; the header says what would be right.
            State::Header => {
                self.effects.push(Effect::Header);
                self.end();
            }
            State::Closing => self.effects.push(Effect::End),
            _ => {
                self.lanes.clear();
                self.state = State::Closing;
                self.send(refusal.close_connection());
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// These messages are on disk; on each lane they are the next ones in order.
    pub fn kept(&mut self, publications: &[(u16, Option<u64>)]) -> Vec<Effect> {
        let mut last = BTreeMap::new();
        for (lane, number) in publications {
            if let Some(number) = number {
                last.insert(*lane, *number);
            }
        }
        for (lane, delivery_tag) in last {
            let ack = basic::Ack {
                delivery_tag,
                multiple: true,
            };
            self.confirm(lane, basic::AMQPMethod::Ack(ack));
        }
        std::mem::take(&mut self.effects)
    }

    /// A message was not kept. Who asked for confirms hears it; anybody else is cut off, because to
    /// them an answer would mean that all is well.
    pub fn not_kept(&mut self, (lane, number): (u16, Option<u64>), why: &Refusal) -> Vec<Effect> {
        let Some(delivery_tag) = number else {
            self.refuse(lane, why);
            return std::mem::take(&mut self.effects);
        };
        let nack = basic::Nack {
            delivery_tag,
            multiple: false,
            requeue: false,
        };
        self.confirm(lane, basic::AMQPMethod::Nack(nack));
        std::mem::take(&mut self.effects)
    }

    fn confirm(&mut self, lane: u16, method: basic::AMQPMethod) {
        let is_open = self.lanes.get(&lane).is_some_and(|lane| !lane.is_closing);
        if is_open {
            self.send(Frame::Method(lane, Method::Basic(method)));
        }
    }

    fn refuse(&mut self, number: u16, refusal: &Refusal) {
        let is_of_lane = number != 0 && self.is_ready() && refusal.is_of_channel();
        match self.lanes.get_mut(&number) {
            Some(lane) if is_of_lane => {
                *lane = Lane::closing();
                self.send(refusal.close_channel(number));
            }
            _ => {
                let effects = self.close(refusal);
                self.effects.extend(effects);
            }
        }
    }

    fn look(&mut self, frame: Frame) -> Result<(), Refusal> {
        match (self.state, frame) {
            // The frame layer lets no other version through.
            (State::Header, Frame::ProtocolHeader(_)) => {
                self.state = State::Start;
                self.start();
                Ok(())
            }
            (State::Header, _) => {
                self.effects.push(Effect::Header);
                self.end();
                Ok(())
            }
            (State::Closing, frame) => {
                self.closing(&frame);
                Ok(())
            }
            (_, Frame::Heartbeat) => Ok(()),
            (_, Frame::Method(0, Method::Connection(method))) => self.on_connection(method),
            (State::Ready, Frame::Method(0, method)) => {
                Err(Refusal::new(503, "only connection methods go on channel 0").about(&method))
            }
            (State::Ready, Frame::Method(number, method)) => self.on_lane(number, method),
            (State::Ready, frame @ (Frame::Header(..) | Frame::Body(..))) => self.content(frame),
            (_, Frame::Method(_, method)) => Err(Refusal::misplaced(&method)),
            _ => Err(Refusal::new(501, "this frame does not belong here")),
        }
    }

    /// While we close, only the answer counts, and a client that closes at the same time.
    fn closing(&mut self, frame: &Frame) {
        use connection::AMQPMethod::{Close, CloseOk};
        match frame {
            Frame::Method(0, Method::Connection(CloseOk(_))) => self.effects.push(Effect::End),
            Frame::Method(0, Method::Connection(Close(_))) => {
                self.connection(connection::AMQPMethod::CloseOk(connection::CloseOk {}));
            }
            _ => {}
        }
    }

    fn on_lane(&mut self, number: u16, method: Method) -> Result<(), Refusal> {
        if let Method::Channel(channel::AMQPMethod::Open(_)) = &method {
            return self.open_lane(number, &method);
        }
        let Some(lane) = self.lanes.get_mut(&number) else {
            let why = format!("channel {number} is not open");
            return Err(Refusal::new(504, why).about(&method));
        };
        if lane.is_closing {
            if matches!(&method, Method::Channel(channel::AMQPMethod::CloseOk(_))) {
                self.lanes.remove(&number);
            }
            return Ok(());
        }
        if lane.is_inside() {
            return Err(Refusal::new(505, "a method in the middle of a message").about(&method));
        }
        self.work(number, method)
    }

    fn open_lane(&mut self, number: u16, method: &Method) -> Result<(), Refusal> {
        if self.lanes.contains_key(&number) || number > LANES_MAX {
            let why = format!("channel {number} cannot be opened");
            return Err(Refusal::new(504, why).about(method));
        }
        self.lanes.insert(number, Lane::default());
        let opened = channel::AMQPMethod::OpenOk(channel::OpenOk {});
        self.send(Frame::Method(number, Method::Channel(opened)));
        Ok(())
    }

    fn content(&mut self, frame: Frame) -> Result<(), Refusal> {
        let number = frame.channel_id();
        let held = self.held_bytes();
        let Some(lane) = self.lanes.get_mut(&number) else {
            return Err(Refusal::new(504, format!("channel {number} is not open")));
        };
        if lane.is_closing {
            return Ok(());
        }
        let room = MESSAGE_BYTES_MAX.saturating_sub(held);
        if let Some(message) = lane.content(frame, room)? {
            let publication = Publication {
                lane: number,
                number: lane.number(),
                message,
            };
            self.effects.push(Effect::Push(publication));
        }
        Ok(())
    }

    /// What this door shares with its other clients.
    pub(super) fn house(&self) -> &House {
        &self.house
    }

    pub(super) fn lane(&mut self, number: u16) -> Option<&mut Lane> {
        self.lanes.get_mut(&number)
    }

    pub(super) fn close_lane(&mut self, number: u16) {
        self.lanes.remove(&number);
        let closed = channel::AMQPMethod::CloseOk(channel::CloseOk {});
        self.send(Frame::Method(number, Method::Channel(closed)));
    }

    pub(super) fn send(&mut self, frame: Frame) {
        self.effects.push(Effect::Send(frame));
    }

    pub(super) fn connection(&mut self, method: connection::AMQPMethod) {
        self.send(Frame::Method(0, Method::Connection(method)));
    }

    fn end(&mut self) {
        self.state = State::Closing;
        self.effects.push(Effect::End);
    }
}
