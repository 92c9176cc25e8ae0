//! A real InfluxDB 1.6, which can be killed and started again with what it has on disk.

use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use tempfile::TempDir;

use super::{Peer, answers, need, on_free_port};

/// Its administrator where it wants a login.
pub const ADMIN: (&str, &str) = ("admin", "pw");

/// A running InfluxDB with an empty database `m`.
pub struct InfluxDb {
    peer: Option<Peer>,
    folder: TempDir,
    port: u16,
    wants_login: bool,
}

impl InfluxDb {
    /// Without a login.
    pub fn start() -> InfluxDb {
        InfluxDb::of(false, "")
    }

    /// Wants a login: [`ADMIN`].
    pub fn with_login() -> InfluxDb {
        InfluxDb::of(true, "")
    }

    /// With further lines in the `[http]` section.
    pub fn of(wants_login: bool, http: &str) -> InfluxDb {
        need("influxdb");
        let folder = tempfile::Builder::new()
            .prefix("vigie-influxdb-")
            .tempdir()
            .unwrap();
        let (peer, port) = on_free_port(|port| {
            configure(folder.path(), port, (wants_login, http));
            run(folder.path(), port).map(|peer| (peer, port))
        });
        let influxdb = InfluxDb {
            peer: Some(peer),
            folder,
            port,
            wants_login,
        };
        if wants_login {
            let (user, password) = ADMIN;
            influxdb.tell(&format!(
                "CREATE USER {user} WITH PASSWORD '{password}' WITH ALL PRIVILEGES"
            ));
        }
        influxdb.tell("CREATE DATABASE m");
        influxdb
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it without a warning.
    pub fn kill(&mut self) {
        self.peer.take().unwrap().kill();
    }

    /// Starts it again on the same port, with what is on its disk.
    pub fn again(&mut self) {
        self.peer = Some(run(self.folder.path(), self.port).unwrap());
    }

    /// Has it carry out a statement.
    pub fn tell(&self, statement: &str) {
        self.query("POST", statement);
    }

    /// The series that a query gives.
    pub fn ask(&self, query: &str) -> Vec<Json> {
        let answer = self.query("GET", query);
        answer["results"][0]["series"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// How many points of a measurement have a field.
    pub fn count(&self, measurement: &str, field: &str) -> i64 {
        let query = format!("select count(\"{field}\") from \"{measurement}\"");
        let series = self.ask(&query);
        let first = series.first();
        first.map_or(0, |first| first["values"][0][1].as_i64().unwrap())
    }

    fn query(&self, method: &str, query: &str) -> Json {
        let encoded =
            percent_encoding::utf8_percent_encode(query, percent_encoding::NON_ALPHANUMERIC);
        let mut url = format!("{}/query?db=m&epoch=ns&q={encoded}", self.url());
        if self.wants_login {
            url += &format!("&u={}&p={}", ADMIN.0, ADMIN.1);
        }
        let answer = match method {
            "POST" => ureq::post(&url).send_empty(),
            _ => ureq::get(&url).call(),
        };
        let mut answer = answer.unwrap_or_else(|why| panic!("{query}: {why}"));
        let text = answer.body_mut().read_to_string().unwrap();
        let answer: Json = serde_json::from_str(&text).unwrap();
        let result = &answer["results"][0];
        assert!(result["error"].is_null(), "{query}: {text}");
        answer
    }
}

fn configure(folder: &Path, port: u16, (wants_login, http): (bool, &str)) {
    let at = folder.display();
    let text = format!(
        "reporting-disabled = true\nbind-address = \"127.0.0.1:0\"\n\
         [meta]\ndir = \"{at}/meta\"\n\
         [data]\ndir = \"{at}/data\"\nwal-dir = \"{at}/wal\"\nquery-log-enabled = false\n\
         [http]\nbind-address = \"127.0.0.1:{port}\"\nauth-enabled = {wants_login}\nlog-enabled = false\n{http}\n\
         [monitor]\nstore-enabled = false\n[continuous_queries]\nenabled = false\n"
    );
    std::fs::write(folder.join("influxdb.conf"), text).unwrap();
}

fn run(folder: &Path, port: u16) -> Result<Peer, String> {
    let mut command = Command::new("influxd");
    command
        .args(["run", "-config"])
        .arg(folder.join("influxdb.conf"));
    let mut peer = Peer::start("influxd", &command, folder);
    let ping = format!("http://127.0.0.1:{port}/ping");
    match peer.wait("an answer", |_| answers(&ping)) {
        Some(_) => Ok(peer),
        None => Err(peer.log()),
    }
}
