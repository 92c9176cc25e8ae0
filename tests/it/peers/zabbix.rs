//! A real Zabbix server over a PostgreSQL of its own, set up by SQL as its web pages would: a host
//! with one trigger, and an action that tells of it in three ways.
//!
//! The templates that Zabbix ships are left away: loading them takes longer than everything else.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::nagios::open_folder;
use super::{Peer, need, on_free_port, run};
use crate::house::{PATIENCE, VIGIE};

const POSTGRES: &str = "/usr/lib/postgresql/15/bin";
/// Tables of Zabbix's own data that the server cannot do without.
const OWN_DATA: &str = "config|config_autoreg_tls|globalmacro|role|role_rule|users|usrgrp|users_groups|hstgrp|regexps|expressions";
/// What the trigger is called; a shell would make something of it.
pub const TRIGGER: &str = "App is down: \"quotes\" 'single' $HOME `id` 障害";

/// What an action tells, and how.
pub struct Telling<'a> {
    /// The JavaScript of the media type and of the script.
    pub script: &'a str,
    /// The parameters of the media type.
    pub media: &'a [(String, String)],
    /// The parameters of the action's own script.
    pub operation: &'a [(String, String)],
    /// A line for the shell.
    pub command: &'a str,
}

/// A running Zabbix.
pub struct Zabbix {
    server: Peer,
    // Outlives the server.
    _database: Peer,
    port: u16,
    _folder: TempDir,
}

impl Zabbix {
    /// With an action that tells of problems and recoveries. `/usr/bin/vigie` in its command is the
    /// binary under test.
    pub fn telling(telling: &Telling<'_>) -> Zabbix {
        need("zabbix");
        let folder = open_folder("vigie-zabbix-");
        let binary = folder.path().join("vigie");
        std::fs::copy(VIGIE, &binary).unwrap();
        let command = telling
            .command
            .replace("/usr/bin/vigie", binary.to_str().unwrap());
        let database = database(folder.path());
        let seed = seed(telling, &command);
        psql(folder.path(), &["-d", "zabbix"], &seed);
        let (server, port) = on_free_port(|port| start(folder.path(), port));
        Zabbix {
            server,
            _database: database,
            port,
            _folder: folder,
        }
    }

    /// Sends a value of the item that the trigger looks at, 0 is good; false if Zabbix does not know
    /// the item yet.
    pub fn send(&self, value: &str) -> bool {
        let answer = send(self.port, value);
        answer.is_some_and(|answer| answer.contains("processed: 1;"))
    }

    /// What it said.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

/// A command as `user`, if we are root and it must not be.
fn as_user(user: &str, program: &str) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={user}"), &format!("--regid={user}")]);
    command.args(["--init-groups", program]);
    command
}

fn database(folder: &Path) -> Peer {
    let data = folder.join("db");
    let mut initdb = as_user("postgres", &format!("{POSTGRES}/initdb"));
    initdb.args(["-A", "trust", "-U", "zabbix", "--no-sync", "-E", "UTF8"]);
    initdb.args(["--locale", "C.UTF-8", "-D"]).arg(&data);
    run(initdb.current_dir(folder));
    let mut postgres = as_user("postgres", &format!("{POSTGRES}/postgres"));
    postgres.arg("-D").arg(&data).arg("-k").arg(folder);
    // Only a socket in the folder, and nothing that makes it safe and slow.
    for setting in [
        "listen_addresses=",
        "fsync=off",
        "synchronous_commit=off",
        "full_page_writes=off",
        "shared_buffers=16MB",
    ] {
        postgres.args(["-c", setting]);
    }
    let mut peer = Peer::start("postgres", &postgres, folder);
    let up = peer.wait("its socket", |peer| {
        let is_up = peer.log().contains("ready to accept connections");
        is_up.then_some(())
    });
    up.unwrap_or_else(|| panic!("PostgreSQL ended:\n{}", peer.log()));
    psql(folder, &["-d", "postgres"], "create database zabbix;");
    let own = "/usr/share/zabbix-server-pgsql";
    let text = |file: &str, filter: &str| {
        let pipe = format!("zcat {own}/{file}.sql.gz | {filter}");
        run(Command::new("sh").args(["-c", &pipe]))
    };
    psql(folder, &["-1", "-d", "zabbix"], &text("schema", "cat"));
    let some = format!("grep -aE '^INSERT INTO ({OWN_DATA}) '");
    psql(folder, &["-1", "-d", "zabbix"], &text("data", &some));
    peer
}

