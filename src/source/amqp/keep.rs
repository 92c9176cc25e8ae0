//! Messages on their way to disk: together where they can be, one by one where they must.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::decode::{Seen, asked_channel, decode};
use crate::amqp::Message;
use crate::event::Incoming;
use crate::source::Context;
use crate::source::context::NotKept;

/// What a message became.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// For the channel that the sender asked for; `None` for the door's own.
    pub channel: Option<String>,
    /// Its events.
    pub events: Vec<Incoming>,
}

impl Arrival {
    /// Of a message; its `channel` header routes it.
    pub fn new(message: Message, seen: &Seen) -> Arrival {
        Arrival {
            channel: asked_channel(&message).map(str::to_owned),
            events: decode(message, seen),
        }
    }
}

/// Puts all on disk; those for one channel stay in order. Gives the places of those that were not
/// kept, with the reason; a message is kept whole or not at all.
pub async fn keep(context: &Context, arrivals: Vec<Arrival>) -> BTreeMap<usize, NotKept> {
    let mut groups: BTreeMap<Option<String>, Vec<(usize, Vec<Incoming>)>> = BTreeMap::new();
    for (place, arrival) in arrivals.into_iter().enumerate() {
        let group = groups.entry(arrival.channel).or_default();
        group.push((place, arrival.events));
    }
    let keeping = groups
        .into_iter()
        .map(|(channel, members)| keep_group(context, channel, members));
    join_all(keeping).await.into_iter().flatten().collect()
}

/// All in one go; if that fails, one by one, so that none is refused for another.
async fn keep_group(
    context: &Context,
    channel: Option<String>,
    members: Vec<(usize, Vec<Incoming>)>,
) -> Vec<(usize, NotKept)> {
    let events = |member: &(usize, Vec<Incoming>)| member.1.clone();
    let all: Vec<Incoming> = members.iter().flat_map(events).collect();
    if push(context, &channel, all).await.is_ok() {
        return Vec::new();
    }
    let mut refused = Vec::new();
    for (place, events) in members {
        if let Err(why) = push(context, &channel, events).await {
            refused.push((place, why));
        }
    }
    refused
}

async fn push(
    context: &Context,
    channel: &Option<String>,
    events: Vec<Incoming>,
) -> Result<(), NotKept> {
    match channel {
        Some(asked) => context.push_to(asked, events).await?,
        None => context.push(events).await?,
    };
    Ok(())
}
