//! The few keys of settings.toml that a sender needs: where the server listens, where to spool.
//!
//! Everything else in the file is the server's business and is ignored, and so is a mistake: a
//! sender that stops because of a key it does not need would lose events.

use std::path::{Path, PathBuf};

use toml::Table;

use super::Caller;

/// Largest settings file that is read, in bytes.
const SETTINGS_BYTES_MAX: u64 = 1024 * 1024;
/// Where the server listens if settings do not say.
const LISTEN_DEFAULT: &str = "127.0.0.1:8780";
/// The spool of a packaged installation, used if it exists.
const SPOOL_SHARED: &str = "/var/spool/vigie";

/// What a sender takes from settings.toml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file read, if one was found.
    pub file: Option<PathBuf>,
    /// The own host's server, as a URL.
    pub url: String,
    /// The spool folder.
    pub spool: PathBuf,
}

impl Settings {
    /// Finds and reads settings: `explicit`, else `$VIGIE_SETTINGS`, `./settings.toml`,
    /// `/etc/vigie/settings.toml`. Without a file, or with an unreadable one (said on standard
    /// error), the defaults count from the working folder.
    pub fn find(explicit: Option<&Path>, caller: &mut Caller) -> Settings {
        let named = explicit
            .map(Path::to_owned)
            .or_else(|| caller.path("VIGIE_SETTINGS"));
        let known = ["settings.toml", "/etc/vigie/settings.toml"].map(PathBuf::from);
        let found = || known.iter().find(|file| file.is_file()).cloned();
        let Some(file) = named.or_else(found) else {
            return Settings::new(None, &Table::new());
        };
        let table = read(&file).unwrap_or_else(|why| {
            caller.say(&format!(
                "warning: cannot use settings {}: {why}",
                file.display()
            ));
            Table::new()
        });
        Settings::new(Some(file), &table)
    }

    fn new(file: Option<PathBuf>, table: &Table) -> Settings {
        let home = file
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(Path::new(""));
        let home = std::path::absolute(home).unwrap_or_else(|_| working_folder());
        let data = text(table, "data").unwrap_or("data");
        let shared = Path::new(SPOOL_SHARED);
        let spool = match section(table, "spool", "folder") {
            Some(folder) => home.join(folder),
            None if shared.is_dir() => shared.to_owned(),
            None => home.join(data).join("spool"),
        };
        Settings {
            url: own_url(table),
            file,
            spool,
        }
    }
}

fn working_folder() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}

fn read(file: &Path) -> Result<Table, String> {
    let size = std::fs::metadata(file).map_err(|why| why.to_string())?;
    if size.len() > SETTINGS_BYTES_MAX {
        return Err(format!("it is larger than {SETTINGS_BYTES_MAX} bytes"));
    }
    let text = std::fs::read_to_string(file).map_err(|why| why.to_string())?;
    text.parse::<Table>()
        .map_err(|why| format!("not TOML: {}", why.message()))
}

fn text<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.get(key)?.as_str().filter(|text| !text.is_empty())
}

fn section<'a>(table: &'a Table, name: &str, key: &str) -> Option<&'a str> {
    text(table.get(name)?.as_table()?, key)
}

/// The URL by which this host reaches its own server: a wildcard listener is asked on loopback.
fn own_url(table: &Table) -> String {
    let listen = section(table, "http", "listen").unwrap_or(LISTEN_DEFAULT);
    let listen = match listen.rsplit_once(':') {
        Some(("0.0.0.0" | "" | "*", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    };
    let is_tls = section(table, "http", "tls_cert").is_some();
    let scheme = if is_tls { "https" } else { "http" };
    format!("{scheme}://{listen}")
}