fn psql(folder: &Path, options: &[&str], sql: &str) {
    let mut psql = Command::new("psql");
    psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-U", "zabbix", "-h"]);
    psql.arg(folder).args(options);
    let mut child = psql
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let sql = sql.to_owned();
    let writing = std::thread::spawn(move || input.write_all(sql.as_bytes()));
    let output = child.wait_with_output().unwrap();
    // A statement that fails closes the pipe; what it said tells more.
    let _ = writing.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

fn start(folder: &Path, port: u16) -> Result<(Peer, u16), String> {
    let at = folder.display();
    let config = format!(
        "LogType=console\nPidFile={at}/pid\nSocketDir={at}\nDBHost={at}\nDBName=zabbix\nDBUser=zabbix\n\
         ListenIP=127.0.0.1\nListenPort={port}\nStartPollers=1\nStartPollersUnreachable=1\nStartTrappers=1\n\
         StartPingers=0\nStartDiscoverers=0\nStartHTTPPollers=0\nStartPreprocessors=1\nStartEscalators=1\n\
         StartAlerters=1\nStartLLDProcessors=1\nStartHistoryPollers=1\nStartDBSyncers=1\nCacheSize=8M\n\
         CacheUpdateFrequency=1\nTimeout=10\n"
    );
    std::fs::write(folder.join("zabbix.conf"), config).unwrap();
    let mut command = Command::new("zabbix_server");
    command.arg("-f").arg("-c").arg(folder.join("zabbix.conf"));
    let mut peer = Peer::start("zabbix", &command, folder);
    let up = peer.wait("an answer", |_| send(port, "0"));
    match up {
        Some(_) => Ok((peer, port)),
        None => Err(peer.log()),
    }
}

/// What `zabbix_sender` says, and what is answered.
fn send(port: u16, value: &str) -> Option<String> {
    let data = serde_json::json!([{ "host": "web01", "key": "app.status", "value": value }]);
    let asked = serde_json::json!({ "request": "sender data", "data": data }).to_string();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream
        .set_write_timeout(Some(Duration::from_secs(5)))
        .ok()?;
    let mut message = b"ZBXD\x01".to_vec();
    message.extend((asked.len() as u64).to_le_bytes());
    message.extend(asked.as_bytes());
    stream.write_all(&message).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    (!text.is_empty()).then_some(text)
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn seed(telling: &Telling<'_>, command: &str) -> String {
    let (script, trigger, command) = (text(telling.script), text(TRIGGER), text(command));
    let mut sql = format!(
        "insert into hosts (hostid, host, name, status, description) values (9001, 'web01', 'Web One', 0, '');
         insert into hosts_groups (hostgroupid, hostid, groupid) values (9001, 9001, 2);
         insert into items (itemid, type, hostid, name, key_, delay, value_type, status, history, trends, params, description, posts, headers)
            values (9001, 2, 9001, 'App status', 'app.status', '0', 3, 0, '7d', '0', '', '', '', '');
         insert into item_rtdata (itemid) values (9001);
         insert into triggers (triggerid, expression, description, priority, status, comments, opdata, event_name, recovery_mode, recovery_expression)
            values (9001, '{{9001}}<>0', {trigger}, 4, 0, '', 'status is {{ITEM.LASTVALUE1}}', '', 0, '');
         insert into functions (functionid, itemid, triggerid, name, parameter) values (9001, 9001, 9001, 'last', '$');
         insert into scripts (scriptid, name, command, type, execute_on, scope, timeout)
            values (9001, 'hook', {script}, 5, 2, 1, '10s'), (9002, 'command', {command}, 0, 1, 1, '30s');
         insert into media_type (mediatypeid, type, name, status, script, description, timeout)
            values (9001, 4, 'vigie', 0, {script}, '', '10s');
         insert into media (mediaid, userid, mediatypeid, sendto) values (9001, 1, 9001, 'vigie');
         insert into actions (actionid, name, eventsource, evaltype, status, esc_period, formula) values (9001, 'tell', 0, 0, 0, '1h', '');
         insert into operations (operationid, actionid, operationtype, recovery)
            values (9001, 9001, 0, 0), (9002, 9001, 0, 1), (9003, 9001, 1, 0), (9004, 9001, 1, 1), (9005, 9001, 1, 0), (9006, 9001, 1, 1);
         insert into opmessage (operationid, default_msg, subject, message, mediatypeid)
            values (9001, 0, 'Problem', 'x', 9001), (9002, 0, 'Resolved', 'x', 9001);
         insert into opmessage_usr (opmessage_usrid, operationid, userid) values (9001, 9001, 1), (9002, 9002, 1);
         insert into opcommand (operationid, scriptid) values (9003, 9001), (9004, 9001), (9005, 9002), (9006, 9002);
         insert into opcommand_hst (opcommand_hstid, operationid, hostid)
            values (9003, 9003, null), (9004, 9004, null), (9005, 9005, null), (9006, 9006, null);\n"
    );
    for (table, id, owner, parameters) in [
        (
            "media_type_param",
            "mediatype_paramid",
            "mediatypeid",
            telling.media,
        ),
        (
            "script_param",
            "script_paramid",
            "scriptid",
            telling.operation,
        ),
    ] {
        for (index, (name, value)) in parameters.iter().enumerate() {
            let (name, value) = (text(name), text(value));
            let number = 9001 + index;
            sql.push_str(&format!(
                "insert into {table} ({id}, {owner}, name, value) values ({number}, 9001, {name}, {value});\n"
            ));
        }
    }
    sql
}
