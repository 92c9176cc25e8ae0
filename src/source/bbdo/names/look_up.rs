//! What a script is told of things that it knows by number, in the way of stream connectors' getters.
//!
//! What is not known is [`UNKNOWN`] where a text is asked for, `()` for a number or a map, and an
//! empty list.

use super::{Key, Names, Told, UNKNOWN, definition};
use crate::event::Value;
use crate::source::directory::Found;

/// Told texts that stand for whole numbers, and for numbers with a fraction.
const WHOLE: &[&str] = &["instance_id", "max_check_attempts"];
const FRACTION: &[&str] = &["check_interval", "retry_interval"];

impl Names {
    /// The answer to `broker::word(ids)`; a word that does not exist knows nothing.
    pub fn look_up(&self, word: &str, ids: &[i64]) -> Found {
        // A number that Centreon never gives is that of nothing.
        let id = |place: usize| match ids.get(place) {
            Some(id) => u32::try_from(*id).unwrap_or(0),
            None => 0,
        };
        let (first, second) = (id(0), id(1));
        let object: Key = match second {
            0 => ('h', [first, 0, 0]),
            _ => ('s', [first, second, 0]),
        };
        match word {
            "host_name" => self.text(('h', [first, 0, 0]), "name"),
            "service_description" => self.text(('s', [first, second, 0]), "description"),
            "host_group_name" => self.text(('g', [first, 0, 0]), "name"),
            "host_group_alias" => self.text(('g', [first, 0, 0]), "alias"),
            "service_group_name" => self.text(('G', [first, 0, 0]), "name"),
            "instance_name" => self.text(('p', [first, 0, 0]), "name"),
            "check_command" | "notes" | "notes_url" | "action_url" => self.text(object, word),
            "severity" => Found {
                value: self.severity(first, second),
                is_known: self.known.contains_key(&object),
            },
            "host" => self.map(('h', [first, 0, 0]), &["host_id"]),
            "service" => self.map(('s', [first, second, 0]), &["host_id", "service_id"]),
            "index_mapping" => self.map(('i', [first, 0, 0]), &["index_id"]),
            "metric_mapping" => self.map(('k', [first, 0, 0]), &["metric_id"]),
            "ba" => self.map(('b', [first, 0, 0]), &["ba_id"]),
            "bv" => self.map(('v', [first, 0, 0]), &["bv_id"]),
            "host_groups" => self.list(('h', [first, 0, 0]), ('m', 'g')),
            "service_groups" => self.list(('s', [first, second, 0]), ('M', 'G')),
            "bvs" => self.views(first),
            _ => Found::nothing(Value::Null),
        }
    }

    fn text(&self, key: Key, name: &str) -> Found {
        match self.known.get(&key) {
            Some(told) => Found::known(Value::from(told_as(key.0, told, name).unwrap_or(""))),
            None => Found::nothing(Value::from(UNKNOWN)),
        }
    }

    /// All that was told of something, with its ids under these names.
    fn map(&self, key: Key, ids: &[&str]) -> Found {
        let (Some(told), Some(definition)) = (self.known.get(&key), definition::with(key.0)) else {
            return Found::nothing(Value::Null);
        };
        let named = |(place, name): (usize, &&str)| {
            let text = told.get(place).unwrap_or("");
            ((*name).to_owned(), typed(key.0, name, text))
        };
        let ids = ids.iter().zip(key.1);
        let ids = ids.map(|(name, id)| ((*name).to_owned(), Value::Int(id.into())));
        let told = definition.texts.iter().enumerate().map(named);
        Found::known(Value::Map(told.chain(ids).collect()))
    }

    /// The groups of `member`: memberships under the first sign, groups under the second.
    fn list(&self, member: Key, signs: (char, char)) -> Found {
        let ids = match member.0 {
            'h' => &member.1[..1],
            _ => &member.1[..2],
        };
        let groups = self.memberships(signs.0, ids).map(|(key, told)| {
            let group = key.1[ids.len()];
            Value::from([
                ("group_id", Value::Int(group.into())),
                ("group_name", self.name_of_group((signs.1, group), told)),
            ])
        });
        Found {
            value: Value::List(groups.collect()),
            is_known: self.known.contains_key(&member),
        }
    }

    fn views(&self, activity: u32) -> Found {
        let ids = [activity];
        let views = self.memberships('r', &ids);
        let views = views.map(|(key, _)| Value::Int(key.1[1].into()));
        Found {
            value: Value::List(views.collect()),
            is_known: self.known.contains_key(&('b', [activity, 0, 0])),
        }
    }

    fn name_of_group(&self, (sign, group): (char, u32), membership: &Told) -> Value {
        let own = self.known.get(&(sign, [group, 0, 0]));
        let name = own.and_then(|told| told.get(0));
        Value::from(name.or_else(|| membership.get(0)).unwrap_or(UNKNOWN))
    }
}

fn told_as<'a>(sign: char, told: &'a Told, name: &str) -> Option<&'a str> {
    let texts = definition::with(sign)?.texts;
    told.get(texts.iter().position(|text| *text == name)?)
}

/// A told text as what it was: of a mapping all are ids.
fn typed(sign: char, name: &str, text: &str) -> Value {
    let whole = |text: &str| text.parse::<i64>().ok().map(Value::Int).unwrap_or_default();
    match name {
        _ if matches!(sign, 'i' | 'k') || WHOLE.contains(&name) => whole(text),
        _ if FRACTION.contains(&name) => {
            let number = text.parse().ok().map(Value::Float);
            number.unwrap_or_default()
        }
        _ => Value::from(text),
    }
}
