//! A wait: what a run that sleeps is to be woken for, and what its script is told then.
//!
//! Pure: a question becomes a wait, an event fits it or does not. Times are counted from the moment
//! at which the script asked first, so a replay and a restart come to the same deadline.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::duration::Lasting;
use crate::event::{Event, RunId, Value};
use crate::gate::{CONDITION, Question};
use crate::store::codec::{CodecError, Reader, Writer};
use crate::want::Want;

/// Channels and handles that one wait may name.
pub const WANTS_MAX: usize = 64;
/// Fields that one `match` may have.
pub const MATCH_FIELDS_MAX: usize = 32;
/// The longest wait: ten years.
pub const WAIT_DAYS_MAX: u64 = 3_660;

/// The version of a wait's form on disk.
const WAIT_VERSION: u8 = 1;

/// Which word asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `sleep`, `sleep_until`: the time only.
    Sleep,
    /// `receive`: takes the event off its channel.
    Receive,
    /// `watch`: sees the event, which stays where it is.
    Watch,
    /// `any`: several handles, the first that comes true.
    Any,
}

/// When a wait is over, and which handle says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    /// When, to the millisecond.
    pub due: Timestamp,
    /// The handle's place in `any`; 0 elsewhere.
    pub which: usize,
}

/// What a run waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    /// Who waits.
    pub run: RunId,
    /// Which of its commands this is, counted from 0.
    pub command: usize,
    /// Since when.
    pub since: Timestamp,
    /// Runs that lie down are numbered; a later one has a higher number.
    pub laid: u64,
    /// Which word asked.
    pub form: Form,
    /// When it is over, if ever.
    pub alarm: Option<Alarm>,
    /// The channels that it looks at.
    pub wants: Vec<Want>,
    /// What makes further events the same trouble as this run (`one_run_per`).
    pub trouble: Option<String>,
}

/// The word that begins a journal anew.
pub const CONTINUE: &str = "continue_as";

/// True for a word that waits.
pub fn is_wait(word: &str) -> bool {
    form(word).is_some()
}

fn form(word: &str) -> Option<Form> {
    match word {
        "sleep" | "sleep_until" => Some(Form::Sleep),
        "receive" => Some(Form::Receive),
        "watch" => Some(Form::Watch),
        "any" => Some(Form::Any),
        _ => None,
    }
}

/// `at` and a duration in text; the answer of `after`, and every deadline.
///
/// # Errors
/// Text that is no duration, or one beyond [`WAIT_DAYS_MAX`].
pub fn due(at: Timestamp, lasting: &Value) -> Result<Timestamp, String> {
    let Some(text) = lasting.as_text() else {
        let kind = lasting.kind();
        return Err(format!(
            "a duration is text with a unit, as in \"10m\", not {kind}"
        ));
    };
    let Lasting(lasting) = text.parse()?;
    let too_long = || format!("`{text}` is longer than {WAIT_DAYS_MAX} days");
    if lasting.as_secs() > WAIT_DAYS_MAX * 86_400 {
        return Err(too_long());
    }
    at.checked_add(lasting).map_err(|_| too_long())
}

/// What `after(lasting)` gives, asked at `at`: a handle with the time at which it comes true.
///
/// # Errors
/// As [`due`].
pub fn after(at: Timestamp, lasting: &Value) -> Result<Value, String> {
    let due = due(at, lasting)?;
    Ok(Value::from([
        ("after", lasting.clone()),
        ("due", Value::Int(due.as_millisecond())),
    ]))
}

