//! The macros in a text: `{field}`, `{cache.host.name}`, `{groups(hg,table,.*)}`, and Centreon's own
//! `$HOSTNAME$`.

use std::sync::LazyLock;

use regex::Regex;

use crate::lua_pattern;

/// A piece of text.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// As it stands.
    Literal(String),
    /// To be replaced.
    Macro(Macro),
}

/// A macro.
#[derive(Debug, PartialEq)]
pub struct Macro {
    /// As it is written.
    pub(super) written: String,
    /// What it stands for.
    pub(super) of: Of,
}

/// What a macro stands for.
#[derive(Debug, Clone)]
pub(super) enum Of {
    /// A field of the event.
    Event(String, Option<Change>),
    /// A field of what is known about it.
    Cache(String, String, Option<Change>),
    /// Names of groups that a pattern finds: `hg`, `sg` or `bv`, and whether in one text.
    Groups(String, bool, Regex),
    /// Nothing that is known.
    Nothing,
}

impl PartialEq for Of {
    fn eq(&self, other: &Of) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

/// What is made of a value: `_sctype`, `_scstate` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Date,
    Type,
    State,
    Short,
    Number,
    Text,
}

/// Centreon's macros, each by what it stands for.
#[rustfmt::skip]
const CENTREON: &[(&str, &str)] = &[
    ("HOSTNAME", "cache.host.name"), ("HOSTDISPLAYNAME", "cache.host.display_name"),
    ("HOSTALIAS", "cache.host.alias"), ("HOSTADDRESS", "cache.host.address"),
    ("HOSTSTATE", "cache.host.state_scstate"), ("HOSTSTATEID", "cache.host.state"),
    ("LASTHOSTSTATE", "cache.host.state_scstate"), ("LASTHOSTSTATEID", "cache.host.state"),
    ("HOSTSTATETYPE", "cache.host.state_type"), ("HOSTATTEMPTS", "cache.host.check_attempt"),
    ("MAXHOSTATTEMPTS", "cache.host.max_check_attempts"), ("HOSTLATENCY", "cache.host.latency"),
    ("HOSTEXECUTIONTIME", "cache.host.execution_time"), ("HOSTDOWNTIME", "cache.host.scheduled_downtime_depth"),
    ("HOSTPERCENTCHANGE", "percent_state_change"), ("LASTHOSTCHECK", "cache.host.last_check"),
    ("LASTHOSTSTATECHANGE", "cache.host.last_state_change"), ("LASTHOSTUP", "cache.host.last_time_up"),
    ("LASTHOSTDOWN", "cache.host.last_time_down"), ("LASTHOSTUNREACHABLE", "cache.host.last_time_unreachable"),
    ("HOSTOUTPUT", "cache.host.output_scshort"), ("HOSTLONGOUTPUT", "cache.host.long_output"),
    ("HOSTPERFDATA", "cache.host.perfdata"), ("HOSTACTIONURL", "cache.host.action_url"),
    ("HOSTNOTESURL", "cache.host.notes_url"), ("HOSTNOTES", "cache.host.notes"),
    ("SERVICEDESC", "cache.service.description"), ("SERVICEDISPLAYNAME", "cache.service.display_name"),
    ("SERVICESTATE", "cache.service.state_scstate"), ("SERVICESTATEID", "cache.service.state"),
    ("LASTSERVICESTATE", "cache.service.state_scstate"), ("LASTSERVICESTATEID", "cache.service.state"),
    ("SERVICESTATETYPE", "cache.service.state_type"), ("SERVICEATTEMPT", "cache.service.check_attempt"),
    ("MAXSERVICEATTEMPTS", "cache.service.max_check_attempts"), ("SERVICEISVOLATILE", "cache.service.volatile"),
    ("SERVICELATENCY", "cache.service.latency"), ("SERVICEEXECUTIONTIME", "cache.service.execution_time"),
    ("SERVICEDOWNTIME", "cache.service.scheduled_downtime_depth"), ("SERVICEPERCENTCHANGE", "percent_state_change"),
    ("LASTSERVICECHECK", "cache.service.last_check"), ("LASTSERVICESTATECHANGE", "cache.service.last_state_change"),
    ("LASTSERVICEOK", "cache.service.last_time_ok"), ("LASTSERVICEWARNING", "cache.service.last_time_warning"),
    ("LASTSERVICEUNKNOWN", "cache.service.last_time_unknown"), ("LASTSERVICECRITICAL", "cache.service.last_time_critical"),
    ("SERVICEOUTPUT", "cache.service.output_scshort"), ("LONGSERVICEOUTPUT", "cache.service.long_output"),
    ("SERVICEPERFDATA", "cache.service.perfdata"), ("SERVICEACTIONURL", "cache.service.action_url"),
    ("SERVICENOTESURL", "cache.service.notes_url"), ("SERVICENOTES", "cache.service.notes"),
];

