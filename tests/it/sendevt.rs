//! sendevt as a process: arguments, bytes on the wire, exit codes, retries, secrets.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vigie::sender::{Conf, Server, spool};

use crate::post_stand_in::{Reply, StandIn};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kompira");

/// A monitored host: an empty working folder, an empty environment, a spool.
struct Host {
    folder: TempDir,
    env: Vec<(&'static str, String)>,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Host {
    fn new() -> Host {
        Host {
            folder: tempfile::tempdir().unwrap(),
            env: Vec::new(),
        }
    }

    fn env(mut self, name: &'static str, value: impl Into<String>) -> Host {
        self.env.push((name, value.into()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    fn spool(&self) -> PathBuf {
        self.path("spool")
    }

    fn spooled(&self) -> Vec<spool::Spooled> {
        let listing = spool::list(&self.spool()).unwrap();
        assert!(listing.odd.is_empty());
        let read = |path: &PathBuf| spool::read(path).unwrap();
        listing.events.iter().map(read).collect()
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("TZ", "Asia/Tokyo")
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs sendevt with `--spool` and these arguments.
    fn sendevt<S: AsRef<OsStr>>(&self, args: &[S], stdin: &[u8]) -> Said {
        let mut command = self.command(env!("CARGO_BIN_EXE_sendevt"));
        command.arg("--spool").arg(self.spool()).args(args);
        finish(command, stdin)
    }

    /// Everything that the host's files and outputs hold, but for the files named.
    fn everything(&self, but: &[&str]) -> Vec<u8> {
        let mut all = Vec::new();
        collect(self.folder.path(), but, &mut all);
        all
    }
}

fn collect(folder: &Path, but: &[&str], all: &mut Vec<u8>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, but, all);
        } else if !but.iter().any(|name| path.ends_with(name)) {
            all.extend(fs::read(&path).unwrap());
        }
    }
}

fn finish(mut command: Command, stdin: &[u8]) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A sender that does not read its input is no mistake.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn os(args: &[&[u8]]) -> Vec<OsString> {
    let one = |arg: &&[u8]| OsStr::from_bytes(arg).to_owned();
    args.iter().map(one).collect()
}

fn recorded(name: &str) -> Vec<u8> {
    fs::read(Path::new(DATA).join(name)).unwrap()
}

#[test]
fn key_value_arguments_become_the_json_that_kompira_sends() {
    let rows: &[(&[&[u8]], &str)] = &[
        (
            &[b"test=hello", b"status=PROBLEM"],
            r#"{"test": "hello", "status": "PROBLEM"}"#,
        ),
        (&[b"k=v=w"], r#"{"k": "v=w"}"#),
        (&[b"dup=1", b"x=y", b"dup=2"], r#"{"dup": "2", "x": "y"}"#),
        (&[b"key="], r#"{"key": ""}"#),
        (&[b"=v"], r#"{"": "v"}"#),
        (&[b""], "{}"),
        (&[b"", b"a=b", b""], r#"{"a": "b"}"#),
        (
            &[b"a b=c d", b"dot.key=1"],
            r#"{"a b": "c d", "dot.key": "1"}"#,
        ),
        (
            &[b"q=\"x\"", b"nl=l1\nl2\t\r\\"],
            r#"{"q": "\"x\"", "nl": "l1\nl2\t\r\\"}"#,
        ),
        (
            &[b"c=\x01\x08\x0c\x1b\x7f"],
            r#"{"c": "\u0001\b\f\u001b\u007f"}"#,
        ),
        (
            &["msg=日本語 障害".as_bytes(), b"n=1"],
            r#"{"msg": "\u65e5\u672c\u8a9e \u969c\u5bb3", "n": "1"}"#,
        ),
        (&["m=😀".as_bytes()], r#"{"m": "\ud83d\ude00"}"#),
        (&[b"m=\xff\xfeabc"], r#"{"m": "\udcff\udcfeabc"}"#),
        (
            &[b"m=\xe6\x97", b"\x80=x"],
            r#"{"m": "\udce6\udc97", "\udc80": "x"}"#,
        ),
        (&[b"m=\xed\xa0\x80"], r#"{"m": "\udced\udca0\udc80"}"#),
        (&[b"--", b"-k=v", b"--x=y"], r#"{"-k": "v", "--x": "y"}"#),
        (&[b"a=b", b"--", b"-k=v"], r#"{"a": "b", "-k": "v"}"#),
        (
            &[b"--encoding", b"cp932", "m=日".as_bytes()],
            r#"{"m": "\u65e5"}"#,
        ),
        (&[b"a=b", b"--site-id", b"7"], r#"{"a": "b"}"#),
    ];
    for (args, expected) in rows {
        let (host, server) = (Host::new(), StandIn::start(&[]));
        let mut line = os(&[b"-s", server.url().as_bytes()]);
        line.extend(os(args));
        let said = host.sendevt(&line, b"standard input is not looked at");
        assert_eq!(
            (said.code, said.out.as_str(), said.err.as_str()),
            (0, "", ""),
            "{line:?}"
        );
        assert_eq!(server.only().text(), *expected);
        assert_eq!(server.only().header("content-type"), "application/json");
    }
}

#[test]
fn zabbix_recipe_gives_the_recorded_bytes() {
    let (host, server) = (Host::new(), StandIn::start(&[]));
    let args = [
        "-s",
        &server.url(),
        "status=PROBLEM",
        "severity=4",
        "hostname=web01",
        "trigger_name=CPU load too high",
        "trigger_key=system.cpu.load[all,avg1]",
        "detail=system.cpu.load[all,avg1]: 5.21",
    ];
    assert_eq!(host.sendevt(&args, b"").code, 0);
    assert_eq!(server.only().body, recorded("zabbix.01.body.bin"));
}

#[test]
fn wrong_arguments_exit_2_and_send_nothing() {
    let rows: &[(&[&str], &str)] = &[
        (&["noval"], "error: invalid message"),
        (&["a=b", "noval"], "error: invalid message"),
        (&["--", "a=b", "--"], "error: invalid message"),
        (&["a=b", "--dry-run", "c=d"], "unrecognized arguments: c=d"),
        (
            &["a=b", "--site-id", "1", "c=d", "e=f"],
            "unrecognized arguments: c=d e=f",
        ),
        (&["a=b", "-t", "--", "c=d"], "unrecognized arguments: c=d"),
        (
            &["--no-such-option", "a=b"],
            "unrecognized arguments: --no-such-option",
        ),
        (&["--ssl-c", "x", "a=b"], "unrecognized arguments: --ssl-c"),
        (&["--max-retry", "many", "a=b"], "--max-retry"),
        (&["--site-id", "1.5", "a=b"], "--site-id"),
        (&["--channel"], "--channel"),
        (&["--channel", "", "a=b"], "--channel"),
        (&["--timeout", "0", "a=b"], "--timeout"),
        (&["--timeout", "nan", "a=b"], "--timeout"),
        (&["--flush-spool", "a=b"], "--flush-spool"),
    ];
    for (args, expected) in rows {
        let server = StandIn::start(&[]);
        let host = Host::new().env("VIGIE_SERVER", server.url());
        let said = host.sendevt(args, b"");
        assert_eq!(said.code, 2, "{args:?}: {}", said.err);
        assert!(said.err.contains(expected), "{args:?}: {}", said.err);
        assert!(said.err.starts_with("usage: sendevt "), "{}", said.err);
        assert_eq!(said.out, "");
        assert!(server.requests().is_empty() && !host.spool().exists());
    }
}

#[test]
fn options_may_be_shortened_and_repeated() {
    let server = StandIn::start(&[]);
    let host = Host::new();
    let url = server.url();
    let args = [
        "--se",
        "http://127.0.0.1:1",
        "--ser",
        &url,
        "--chan=x",
        "--site",
        "3",
        "k=v",
        "--retry",
        "1",
        "--max-r=-1",
        "--no-ssl",
        "--ssl",
        "--no-ssl-v",
        "--debug",
        "--ch",
        "Alert",
    ];
    let said = host.sendevt(&args, b"");
    assert_eq!(said.code, 0, "{}", said.err);
    let request = server.only();
    assert_eq!(request.line, "POST /api/v1/channels/Alert/events HTTP/1.1");
    assert_eq!(request.header("x-vigie-site-id"), "3");
}

#[test]
fn standard_input_is_sent_byte_for_byte() {
    let big = vec![b'x'; 300_000];
    let trap = recorded("snmptrap.01.body.bin");
    let mail = recorded("mail.01.body.bin");
    let bodies: [&[u8]; 7] = [
        b"",
        b"hello\nworld\n",
        b"\xff\xfe\0raw\x80",
        b"\r\n\0",
        &big,
        &trap,
        &mail,
    ];
    for body in bodies {
        let (host, server) = (Host::new(), StandIn::start(&[]));
        let said = host.sendevt(&["-s", &server.url()], body);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        assert_eq!(server.only().body, body);
        assert_eq!(
            server.only().header("content-type"),
            "application/octet-stream"
        );
    }
}

/// Options, LANG, standard input, exit code, and the text sent or said.
type Decoding = (
    &'static [&'static str],
    &'static str,
    &'static [u8],
    i32,
    &'static str,
);

#[test]
fn decode_stdin_sends_text_and_refuses_what_is_none() {
    let rows: &[Decoding] = &[
        (&[], "", "h\u{e9}\n".as_bytes(), 0, "h\u{e9}\n"),
        (&[], "C", "h\u{e9}\n".as_bytes(), 0, "h\u{e9}\n"),
        (&[], "ja_JP.eucJP", b"\xc6\xfc\xcb\xdc", 0, "日本"),
        (
            &["--encoding", "cp932"],
            "",
            b"\x93\xfa\x96\x7b\n",
            0,
            "日本\n",
        ),
        (&["--encoding", "Shift_JIS"], "C", b"\x93\xfa", 0, "日"),
        (&[], "", b"", 0, ""),
        (&[], "", b"\xff\xfe", 2, "invalid message"),
        (
            &["--encoding", "euc_jp"],
            "",
            b"\xff\xff",
            2,
            "invalid message",
        ),
        (
            &["--encoding", "klingon"],
            "",
            b"x",
            1,
            "unknown encoding `klingon`",
        ),
    ];
    for (args, lang, stdin, code, expected) in rows {
        let server = StandIn::start(&[]);
        let host = Host::new().env("LANG", *lang);
        let mut line = vec!["--decode-stdin", "-s"];
        let url = server.url();
        line.push(&url);
        line.extend(*args);
        let said = host.sendevt(&line, stdin);
        assert_eq!(said.code, *code, "{args:?} {stdin:?}: {}", said.err);
        if *code == 0 {
            assert_eq!(server.only().text(), *expected);
            assert_eq!(
                server.only().header("content-type"),
                "text/plain; charset=utf-8"
            );
        } else {
            assert!(said.err.contains(expected), "{}", said.err);
            assert!(server.requests().is_empty());
        }
    }
}

#[test]
fn closed_standard_input_exits_1_and_an_empty_one_is_an_event() {
    let (host, server) = (Host::new(), StandIn::start(&[]));
    let closed = |redirect: &str| {
        let mut command = host.command("/bin/sh");
        let line = format!("exec \"$0\" \"$@\" {redirect}");
        command.args([
            "-c",
            &line,
            env!("CARGO_BIN_EXE_sendevt"),
            "-s",
            &server.url(),
        ]);
        finish(command, b"")
    };
    let said = closed("<&-");
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(server.requests().is_empty());
    assert_eq!(closed("</dev/null").code, 0);
    assert_eq!(server.only().body, b"");
}

#[test]
fn the_request_tells_who_what_and_when() {
    let (host, server) = (Host::new(), StandIn::start(&[]));
    let token = host.file("token", "vigie_canary\n");
    let args = [
        "-s",
        &format!("{}/base/", server.url()),
        "--token-file",
        &token,
        "--channel",
        "/home/guest/テスト 1",
        "k=v",
    ];
    assert_eq!(host.sendevt(&args, b"").code, 0);
    let request = server.only();
    let segment = "%2Fhome%2Fguest%2F%E3%83%86%E3%82%B9%E3%83%88%201";
    assert_eq!(
        request.line,
        format!("POST /base/api/v1/channels/{segment}/events HTTP/1.1")
    );
    assert_eq!(request.header("authorization"), "Bearer vigie_canary");
    assert_eq!(request.header("x-vigie-source"), "sendevt");
    assert_eq!(request.header("x-vigie-site-id"), "1");
    assert_eq!(request.header("x-vigie-meta"), "");
    assert!(uuid::Uuid::try_parse(request.header("idempotency-key")).is_ok());
    let sent_at = request.header("x-vigie-sent-at");
    assert!(sent_at.ends_with("+09:00"), "{sent_at}");
    let sent_at: jiff::Timestamp = sent_at.parse().unwrap();
    assert!(
        jiff::Timestamp::now().duration_since(sent_at).abs() < jiff::SignedDuration::from_mins(1)
    );
}

#[test]
fn dry_run_shows_kompiras_json_and_sends_nothing() {
    let server = StandIn::start(&[]);
    let host = Host::new().env("VIGIE_SERVER", server.url());
    let args = [
        "--dry-run",
        "-s",
        "mq.example",
        "--password",
        "canary",
        "--ssl",
        "-p",
        "5671",
        "test=hello",
        "m=日本\"",
        "b=\u{1}",
    ];
    let said = host.sendevt(&args, b"");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let at = said.out.find("\"timestamp\": \"").unwrap() + 14;
    let stamp = &said.out[at..at + 26];
    assert!(
        jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S.%f", stamp).is_ok(),
        "{stamp}"
    );
    let expected = r#"{
  "amqp_opts": {
    "server": "mq.example",
    "port": 5671,
    "user": null,
    "password": "***",
    "ssl": true,
    "ssl_verify": false,
    "ssl_cacertfile": null,
    "ssl_certfile": null,
    "ssl_keyfile": null,
    "max_retry": 3,
    "retry_interval": 30
  },
  "application header": {
    "site_id": 1,
    "channel": "/system/channels/Alert",
    "timestamp": "STAMP"
  },
  "message_dict": {
    "test": "hello",
    "m": "日本\"",
    "b": "\u0001"
  }
}
"#;
    assert_eq!(said.out, expected.replace("STAMP", stamp));
    assert!(server.requests().is_empty() && !host.spool().exists());
}

#[test]
fn dry_run_shows_standard_input_as_a_python_literal() {
    let long = vec![b'a'; 301];
    let shown_long = format!("b'{}'... (length=301)", "a".repeat(300));
    let rows: &[(&[&str], &[u8], &str)] = &[
        (&[], b"hello\n\t\r\\", r"b'hello\n\t\r\\'"),
        (&[], b"it's", r#"b"it's""#),
        (&[], b"'\"", r#"b'\'"'"#),
        (&[], b"\x00\xff\x7f", r"b'\x00\xff\x7f'"),
        (&[], b"", "b''"),
        (&[], &long, &shown_long),
        (&["--decode-stdin"], "日本\n".as_bytes(), "日本\n"),
    ];
    for (args, stdin, expected) in rows {
        let mut line = vec!["--dry-run"];
        line.extend(*args);
        let said = Host::new().sendevt(&line, stdin);
        let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(json["message_body"], *expected);
    }
}

#[test]
fn conf_files_are_merged_and_the_command_line_wins() {
    let host = Host::new();
    let first = host.path("a.conf");
    let second = host.path("b.conf");
    fs::write(&first, "\u{feff}# c\n[amqp-connection]\nserver = one\nUser: u1\nport=1\n[event]\nchannel = a\n  b\n\n; d\n[logging]\nlogdir=50%\n").unwrap();
    fs::write(&second, "[amqp-connection]\nserver = %(user)s.%(zone)s%%\nmax_retry = 7\nssl = YES\n[DEFAULT]\nzone = z\n[unknown]\nx = y\n").unwrap();
    let conf = Conf::read(&[first, second]).unwrap();
    let text = |section, key| conf.text(section, key);
    assert_eq!(text("amqp-connection", "server").unwrap().unwrap(), "u1.z%");
    assert_eq!(text("amqp-connection", "port").unwrap().unwrap(), "1");
    assert_eq!(text("event", "channel").unwrap().unwrap(), "a\nb");
    assert_eq!(text("event", "zone").unwrap().unwrap(), "z");
    assert_eq!(text("nowhere", "zone").unwrap(), None);
    assert_eq!(conf.int("amqp-connection", "max_retry").unwrap(), Some(7));
    assert_eq!(conf.switch("amqp-connection", "ssl").unwrap(), Some(true));
    assert!(text("logging", "logdir").unwrap_err().contains("lone `%`"));

    let server = StandIn::start(&[]);
    host.file("kompira.conf", &format!("[amqp-connection]\nserver = {}\n[event]\nchannel = from_conf\n[kompira]\nsite_id = 5\n", server.url()));
    assert_eq!(host.sendevt(&["k=v"], b"").code, 0);
    assert_eq!(
        host.sendevt(&["--channel", "from_line", "k=v"], b"").code,
        0
    );
    let requests = server.requests();
    assert!(requests[0].line.contains("/from_conf/"));
    assert_eq!(requests[0].header("x-vigie-site-id"), "5");
    assert!(requests[1].line.contains("/from_line/"));
}

#[test]
fn wrong_conf_exits_1_and_names_the_place() {
    let rows = [
        ("[amqp-connection]\nport = x\n", "port"),
        ("[amqp-connection]\nport = 70000\n", "port"),
        ("[amqp-connection]\nssl =\n", "ssl"),
        ("[amqp-connection]\nssl_verify = maybe\n", "ssl_verify"),
        ("[amqp-connection]\nmax_retry = 3.5\n", "max_retry"),
        ("[amqp-connection]\npassword = 50%\n", "lone `%`"),
        ("[amqp-connection]\nserver = %(nothing)s\n", "nothing"),
        ("[amqp-connection]\nserver = %(server)s\n", "without end"),
        ("[kompira]\nsite_id = one\n", "site_id"),
        ("[logging]\nloglevel = LOUD\n", "LOUD"),
        ("[logging]\nlogmaxsz = big\n", "logmaxsz"),
        ("server = x\n", "x.conf:1"),
        ("[amqp-connection]\nserver\n", "x.conf:2"),
        ("[event]\nchannel = a\nchannel = b\n", "x.conf:3"),
        ("[event]\n[event]\n", "x.conf:2"),
        ("[amqp-connection]\nserver = http://\n", "no server URL"),
    ];
    for (conf, expected) in rows {
        let server = StandIn::start(&[]);
        let host = Host::new().env("VIGIE_SERVER", server.url());
        let file = host.file("x.conf", conf);
        let said = host.sendevt(&["-c", &file, "k=v"], b"");
        assert_eq!(said.code, 1, "{conf:?}: {}", said.err);
        assert!(said.err.contains(expected), "{conf:?}: {}", said.err);
        assert!(server.requests().is_empty());
    }
    let said = Host::new().sendevt(&["-c", "missing.conf", "k=v"], b"");
    assert_eq!(said.code, 1);
    assert!(said.err.contains("missing.conf"), "{}", said.err);
}

#[test]
fn an_explicit_conf_replaces_the_search() {
    let host = Host::new();
    host.file("kompira.conf", "[amqp-connection]\nmax_retry = wrong\n");
    let other = host.file("other.conf", "[event]\nchannel = other\n");
    let said = host.sendevt(&["-c", &other, "--dry-run", "k=v"], b"");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("\"channel\": \"other\""));
}

#[test]
fn the_server_is_found_in_the_documented_order() {
    let (line, conf, variable, settings) = (
        StandIn::start(&[]),
        StandIn::start(&[]),
        StandIn::start(&[]),
        StandIn::start(&[]),
    );
    let mut host = Host::new();
    let toml = host.file(
        "house.toml",
        &format!(
            "data = 5\nwrong_key = [1]\n[http]\nlisten = \"0.0.0.0:{}\"\n[[token]]\n",
            settings.port
        ),
    );
    host.env.push(("VIGIE_SETTINGS", toml));
    let send = |host: &Host, args: &[&str]| {
        let said = host.sendevt(args, b"");
        assert_eq!(said.code, 0, "{}", said.err);
    };
    send(&host, &["k=settings"]);
    host.env.push(("VIGIE_SERVER", variable.url()));
    send(&host, &["k=variable"]);
    let file = host.file(
        "c.conf",
        &format!("[amqp-connection]\nserver = {}\n", conf.url()),
    );
    send(&host, &["-c", &file, "k=conf"]);
    send(&host, &["-c", &file, "-s", &line.url(), "k=line"]);
    send(
        &host,
        &[
            "-s",
            "http://127.0.0.1/",
            "-p",
            &line.port.to_string(),
            "k=port",
        ],
    );
    assert_eq!(settings.only().text(), r#"{"k": "settings"}"#);
    assert_eq!(variable.only().text(), r#"{"k": "variable"}"#);
    assert_eq!(conf.only().text(), r#"{"k": "conf"}"#);
    assert_eq!(line.requests().len(), 2);
}

#[test]
fn settings_tell_the_own_url_and_the_spool() {
    let rows = [
        ("", "http://127.0.0.1:8780", "data/spool"),
        (
            "[http]\nlisten = \"0.0.0.0:1\"\n",
            "http://127.0.0.1:1",
            "data/spool",
        ),
        (
            "data = \"d\"\n[http]\nlisten = \"[::]:1\"\n",
            "http://[::1]:1",
            "d/spool",
        ),
        (
            "[http]\nlisten = \":1\"\ntls_cert = \"\"\n",
            "http://127.0.0.1:1",
            "data/spool",
        ),
        (
            "[http]\ntls_cert = \"c\"\n",
            "https://127.0.0.1:8780",
            "data/spool",
        ),
        (
            "[spool]\nfolder = \"s\"\n[x]\ny = 1\n",
            "http://127.0.0.1:8780",
            "s",
        ),
        ("not [ toml", "http://127.0.0.1:8780", "data/spool"),
    ];
    for (text, url, spool) in rows {
        let mut host = Host::new();
        fs::create_dir(host.path("etc")).unwrap();
        let file = host.file("etc/house.toml", text);
        host.env.push(("VIGIE_SETTINGS", file));
        let mut command = host.command(env!("CARGO_BIN_EXE_sendevt"));
        command.arg("-t");
        let said = finish(command, b"");
        assert_eq!(said.code, 0, "{}", said.err);
        let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(json["amqp-connection"]["server"], url);
        let shared = Path::new("/var/spool/vigie");
        if !(spool.starts_with("d") && shared.is_dir()) {
            let expected = host.path("etc").join(spool).display().to_string();
            assert_eq!(json["vigie"]["spool"], expected);
        }
        assert_eq!(
            said.err.contains("warning"),
            text.starts_with("not"),
            "{}",
            said.err
        );
    }
}

#[test]
fn https_servers_are_verified_unless_told_otherwise() {
    let pem = |name: &str| format!("{}/tests/data/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let authority = pem("ca.pem");
    let rows: &[(&[&str], bool)] = &[
        (&["--ssl-cacertfile", &authority], true),
        (&["--no-ssl-verify"], true),
        (&[], false),
        (&["--no-ssl-verify", "--ssl-verify"], false),
    ];
    for (args, accepted) in rows {
        let (host, server) = (
            Host::new(),
            StandIn::tls(&pem("server.pem"), &pem("server.key")),
        );
        let url = format!("https://0.0.0.0:{}", server.port);
        let mut line = vec!["-s", &url, "k=v"];
        line.extend(*args);
        let begun = Instant::now();
        let said = host.sendevt(&line, b"");
        assert_eq!(said.code, 0, "{}", said.err);
        assert_eq!(
            server.requests().len(),
            usize::from(*accepted),
            "{}",
            said.err
        );
        assert_eq!(host.spool().exists(), !accepted);
        assert!(
            begun.elapsed() < Duration::from_secs(9),
            "a wrong certificate is not tried again"
        );
    }
    let said = Host::new().sendevt(
        &[
            "-s",
            "https://x",
            "--ssl-cacertfile",
            &pem("server.key"),
            "k=v",
        ],
        b"",
    );
    assert_eq!(said.code, 1);
    assert!(said.err.contains("holds no certificate"), "{}", said.err);
}

#[test]
fn server_urls_are_read_strictly() {
    let good = [
        ("http://127.0.0.1:8780", "http://127.0.0.1:8780", true),
        ("HTTP://localhost/", "http://localhost", true),
        ("http://[::1]:8780/x/", "http://[::1]:8780/x", true),
        (
            "http://[::ffff:127.0.0.1]",
            "http://[::ffff:127.0.0.1]",
            true,
        ),
        ("https://vigie.example", "https://vigie.example", false),
        ("https://[2001:db8::1]:1", "https://[2001:db8::1]:1", false),
        (
            "http://localhost.example",
            "http://localhost.example",
            false,
        ),
    ];
    for (url, base, own) in good {
        let server = Server::parse(url, None).unwrap();
        assert_eq!((server.base(), server.is_own_host()), (base, own));
    }
    assert_eq!(
        Server::parse("http://a", Some(7)).unwrap().base(),
        "http://a:7"
    );
    assert_eq!(
        Server::parse("http://[::1]", Some(7)).unwrap().base(),
        "http://[::1]:7"
    );
    for url in [
        "",
        "localhost",
        "ftp://a",
        "http://",
        "http://a/?q=1",
        "http://a#b",
        "http://a b",
    ] {
        assert!(Server::parse(url, None).is_err(), "{url}");
    }
    let why = Server::parse("http://user:canary@a", None).unwrap_err();
    assert!(!why.contains("canary"), "{why}");
}

#[test]
fn ipv6_servers_are_reached() {
    let Some(server) = StandIn::on("::1", &[]) else {
        return; // this machine has no IPv6
    };
    let said = Host::new().sendevt(&["-s", &server.url(), "k=v"], b"");
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(
        server.only().header("host"),
        format!("[::1]:{}", server.port)
    );
}

#[test]
fn a_refused_event_exits_1_with_the_servers_reason_and_is_not_kept() {
    let rows = [
        (
            400,
            r#"{"error":{"code":"json","message":"not\u001b[31m JSON"}}"#,
            "JSON",
        ),
        (
            401,
            r#"{"error":{"code":"token","message":"token unknown"}}"#,
            "token unknown",
        ),
        (403, "no", "no"),
        (404, "", "no reason given"),
        (413, "{}", "413"),
    ];
    for (status, body, expected) in rows {
        for remote in [false, true] {
            let (host, server) = (Host::new(), StandIn::start(&[Reply::Status(status, body)]));
            let url = if remote {
                server.remote_url()
            } else {
                server.url()
            };
            let said = host.sendevt(&["-s", &url, "k=v"], b"");
            assert_eq!(said.code, 1, "{}", said.err);
            assert!(
                said.err.contains(expected) && said.err.contains(&status.to_string()),
                "{}",
                said.err
            );
            assert!(!said.err.contains('\u{1b}'));
            assert_eq!(server.requests().len(), 1);
            assert!(!host.spool().exists());
        }
    }
}

#[test]
fn own_host_is_tried_once_and_then_the_event_is_spooled() {
    let replies = [
        Reply::Status(503, "full"),
        Reply::Status(500, ""),
        Reply::Status(429, ""),
        Reply::Status(408, ""),
        Reply::Status(200, "<html>not ours</html>"),
        Reply::Status(302, ""),
        Reply::HangUp,
        Reply::Never,
    ];
    for reply in replies {
        let (host, server) = (Host::new(), StandIn::start(&[reply]));
        let said = host.sendevt(&["-s", &server.url(), "--timeout", "0.5", "k=v"], b"");
        assert_eq!((said.code, said.out.as_str()), (0, ""), "{}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
        assert!(said.err.contains("kept in "), "{}", said.err);
        let request = server.only();
        let spooled = host.spooled();
        assert_eq!(spooled.len(), 1);
        let post = &spooled[0].post;
        assert_eq!(post.body, request.body);
        assert_eq!(post.correlation_id, request.header("idempotency-key"));
        assert_eq!(post.received_at, request.header("x-vigie-sent-at"));
        assert_eq!(
            (post.channel.as_str(), post.source.as_str()),
            ("/system/channels/Alert", "sendevt")
        );
        assert_eq!(post.site_id(), Some("1"));
    }
}

#[test]
fn a_silent_own_host_costs_no_more_than_four_seconds() {
    let (host, server) = (Host::new(), StandIn::start(&[Reply::Never]));
    let begun = Instant::now();
    let said = host.sendevt(&["-s", &server.url(), "k=v"], b"");
    assert_eq!(said.code, 0);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(took > Duration::from_secs(2), "{took:?}");
}

#[test]
fn remote_servers_are_retried_with_the_same_id_and_then_spooled() {
    let away = Reply::Status(503, "");
    let rows: &[(&[&str], usize)] = &[
        (&["--max-retry", "2", "--retry-interval", "1"], 3),
        (&["--max-retry", "0"], 1),
        (&["--retry-interval", "0"], 1),
        (&["--max-retry", "-1", "--retry-interval", "-5"], 1),
    ];
    for (args, tries) in rows {
        let (host, server) = (Host::new(), StandIn::start(&vec![away.clone(); 9]));
        let url = server.remote_url();
        let mut line = vec!["-s", &url, "k=v"];
        line.extend(*args);
        let said = host.sendevt(&line, b"");
        assert_eq!(said.code, 0, "{}", said.err);
        let requests = server.requests();
        assert_eq!(requests.len(), *tries, "{args:?}");
        let id = &host.spooled()[0].post.correlation_id;
        assert!(
            requests
                .iter()
                .all(|request| request.header("idempotency-key") == id)
        );
        assert!(*tries == 1 || said.err.matches("Failed to send event: ").count() == *tries);
    }
}

#[test]
fn a_negative_max_retry_goes_on_until_the_server_is_back() {
    let away = [
        Reply::Status(500, ""),
        Reply::HangUp,
        Reply::Status(429, ""),
    ];
    let (host, server) = (Host::new(), StandIn::start(&away));
    let args = [
        "-s",
        &server.remote_url(),
        "--max-retry=-1",
        "--retry-interval",
        "1",
        "k=v",
    ];
    assert_eq!(host.sendevt(&args, b"").code, 0);
    assert_eq!(server.requests().len(), 4);
    assert!(!host.spool().exists());
}

#[test]
fn nothing_kept_exits_75() {
    let host = Host::new();
    host.file("spool", "a file, not a folder");
    let said = host.sendevt(&["-s", "http://127.0.0.1:1", "k=v"], b"");
    assert_eq!(said.code, 75, "{}", said.err);
    assert!(said.err.contains("not kept"), "{}", said.err);
    let args = ["-s", "127.0.0.1:1", "--max-retry", "0", "k=v"];
    let said = host.sendevt(&args, b"");
    assert_eq!(said.code, 75, "{}", said.err);
}

#[test]
fn another_server_value_means_amqp() {
    for (server, shown) in [
        ("localhost", "amqp://localhost:5672"),
        ("127.0.0.1", "amqp://127.0.0.1:5672"),
        ("::1", "amqp://[::1]:5672"),
        ("[::1]:5", "amqp://[::1]:5"),
        ("127.0.0.9", "amqps://127.0.0.9:5671"),
        ("mq.example:7", "amqps://mq.example:7"),
        ("amqp://mq.example", "amqp://mq.example:5672"),
        ("amqps://localhost/", "amqps://localhost:5671"),
    ] {
        let host = Host::new();
        let shown_by = |args: &[&str]| {
            let said = host.sendevt(&[&["-t", "-s", server], args].concat(), b"");
            let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
            json["vigie"]["destination"].as_str().unwrap().to_owned()
        };
        assert_eq!(shown_by(&[]), shown, "{server}");
        let has_port = server.ends_with(":5") || server.ends_with(":7");
        assert_eq!(shown_by(&["--port", "9"]).ends_with(":9"), !has_port);
    }
    let host = Host::new();
    for server in [
        "amqp://u:canary@mq",
        "mq:x",
        "ftp://mq",
        "mq/x",
        "[::1",
        "a b",
        "amqp://",
    ] {
        let said = host.sendevt(&["-s", server, "k=v"], b"");
        assert_eq!(said.code, 1, "{server}");
        assert!(
            said.err.contains("broker") && !said.err.contains("canary"),
            "{}",
            said.err
        );
    }
}

#[test]
fn test_connection_asks_readyz_and_sends_nothing() {
    let (host, server) = (
        Host::new(),
        StandIn::start(&[Reply::Status(200, "ok"), Reply::Status(503, "starting")]),
    );
    let args = ["--test-connection", "-s", &server.url(), "not a pair"];
    let said = host.sendevt(&args, b"");
    assert_eq!((said.code, said.out.as_str()), (0, "Connection OK: HTTP\n"));
    let said = host.sendevt(&args, b"");
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.contains("starting"), "{}", said.err);
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.line == "GET /readyz HTTP/1.1")
    );
    assert_eq!(
        host.sendevt(&["--test-connection", "-s", "http://127.0.0.1:1"], b"")
            .code,
        1
    );
    assert_eq!(
        host.sendevt(&["--test-connection", "-s", "127.0.0.1:1"], b"")
            .code,
        1
    );
    assert!(!host.spool().exists());
}

#[test]
fn test_settings_shows_what_is_in_force() {
    let host = Host::new();
    let file = host.file(
        "x.conf",
        "[amqp-connection]\npassword = canary\nuser = u\n[logging]\nlogbackup = 2\n",
    );
    let said = host.sendevt(&["-c", &file, "-t", "--channel", "c"], b"");
    assert_eq!(said.code, 0, "{}", said.err);
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json["amqp-connection"]["password"], "***");
    assert_eq!(json["amqp-connection"]["user"], "u");
    assert_eq!(json["logging"]["logbackup"], 2);
    assert_eq!(json["event"]["channel"], "c");
    assert_eq!(json["vigie"]["spool"], host.spool().display().to_string());
    assert!(!said.out.contains("canary"));
}

#[test]
fn version_and_help_say_what_they_are_called() {
    let host = Host::new();
    let link = host.path("kompira_sendevt");
    symlink(env!("CARGO_BIN_EXE_sendevt"), &link).unwrap();
    let run = |arg: &str| {
        let mut command = host.command(&link);
        command.arg(arg);
        finish(command, b"")
    };
    let said = run("--version");
    assert_eq!(
        (said.code, said.out),
        (
            0,
            format!("kompira_sendevt (vigie {})\n", env!("CARGO_PKG_VERSION"))
        )
    );
    let said = run("--help");
    assert_eq!(said.code, 0);
    assert!(said.out.contains("Usage: kompira_sendevt ") && said.out.contains("Examples:"));
    assert!(
        run("noval")
            .err
            .contains("kompira_sendevt: error: invalid message")
    );
}

#[test]
fn the_log_has_ids_and_sizes_but_no_body_and_is_not_for_everyone() {
    let (host, server) = (Host::new(), StandIn::start(&[]));
    fs::create_dir(host.path("log")).unwrap();
    let logdir = host.path("log").display().to_string();
    let args = ["-s", &server.url(), "--logdir", &logdir, "k=canary_body"];
    assert_eq!(host.sendevt(&args, b"").code, 0);
    let log = host.path("log/kompira_sendevt.log");
    let text = fs::read_to_string(&log).unwrap();
    let id = server.only().header("idempotency-key").to_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].contains(":MainProcess] INFO: start: size=20, "),
        "{text}"
    );
    assert!(
        lines[0].ends_with(&format!("site_id=1, corr_id={id}")),
        "{text}"
    );
    assert!(
        lines[1].ends_with(&format!("finished: sent message successfully: {id}")),
        "{text}"
    );
    assert!(!text.contains("canary_body"));
    assert_eq!(
        fs::metadata(&log).unwrap().permissions().mode() & 0o7777,
        0o640
    );

    let rotate = [
        "-s",
        &server.url(),
        "--logdir",
        &logdir,
        "--logmaxsz",
        "10",
        "--logbackup",
        "2",
        "k=v",
    ];
    for _ in 0..3 {
        assert_eq!(host.sendevt(&rotate, b"").code, 0);
    }
    let names = fs::read_dir(host.path("log")).unwrap().count();
    assert_eq!(names, 3, "the log and two older ones");

    let said = host.sendevt(
        &["-s", &server.url(), "--logdir", "/nowhere/at/all", "k=v"],
        b"",
    );
    assert_eq!(said.code, 0);
    assert!(
        said.err.contains("warning: cannot log to /nowhere/at/all"),
        "{}",
        said.err
    );
}

#[test]
fn a_password_or_token_is_never_shown_or_written() {
    let server = StandIn::start(&[Reply::Status(401, "{}"), Reply::Status(503, "")]);
    let host = Host::new();
    let token = host.file("token", "canary_token");
    let conf = host.file("x.conf", "[amqp-connection]\npassword = canary_conf\n");
    fs::create_dir(host.path("log")).unwrap();
    let logdir = host.path("log").display().to_string();
    let common = [
        "-c",
        &conf,
        "--logdir",
        &logdir,
        "--loglevel",
        "DEBUG",
        "--token-file",
        &token,
    ];
    let url = server.url();
    let calls: &[&[&str]] = &[
        &["-s", &url, "k=v"],
        &["-s", &url, "k=v", "--debug"],
        &["-s", &url, "k=v", "--password", "canary_line", "--debug"],
        &["-s", &url, "--password=canary_line", "--dry-run", "k=v"],
        &["--password=canary_line", "-t"],
        &["--password=canary_line", "noval"],
        &["--password=canary_line", "--port=x", "k=v"],
        &[
            "-s",
            "127.0.0.1:1",
            "--max-retry",
            "0",
            "--password=canary_line",
            "--debug",
            "k=v",
        ],
        &["-s", "http://u:canary_url@127.0.0.1:1", "--debug", "k=v"],
        &["-s", "http://127.0.0.1:1", "--debug", "k=v"],
        &["--test-connection", "-s", &url, "--password=canary_line"],
        &["--flush-spool", "-s", &url, "--debug"],
    ];
    for call in calls {
        let mut args = common.to_vec();
        args.extend(*call);
        let said = host.sendevt(&args, b"");
        assert!(
            !said.out.contains("canary") && !said.err.contains("canary"),
            "{call:?}: {}{}",
            said.out,
            said.err
        );
    }
    let all = host.everything(&["token", "x.conf"]);
    assert!(!all.is_empty());
    assert!(!String::from_utf8_lossy(&all).contains("canary"));
    assert_eq!(
        server.requests()[0].header("authorization"),
        "Bearer canary_token"
    );
}

#[test]
fn an_unusable_token_file_exits_1() {
    let (host, server) = (Host::new(), StandIn::start(&[]));
    for text in ["", "two words", "caf\u{e9}", "line\nbreak"] {
        let file = host.file("token", text);
        let said = host.sendevt(&["-s", &server.url(), "--token-file", &file, "k=v"], b"");
        assert_eq!(said.code, 1, "{text:?}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn the_next_send_to_a_remote_server_forwards_what_waits() {
    let host = Host::new();
    for number in 0..3 {
        let args = ["-s", "http://127.0.0.1:1", &format!("n={number}")];
        assert_eq!(host.sendevt(&args, b"").code, 0);
    }
    let waiting: Vec<_> = host
        .spooled()
        .into_iter()
        .map(|spooled| spooled.post)
        .collect();
    let own = StandIn::start(&[]);
    assert_eq!(host.sendevt(&["-s", &own.url(), "n=own"], b"").code, 0);
    assert_eq!(
        own.requests().len(),
        1,
        "the own host's server takes the spool in by itself"
    );
    let remote = StandIn::start(&[]);
    let said = host.sendevt(&["-s", &remote.remote_url(), "n=new"], b"");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let requests = remote.requests();
    assert_eq!(requests.len(), 4);
    assert_eq!(requests[0].text(), r#"{"n": "new"}"#);
    for (post, request) in waiting.iter().zip(&requests[1..]) {
        assert_eq!(post.body, request.body, "oldest first");
        assert_eq!(post.correlation_id, request.header("idempotency-key"));
        assert_eq!(post.received_at, request.header("x-vigie-sent-at"));
        assert_eq!(request.header("x-vigie-site-id"), "1");
    }
    assert!(host.spooled().is_empty());
}

#[test]
fn flush_spool_forwards_everything_it_may() {
    let host = Host::new();
    for number in 0..4 {
        host.sendevt(&["-s", "http://127.0.0.1:1", &format!("n={number}")], b"");
    }
    fs::write(host.spool().join("notes.txt"), "mine").unwrap();
    let refuse = [
        Reply::Status(202, ""),
        Reply::Status(413, "too large"),
        Reply::Status(202, ""),
        Reply::Status(503, ""),
    ];
    let server = StandIn::start(&refuse);
    let said = host.sendevt(&["-s", &server.url(), "--flush-spool"], b"");
    assert_eq!(
        (said.code, said.out.as_str()),
        (1, "forwarded 2, left 2\n"),
        "{}",
        said.err
    );
    assert!(
        said.err.contains("too large") && said.err.contains("notes.txt"),
        "{}",
        said.err
    );
    let said = host.sendevt(&["-s", &server.url(), "--flush-spool"], b"");
    assert_eq!((said.code, said.out.as_str()), (0, "forwarded 1, left 0\n"));
    let mut names: Vec<String> = fs::read_dir(host.spool())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].ends_with(".event.refused") && names[1] == "notes.txt");
}

#[test]
fn a_wrong_token_stops_forwarding_and_loses_nothing() {
    let host = Host::new();
    for number in 0..2 {
        host.sendevt(&["-s", "http://127.0.0.1:1", &format!("n={number}")], b"");
    }
    let server = StandIn::start(&[Reply::Status(401, "")]);
    let said = host.sendevt(&["-s", &server.url(), "--flush-spool"], b"");
    assert_eq!((said.code, said.out.as_str()), (1, "forwarded 0, left 2\n"));
    assert_eq!(server.requests().len(), 1);
    assert_eq!(host.spooled().len(), 2);
}