impl Wait {
    /// What `question`, asked first at `at` as command number `command` of `run`, waits for.
    ///
    /// # Errors
    /// A sentence about arguments that make no sense; the script sees it.
    pub fn of(
        run: &RunId,
        command: usize,
        at: Timestamp,
        question: &Question,
    ) -> Result<Wait, String> {
        let form = form(&question.word).ok_or("this is no wait")?;
        let mut wait = Wait {
            run: run.clone(),
            command,
            since: at,
            laid: 0,
            form,
            alarm: None,
            wants: Vec::new(),
            trouble: None,
        };
        match (form, question.arguments.as_slice()) {
            (Form::Sleep, [time]) if question.word == "sleep_until" => {
                wait.alarm = Some(Alarm {
                    due: moment(time)?,
                    which: 0,
                });
            }
            (Form::Sleep, [lasting]) => wait.ring(due(at, lasting)?, 0),
            (Form::Any, [Value::List(handles)]) => wait.handles(handles)?,
            (Form::Receive | Form::Watch, [channels, rest @ ..]) => wait.plain(channels, rest)?,
            _ => return Err(format!("`{}` does not take these arguments", question.word)),
        }
        match wait.wants.len() {
            0..=WANTS_MAX => Ok(wait),
            _ => Err(format!("a wait names at most {WANTS_MAX} channels")),
        }
    }

    /// It is over at `until` at the latest, as if its own time were over.
    pub(crate) fn end_by(&mut self, until: Timestamp) {
        self.ring(until, self.alarm.map_or(0, |alarm| alarm.which));
    }

    /// The earliest alarm counts.
    fn ring(&mut self, due: Timestamp, which: usize) {
        let sooner = self.alarm.is_none_or(|alarm| due < alarm.due);
        if sooner {
            self.alarm = Some(Alarm { due, which });
        }
    }

    /// The arguments of `receive` and `watch` after the channel, each recognised by its kind.
    fn plain(&mut self, channels: &Value, rest: &[Value]) -> Result<(), String> {
        let mut fields = BTreeMap::new();
        let mut condition = false;
        for argument in rest {
            match argument {
                Value::Map(map) => fields.clone_from(map),
                Value::Text(text) if text == CONDITION => condition = true,
                Value::Text(_) => self.ring(due(self.since, argument)?, 0),
                Value::Null => {}
                other => {
                    let kind = other.kind();
                    return Err(format!(
                        "a wait takes fields, a duration and a closure, not {kind}"
                    ));
                }
            }
        }
        self.want(0, channels, (fields, condition))
    }

    fn handles(&mut self, handles: &[Value]) -> Result<(), String> {
        for (which, handle) in handles.iter().enumerate() {
            match (handle.get("on"), handle.get("due")) {
                (Some(channels), _) => {
                    let fields = handle.get("match").and_then(Value::as_map);
                    let condition = handle.get("condition") == Some(&Value::Bool(true));
                    let fields = fields.cloned().unwrap_or_default();
                    self.want(which, channels, (fields, condition))?;
                }
                (None, Some(Value::Int(due))) => {
                    let due = Timestamp::from_millisecond(*due);
                    self.ring(due.map_err(|why| why.to_string())?, which);
                }
                _ => return Err("`any` takes what `on` and `after` give".to_owned()),
            }
        }
        match handles.is_empty() {
            true => Err("`any` of nothing would wait for ever".to_owned()),
            false => Ok(()),
        }
    }

    fn want(
        &mut self,
        which: usize,
        channels: &Value,
        (fields, condition): (BTreeMap<String, Value>, bool),
    ) -> Result<(), String> {
        if fields.len() > MATCH_FIELDS_MAX {
            return Err(format!("a match has at most {MATCH_FIELDS_MAX} fields"));
        }
        let (listed, names) = match channels {
            Value::Text(name) => (false, vec![name.as_str()]),
            Value::List(names) => (true, names.iter().filter_map(Value::as_text).collect()),
            other => {
                return Err(format!(
                    "a channel is named by text, or several by a list, not by {}",
                    other.kind()
                ));
            }
        };
        if names.is_empty() {
            return Err("a wait without a channel would be for ever".to_owned());
        }
        self.wants.extend(names.into_iter().map(|name| Want {
            which,
            channel: name.to_owned(),
            fields: fields.clone(),
            condition,
            listed,
            from: 0,
        }));
        Ok(())
    }

    /// What the script is told when `event` came for `want`.
    pub fn woken_by(&self, want: &Want, event: &Event) -> Value {
        let seen = match want.listed {
            false => event.body.clone(),
            true => Value::from([
                ("channel", Value::from(want.channel.as_str())),
                ("event", event.body.clone()),
            ]),
        };
        self.told(want.which, seen)
    }