/// A pattern that is no pattern would be a bug; then no macro is found.
static MACRO: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{([0-9A-Za-z_.(),%+\-*?\[\]^$]+)\}|\$([A-Z]+)\$").ok());

/// Takes a text apart.
///
/// # Errors
/// A pattern for groups that cannot be.
pub(super) fn read(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut end = 0;
    let found = MACRO.iter().flat_map(|pattern| pattern.captures_iter(text));
    for found in found {
        let (Some(whole), inner) = (found.get(0), found.get(1)) else {
            continue;
        };
        let of = match (inner, found.get(2)) {
            (Some(inner), _) => of(inner.as_str())?,
            (None, Some(name)) => centreon(name.as_str())?,
            (None, None) => Of::Nothing,
        };
        pieces.push(Piece::Literal(text[end..whole.start()].to_owned()));
        pieces.push(Piece::Macro(Macro {
            written: whole.as_str().to_owned(),
            of,
        }));
        end = whole.end();
    }
    pieces.push(Piece::Literal(text[end..].to_owned()));
    pieces.retain(|piece| *piece != Piece::Literal(String::new()));
    Ok(pieces)
}

fn centreon(name: &str) -> Result<Of, String> {
    let known = CENTREON.iter().find(|(known, _)| *known == name);
    known.map_or(Ok(Of::Nothing), |(_, meant)| of(meant))
}

fn of(inner: &str) -> Result<Of, String> {
    if let Some(groups) = inner.strip_prefix("groups(") {
        return groups_of(groups);
    }
    let (name, change) = match inner.rsplit_once("_sc") {
        Some((name, flag)) => match change(flag) {
            Some(change) => (name, Some(change)),
            None => (inner, None),
        },
        None => (inner, None),
    };
    let cached = name.strip_prefix("cache.");
    Ok(match cached.map(|cached| cached.split_once('.')) {
        Some(Some((of, field))) => Of::Cache(of.to_owned(), field.to_owned(), change),
        Some(None) => Of::Nothing,
        None => Of::Event(name.to_owned(), change),
    })
}

fn change(flag: &str) -> Option<Change> {
    Some(match flag {
        "date" => Change::Date,
        "type" => Change::Type,
        "state" => Change::State,
        "short" => Change::Short,
        "number" => Change::Number,
        "string" => Change::Text,
        _ => return None,
    })
}

/// `hg,table,.*)`
fn groups_of(rest: &str) -> Result<Of, String> {
    let mut parts = rest.strip_suffix(')').unwrap_or("").splitn(3, ',');
    let (Some(groups), Some(form), Some(pattern)) = (parts.next(), parts.next(), parts.next())
    else {
        return Ok(Of::Nothing);
    };
    let is_inline = form == "inline";
    if !matches!(groups, "hg" | "sg" | "bv") || !matches!(form, "inline" | "table") {
        return Ok(Of::Nothing);
    }
    let wrong = |why: String| format!("`{pattern}` in {{groups(…)}}: {why}");
    let regex = lua_pattern::to_regex(pattern).map_err(wrong)?;
    let regex = Regex::new(&regex).map_err(|why| wrong(why.to_string()))?;
    Ok(Of::Groups(groups.to_owned(), is_inline, regex))
}
