//! `influxdb::write` by the API of InfluxDB 1 (`/write`) or InfluxDB 2 (`/api/v2/write`).
//!
//! Invariants: a line counts as written only when a request with it was answered 204; every line
//! carries its time, so that writing it again makes no second point. One bad line never keeps the
//! others from being written.

mod answer;
mod line;
mod point;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize;

use self::point::Precision;
pub use self::point::line_of;
use super::{Action, Argument, Call, Performing, Repeat, Verb};
use crate::secret::Secret;

/// The `[influxdb]` section: `database` for InfluxDB 1, `bucket` for InfluxDB 2.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The address of InfluxDB.
    pub endpoint: String,
    /// InfluxDB 1: where points go that name no database.
    pub database: String,
    /// InfluxDB 1: the retention policy; empty means the database's own.
    pub retention_policy: String,
    /// InfluxDB 1: who writes; empty if it wants no login.
    pub user: String,
    /// The file with the user's password.
    pub password_file: Option<PathBuf>,
    /// Or the environment variable with it.
    pub password_env: Option<String>,
    /// InfluxDB 2: the organisation.
    pub org: String,
    /// InfluxDB 2: where points go that name no bucket.
    pub bucket: String,
    /// InfluxDB 2: the file with the token.
    pub token_file: Option<PathBuf>,
    /// Or the environment variable with it.
    pub token_env: Option<String>,
    /// What a whole number as `time` counts: `s`, `ms`, `us` or `ns`.
    pub precision: String,
    /// How long one request may take, such as `"30s"`.
    pub timeout: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            endpoint: "http://127.0.0.1:8086".to_owned(),
            database: String::new(),
            retention_policy: String::new(),
            user: String::new(),
            password_file: None,
            password_env: None,
            org: String::new(),
            bucket: String::new(),
            token_file: None,
            token_env: None,
            precision: "s".to_owned(),
            timeout: "30s".to_owned(),
        }
    }
}

/// Which API, and where points go there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Api {
    /// `POST /write`
    One {
        database: String,
        retention_policy: String,
    },
    /// `POST /api/v2/write`
    Two { org: String, bucket: String },
}

/// `[influxdb]` with its secret read, ready for use.
#[derive(Clone)]
pub struct Service {
    endpoint: String,
    api: Api,
    /// The whole header, if it wants one.
    authorization: Option<Secret>,
    /// The password or token alone, and what HTTP Basic makes of it: an answer might echo them.
    hidden: Vec<Secret>,
    precision: Precision,
    timeout: Duration,
}

impl fmt::Debug for Service {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("InfluxDb")
            .field("endpoint", &self.endpoint)
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// What nobody may see, not even where the target quotes it.
    pub(super) fn secrets(&self) -> &[Secret] {
        &self.hidden
    }

    /// Checks the settings and reads the secret; a relative path counts from `folder`.
    ///
    /// # Errors
    /// A sentence about the key that is wrong, missing or of the other version.
    pub fn prepare(settings: Settings, folder: &Path) -> Result<Service, String> {
        let secret = |key: &str, file: &Option<PathBuf>, env: &Option<String>| {
            let file = file.as_ref().map(|file| super::under(folder, file));
            Secret::from_settings(key, &file, env)
        };
        let password = secret("password", &settings.password_file, &settings.password_env)?;
        let token = secret("token", &settings.token_file, &settings.token_env)?;
        let api = api(&settings, password.is_some(), token.is_some())?;
        let authorization = match &api {
            Api::Two { .. } => token
                .as_ref()
                .map(|token| format!("Token {}", token.expose())),
            Api::One { .. } => basic(&settings.user, password.as_ref())?,
        };
        Ok(Service {
            endpoint: super::endpoint(&settings.endpoint)?,
            api,
            hidden: hidden(authorization.as_deref(), password.or(token)),
            authorization: authorization.map(Secret::new),
            precision: settings.precision.parse()?,
            timeout: super::timeout(&settings.timeout)?,
        })
    }
}