    /// What a closure sees of `event`: the event itself, also inside `any`.
    pub fn seen_by_condition(&self, want: &Want, event: &Event) -> Value {
        let told = self.woken_by(want, event);
        match self.form {
            Form::Any => told.get("event").cloned().unwrap_or_default(),
            _ => told,
        }
    }

    /// What the script is told when the time is over.
    pub fn timed_out(&self) -> Value {
        self.told(self.alarm.map_or(0, |alarm| alarm.which), Value::Null)
    }

    fn told(&self, which: usize, seen: Value) -> Value {
        match self.form {
            Form::Any => Value::from([
                ("event", seen),
                (
                    "which",
                    Value::Int(i64::try_from(which).unwrap_or(i64::MAX)),
                ),
            ]),
            _ => seen,
        }
    }

    /// True if this is a caller from outside and no run.
    pub fn is_guest(&self) -> bool {
        self.run.event().number == 0
    }

    /// The word that a script waits with.
    pub fn word(&self) -> &'static str {
        match self.form {
            Form::Sleep => "sleep",
            Form::Receive => "receive",
            Form::Watch => "watch",
            Form::Any => "any",
        }
    }

    /// As a person reads it: `watch alert {"host":"web01"}, until 2026-11-20T12:00:00Z`.
    pub fn describe(&self) -> String {
        let verb = match self.form {
            Form::Receive => "receive",
            _ => "watch",
        };
        let want = |want: &Want| {
            let fields = Value::Map(want.fields.clone());
            let more = if want.condition {
                " and a condition"
            } else {
                ""
            };
            format!("{verb} {} {fields}{more}", want.channel)
        };
        let until = self.alarm.map(|alarm| format!("until {}", alarm.due));
        let parts: Vec<String> = self.wants.iter().map(want).chain(until).collect();
        parts.join(", ")
    }

    /// As bytes.
    ///
    /// # Errors
    /// A field nested too deep.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let mut out = Writer::new();
        out.byte(WAIT_VERSION)
            .number(self.command as u64)
            .time(self.since)
            .number(self.laid)
            .byte(self.form as u8);
        out.byte(self.alarm.is_some().into());
        if let Some(alarm) = self.alarm {
            out.time(alarm.due).number(alarm.which as u64);
        }
        out.text_or_none(self.trouble.as_deref());
        out.number(self.wants.len() as u64);
        for want in &self.wants {
            want.write(&mut out)?;
        }
        Ok(out.into_bytes())
    }

    /// From bytes.
    ///
    /// # Errors
    /// Bytes that are no wait, or of a newer version.
    pub fn decode(run: RunId, bytes: &[u8]) -> Result<Wait, CodecError> {
        let mut input = Reader::new(bytes);
        if input.byte()? != WAIT_VERSION {
            return Err(CodecError::Wrong("a wait of a newer version"));
        }
        let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let command = index(input.number()?);
        let since = input.time()?;
        let laid = input.number()?;
        let form = match input.byte()? {
            0 => Form::Sleep,
            1 => Form::Receive,
            2 => Form::Watch,
            3 => Form::Any,
            _ => return Err(CodecError::Wrong("an unknown kind of wait")),
        };
        let alarm = match input.byte()? {
            0 => None,
            _ => Some(Alarm {
                due: input.time()?,
                which: index(input.number()?),
            }),
        };
        let trouble = input.text_or_none()?.map(str::to_owned);
        let count = input.number()?;
        let want = |_| Want::read(&mut input);
        let wants = (0..count).map(want).collect::<Result<_, CodecError>>()?;
        Ok(Wait {
            run,
            command,
            since,
            laid,
            form,
            alarm,
            wants,
            trouble,
        })
    }
}

/// A time as `now()` gives it, or as RFC 3339 text.
fn moment(time: &Value) -> Result<Timestamp, String> {
    let wrong = || format!("`{time}` is no time: seconds since 1970, or text as in RFC 3339");
    match time {
        Value::Int(seconds) => Timestamp::from_second(*seconds).map_err(|_| wrong()),
        Value::Text(text) => text.parse().map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}
