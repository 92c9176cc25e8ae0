//! Traps: our own door beside a real snmptrapd that hands each to `vigie trap`, or to a handler in
//! Python that writes it to a file and nothing else.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Plan;
use super::house::{House, PATIENCE, Running, VIGIE, get, scratch, terminate};
use super::report::{Figure, Report, Table};

/// A burst as a switch sends it that loses its links.
const BURST: usize = 2_000;
/// Traps one after another that even the slowest way has room for.
const STEADY: usize = 200;
/// When nothing more came for so long, nothing more comes.
const SILENCE: Duration = Duration::from_secs(3);

/// Appends what it reads to a file; the least that a handler can do.
const HANDLER: &str = r#"
import sys
with open(sys.argv[1], "a") as kept:
    kept.write(sys.stdin.read().replace("\n", " ") + "\n")
"#;

/// What one way did.
struct Row {
    way: &'static str,
    /// Of a burst.
    kept: usize,
    /// In steady work.
    per_second: f64,
}

/// How many traps arrived so far.
type Count<'a> = &'a dyn Fn() -> usize;

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let mut rows = vec![native(plan)];
    let missing = match Path::new("/usr/sbin/snmptrapd").exists() {
        true => {
            rows.extend([through_vigie_trap(), through_python()]);
            None
        }
        false => Some("not installed: there is no snmptrapd"),
    };
    let ours = &rows[0];
    for peer in rows.iter().skip(1) {
        report.add(Figure {
            what: format!(
                "traps per second into flushed channels, beside {}",
                peer.way
            ),
            ours: format!("{:.0}/s", ours.per_second),
            peer: format!("{:.0}/s", peer.per_second),
            ratio: format!("{:.0}×", ours.per_second / peer.per_second),
            ..Figure::default()
        });
    }
    report.add(Figure {
        what: format!("of a burst of {BURST:?} traps at full speed, kept"),
        ours: ours.kept.to_string(),
        peer: rows.last().map_or(String::new(), |row| match missing {
            Some(missing) => missing.to_owned(),
            None => format!("{}: {}", row.way, row.kept),
        }),
        aim: "all".to_owned(),
        met: Some(ours.kept == BURST),
        ..Figure::default()
    });
    let row = |row: &Row| {
        let rate = format!("{:.0}/s", row.per_second);
        vec![row.way.to_owned(), format!("{} of {BURST}", row.kept), rate]
    };
    report.tables.push(Table {
        title: "**SNMP traps, version 2c, over loopback**".to_owned(),
        columns: vec!["way", "kept of a burst", "steady"],
        rows: rows.iter().map(row).collect(),
    });
}

fn native(plan: &Plan) -> Row {
    let (house, port) = (House::new(), free_port());
    let block = format!("[[source]]\nkind = \"snmp\"\nlisten = \"127.0.0.1:{port}\"\n");
    house.file("channels/snmptrap.toml", &block);
    let server = house.serve();
    let count = || kept(&server);
    let burst = burst(port, &count);
    let began = Instant::now();
    let rounds = plan.pick(20, 5);
    for round in 1..=rounds {
        send(port, BURST);
        await_count(&count, burst + round * BURST);
    }
    Row {
        way: "vigie's own door",
        kept: burst,
        per_second: (rounds * BURST) as f64 / began.elapsed().as_secs_f64(),
    }
}

fn through_vigie_trap() -> Row {
    let house = House::new();
    house.file("channels/snmptrap.toml", "");
    let server = house.serve();
    let spool = house.path("spool");
    let (url, spool) = (server.url(), spool.display());
    let handler = format!("{VIGIE} trap --channel snmptrap --server {url} --spool {spool}");
    through("snmptrapd with `vigie trap`", &handler, &|| kept(&server))
}

fn through_python() -> Row {
    let folder = scratch();
    let (script, file) = (folder.path().join("handler.py"), folder.path().join("kept"));
    std::fs::write(&script, HANDLER).unwrap();
    let handler = format!("/usr/bin/python3 {} {}", script.display(), file.display());
    let lines = || std::fs::read_to_string(&file).map_or(0, |text| text.lines().count());
    through("snmptrapd with a Python handler", &handler, &lines)
}

fn through(way: &'static str, handler: &str, count: Count<'_>) -> Row {
    let (folder, port) = (scratch(), free_port());
    let config = folder.path().join("snmptrapd.conf");
    let text = format!("authCommunity log,execute,net public\ntraphandle default {handler}\n");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("/usr/sbin/snmptrapd");
    command
        .env("MIBS", "")
        .env("SNMP_PERSISTENT_DIR", folder.path().join("state"))
        .args(["-f", "-C", "-On", "-Lf", "/dev/null", "-c"])
        .arg(&config)
        .arg(format!("udp:127.0.0.1:{port}"))
        .stdin(Stdio::null());
    let _snmptrapd = Ended(command.spawn().unwrap());
    // It is up once it hands on the first.
    while count() == 0 {
        send(port, 1);
        std::thread::sleep(Duration::from_millis(200));
    }
    settled(count);
    let kept = burst(port, count);
    let (before, began) = (count(), Instant::now());
    send(port, STEADY);
    await_count(count, before + STEADY);
    Row {
        way,
        kept,
        per_second: STEADY as f64 / began.elapsed().as_secs_f64(),
    }
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        terminate(&self.0);
        let _ = self.0.wait();
    }
}

/// How many of a burst arrive.
fn burst(port: u16, count: Count<'_>) -> usize {
    let before = count();
    send(port, BURST);
    settled(count) - before
}

/// Waits until nothing more comes; how many there are.
fn settled(count: Count<'_>) -> usize {
    let (mut last, mut since) = (count(), Instant::now());
    while since.elapsed() < SILENCE {
        std::thread::sleep(Duration::from_millis(50));
        let now = count();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

fn await_count(count: Count<'_>, wanted: usize) {
    let began = Instant::now();
    while count() < wanted {
        assert!(began.elapsed() < PATIENCE, "{} of {wanted}", count());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn kept(server: &Running) -> usize {
    let metrics = get(server.address, "/metrics");
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("vigie_events_total{channel=\"snmptrap\"} "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Sends so many traps as fast as the system takes them.
fn send(port: u16, count: usize) {
    // Version 2c, community public, sysUpTime.0, snmpTrapOID.0 linkDown, and one text.
    const TRAP: &[u8] = b"\x30\x54\x02\x01\x01\x04\x06public\xa7\x47\x02\x01\x01\x02\x01\0\x02\x01\0\
        \x30\x3c\x30\x0d\x06\x08\x2b\x06\x01\x02\x01\x01\x03\0\x43\x01\x01\
        \x30\x17\x06\x0a\x2b\x06\x01\x06\x03\x01\x01\x04\x01\0\x06\x09\x2b\x06\x01\x06\x03\x01\x01\x05\x03\
        \x30\x12\x06\x0a\x2b\x06\x01\x02\x01\x02\x02\x01\x02\x02\x04\x04eth1";
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    for _ in 0..count {
        // One that is not taken in time is lost, as on a network.
        let _ = socket.send(TRAP);
    }
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}