/// InfluxDB 1 or 2, by the keys that are there.
fn api(settings: &Settings, has_password: bool, has_token: bool) -> Result<Api, String> {
    let given = |text: &String| !text.trim().is_empty();
    let one = [
        ("database", given(&settings.database)),
        ("retention_policy", given(&settings.retention_policy)),
        ("user", given(&settings.user)),
        ("password_file", has_password),
    ];
    let two = [
        ("bucket", given(&settings.bucket)),
        ("org", given(&settings.org)),
        ("token_file", has_token),
    ];
    let first = |keys: &[(&'static str, bool)]| keys.iter().find(|key| key.1).map(|key| key.0);
    match (first(&one), first(&two)) {
        (Some(one), Some(two)) => Err(format!(
            "`{one}` is for InfluxDB 1 and `{two}` for InfluxDB 2; keep those of one of them"
        )),
        (None, None) => Err(
            "set `database` for InfluxDB 1, or `org`, `bucket` and `token_file` for InfluxDB 2"
                .to_owned(),
        ),
        (Some(_), None) if !given(&settings.database) => Err("set `database`".to_owned()),
        (Some(_), None) => Ok(Api::One {
            database: settings.database.clone(),
            retention_policy: settings.retention_policy.clone(),
        }),
        (None, Some(_)) => match two.iter().find(|key| !key.1) {
            Some(("token_file", _)) => Err("set token_file or token_env".to_owned()),
            Some((missing, _)) => Err(format!("set `{missing}`")),
            None => Ok(Api::Two {
                org: settings.org.clone(),
                bucket: settings.bucket.clone(),
            }),
        },
    }
}

/// The secret, and what stands in the header behind `Basic` or `Token`.
fn hidden(authorization: Option<&str>, secret: Option<Secret>) -> Vec<Secret> {
    let sent = authorization.and_then(|whole| whole.split_once(' '));
    let sent = sent.map(|(_, sent)| Secret::new(sent.trim_end_matches('=').to_owned()));
    sent.into_iter().chain(secret).collect()
}

/// The header of HTTP Basic; InfluxDB 1 knows nothing else.
fn basic(user: &str, password: Option<&Secret>) -> Result<Option<String>, String> {
    match (user.trim().is_empty(), password) {
        (true, None) => Ok(None),
        (true, Some(_)) => Err("a password without `user`".to_owned()),
        (false, None) => Err("set password_file or password_env".to_owned()),
        (false, Some(password)) => {
            let pair = format!("{user}:{}", password.expose());
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            Ok(Some(format!("Basic {pair}")))
        }
    }
}

/// `influxdb::*`
pub struct InfluxDb;

const VERBS: &[Verb] = &[Verb {
    name: "write",
    arguments: &[
        Argument::required("points", "map, line protocol, or a list of them"),
        Argument::optional("options", "map"),
    ],
    about: "writes points #{ measurement, tags, fields, time } or lines; an integer stays one, a field that is () is left out, time is a number in `precision` or RFC 3339 text and must be there; options precision and database, retention_policy (or org, bucket); gives #{ written, dropped: [#{ line, text, why }], dropped_count }; fails if nothing could be written",
    example: r#"influxdb::write(#{ measurement: "rta", tags: #{ host: "web01" }, fields: #{ value: 0.4 }, time: now() });"#,
    repeat: Repeat::Safe,
}];

impl Action for InfluxDb {
    fn name(&self) -> &'static str {
        "influxdb"
    }

    fn about(&self) -> &'static str {
        "writes points to InfluxDB 1 or 2"
    }

    fn verbs(&self) -> &'static [Verb] {
        VERBS
    }

    fn perform<'a>(&'a self, call: Call<'a>) -> Performing<'a> {
        Box::pin(write::write(call))
    }
}
