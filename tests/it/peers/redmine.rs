//! A real Redmine on an SQLite database of its own, one for all tests.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value as Json;
use tempfile::TempDir;

use super::{Peer, answers, need, run};

const SEED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/redmine/seed.rb");
/// Where Debian's package puts it.
const INSTALLED: &str = "/usr/share/redmine";
/// Issues that one answer may hold.
const PAGE_ROWS: &str = "100";

/// Keys of the users that the seed makes.
pub const ADMIN_KEY: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// Member of the project `test`.
pub const FLOWBOT_KEY: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
/// Member of nothing.
pub const OUTSIDER_KEY: &str = "cccccccccccccccccccccccccccccccccccccccc";
/// Member of the project `ops`.
pub const OPSBOT_KEY: &str = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
/// Nobody's.
pub const UNKNOWN_KEY: &str = "dddddddddddddddddddddddddddddddddddddddd";

/// A running Redmine.
pub struct Redmine {
    _peer: Peer,
    _folder: TempDir,
    /// `http://127.0.0.1:PORT`
    pub url: String,
}

/// The one that all tests share; it ends with the tests' process.
pub fn shared() -> &'static Redmine {
    static SHARED: OnceLock<Redmine> = OnceLock::new();
    SHARED.get_or_init(Redmine::start)
}

impl Redmine {
    fn start() -> Redmine {
        need("redmine");
        let folder = tempfile::Builder::new()
            .prefix("vigie-redmine-")
            .tempdir()
            .unwrap();
        install(folder.path());
        let mut rake = rails(folder.path(), "ruby");
        run(rake.args(["-S", "bundle", "exec", "rake", "-s", "db:migrate"]));
        run(rails(folder.path(), "bin/rails").args(["runner", SEED]));
        let mut puma = rails(folder.path(), "puma");
        // it says which port it got; a port chosen beforehand may be somebody else's by then
        puma.args([
            "--bind",
            "tcp://127.0.0.1:0",
            "--threads",
            "1:4",
            "config.ru",
        ]);
        let mut peer = Peer::start("puma", &puma, folder.path());
        let url = peer.wait("the address", |peer| {
            let log = peer.log();
            let (_, rest) = log.split_once("Listening on ")?;
            Some(
                rest.lines()
                    .next()
                    .filter(|_| rest.contains('\n'))?
                    .trim()
                    .to_owned(),
            )
        });
        let url = url.unwrap_or_else(|| panic!("Redmine ended:\n{}", peer.log()));
        peer.wait("the first page", |_| {
            answers(&format!("{url}/projects.json"))
        });
        Redmine {
            _peer: peer,
            _folder: folder,
            url,
        }
    }

    /// Asks as the administrator.
    pub fn get(&self, path: &str) -> Json {
        let request = ureq::get(format!("{}{path}", self.url));
        let mut answer = request
            .header("x-redmine-api-key", ADMIN_KEY)
            .call()
            .unwrap();
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
    }

    /// All issues, closed ones too, that carry this key in the field `dedup_key`; asked without
    /// our own verbs, and compared here.
    pub fn issues(&self, dedup_key: &str) -> Vec<Json> {
        let page = self.get(&format!("/issues.json?status_id=*&limit={PAGE_ROWS}"));
        let all = page["issues"].as_array().unwrap();
        assert_eq!(
            page["total_count"],
            all.len(),
            "more issues than one page has"
        );
        let mine = |issue: &&Json| issue["custom_fields"][0]["value"] == dedup_key;
        all.iter().filter(mine).cloned().collect()
    }
}

/// A writable copy whose only instance is ours.
fn install(folder: &Path) {
    let app = folder.join("app");
    run(Command::new("cp").args(["-rP", INSTALLED]).arg(&app));
    // links to the system's instances
    std::fs::remove_file(app.join("instances")).unwrap();
    std::fs::remove_file(app.join("Gemfile.lock")).unwrap();
    let _ = std::fs::remove_file(app.join("config/database.yml"));
    std::fs::copy("/var/lib/redmine/Gemfile.lock", app.join("Gemfile.lock")).unwrap();
    let instance = app.join("instances/default");
    for inside in ["config", "log", "files", "tmp", "public/plugin_assets"] {
        std::fs::create_dir_all(instance.join(inside)).unwrap();
    }
    let shown = instance.display();
    let database = format!(
        "production:\n  adapter: sqlite3\n  database: {shown}/redmine.sqlite3\n  timeout: 10000\n  encoding: utf8\n"
    );
    let configuration = format!(
        "default:\n  email_delivery:\n    delivery_method: :test\n  attachments_storage_path: {shown}/files\n"
    );
    std::fs::write(instance.join("config/secret_key.txt"), "0".repeat(64)).unwrap();
    std::fs::write(instance.join("config/database.yml"), database).unwrap();
    std::fs::write(instance.join("config/configuration.yml"), &configuration).unwrap();
    std::fs::write(app.join("config/configuration.yml"), &configuration).unwrap();
}

fn rails(folder: &Path, program: &str) -> Command {
    let app = folder.join("app");
    let mut command = Command::new(program);
    command
        .current_dir(&app)
        .env("RAILS_ENV", "production")
        .env("REDMINE_INSTANCE", "default")
        .env("REDMINE_LANG", "en")
        .env("LANG", "C.UTF-8")
        .env("SCHEMA", "/dev/null")
        .env("BUNDLE_GEMFILE", app.join("Gemfile"));
    command
}
