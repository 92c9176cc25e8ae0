//! Traps: our own door beside a real snmptrapd that hands each to `vigie trap`, or to a handler of
//! the shell or in Python that writes it to a file and nothing else.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::Plan;
use super::house::{House, PATIENCE, Running, VIGIE, scratch};
use super::peer::{program, spawn};
use super::report::{Figure, Report, Table, count};
use super::statistics::milliseconds;

/// A burst as a switch sends it that loses its links.
const BURST: usize = 2_000;
/// Traps one after another that even the slowest way has room for.
const STEADY: usize = 100;
/// When nothing more came for so long, nothing more comes.
const SILENCE: Duration = Duration::from_secs(3);

/// Traps a second that our door must keep.
const PER_SECOND_MIN: f64 = 20_000.0;

/// Appends what it reads to a file; the least that a handler can do.
const SHELL: &str = r#"#!/bin/sh
set -f
echo $(cat) >> "$1"
"#;
const PYTHON: &str = r#"
import sys
with open(sys.argv[1], "a") as kept:
    kept.write(sys.stdin.read().replace("\n", " ") + "\n")
"#;

/// What one way did.
struct Row {
    way: &'static str,
    /// Of a burst.
    kept: usize,
    /// Milliseconds in which the burst was sent.
    sent_in: f64,
    /// In steady work.
    per_second: f64,
}

/// How many traps arrived so far.
type Count<'a> = &'a dyn Fn() -> usize;

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let mut rows = vec![native(plan)];
    match program("snmptrapd") {
        Ok(snmptrapd) => rows.extend([
            through_vigie_trap(&snmptrapd),
            through_handler(
                &snmptrapd,
                "snmptrapd with a shell handler",
                ("/bin/sh", SHELL),
            ),
            through_handler(
                &snmptrapd,
                "snmptrapd with a Python handler",
                ("/usr/bin/python3", PYTHON),
            ),
        ]),
        Err(why) => report.missing("traps per second", "snmptrapd", &why),
    }
    tell(report, &rows);
    let row = |row: &Row| {
        vec![
            row.way.to_owned(),
            format!("{} of {BURST}", row.kept),
            format!("{:.0} ms", row.sent_in),
            format!("{}/s", count(row.per_second)),
        ]
    };
    report.tables.push(Table {
        title: "**SNMP traps, version 2c, over loopback**".to_owned(),
        columns: vec!["way", "kept of a burst", "sent in", "steady"],
        rows: rows.iter().map(row).collect(),
    });
}

fn tell(report: &mut Report, rows: &[Row]) {
    let Some((ours, peers)) = rows.split_first() else {
        return;
    };
    report.add(Figure {
        what: "traps per second into flushed channels".to_owned(),
        ours: format!("{}/s", count(ours.per_second)),
        aim: format!("≥ {}/s", count(PER_SECOND_MIN)),
        met: Some(ours.per_second >= PER_SECOND_MIN),
        ..Figure::default()
    });
    let burst = format!("of a burst of {BURST} traps at full speed, kept");
    report.add(Figure {
        what: burst.clone(),
        ours: format!("{} (sent in {:.0} ms)", ours.kept, ours.sent_in),
        aim: "all".to_owned(),
        met: Some(ours.kept == BURST),
        ..Figure::default()
    });
    for peer in peers {
        let rate = ours.per_second / peer.per_second;
        report.add(Figure {
            what: "traps per second into flushed channels".to_owned(),
            ours: format!("{}/s", count(ours.per_second)),
            peer: format!("{}: {:.0}/s", peer.way, peer.per_second),
            ratio: format!("{rate:.0}×"),
            factor: Some(rate),
            ..Figure::default()
        });
        report.add(Figure {
            what: burst.clone(),
            ours: ours.kept.to_string(),
            peer: format!("{}: {}", peer.way, peer.kept),
            ratio: format!("{:.1}×", ours.kept as f64 / peer.kept.max(1) as f64),
            factor: Some(ours.kept as f64 / peer.kept.max(1) as f64),
            ..Figure::default()
        });
    }
}

fn native(plan: &Plan) -> Row {
    let (house, port) = (House::new(), free_port());
    let block = format!("[[source]]\nkind = \"snmp\"\nlisten = \"127.0.0.1:{port}\"\n");
    house.file("channels/snmptrap.toml", &block);
    let server = house.serve();
    let count = || kept(&server);
    let (burst, sent_in) = burst(port, &count);
    let before = count();
    let began = Instant::now();
    let rounds = plan.pick(20, 5);
    for round in 1..=rounds {
        send(port, BURST);
        await_count(&count, before + round * BURST);
    }
    Row {
        way: "vigie's own door",
        kept: burst,
        sent_in,
        per_second: (rounds * BURST) as f64 / began.elapsed().as_secs_f64(),
    }
}

fn through_vigie_trap(snmptrapd: &Path) -> Row {
    let house = House::new();
    house.file("channels/snmptrap.toml", "");
    let server = house.serve();
    let spool = house.path("spool");
    let (url, spool) = (server.url(), spool.display());
    let handler = format!("{VIGIE} trap --channel snmptrap --server {url} --spool {spool}");
    let way = "snmptrapd with `vigie trap`";
    through(snmptrapd, (way, &handler), &|| kept(&server))
}

fn through_handler(snmptrapd: &Path, way: &'static str, (what, text): (&str, &str)) -> Row {
    let folder = scratch();
    let (script, file) = (folder.path().join("handler"), folder.path().join("kept"));
    std::fs::write(&script, text).unwrap();
    let handler = format!("{what} {} {}", script.display(), file.display());
    let lines = || std::fs::read_to_string(&file).map_or(0, |text| text.lines().count());
    through(snmptrapd, (way, &handler), &lines)
}

fn through(snmptrapd: &Path, (way, handler): (&'static str, &str), count: Count<'_>) -> Row {
    let (folder, port) = (scratch(), free_port());
    let config = folder.path().join("snmptrapd.conf");
    let text = format!("authCommunity log,execute,net public\ntraphandle default {handler}\n");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(snmptrapd);
    command
        .env("MIBS", "")
        .env("SNMP_PERSISTENT_DIR", folder.path().join("state"))
        .args(["-f", "-C", "-On", "-Lf", "/dev/null", "-c"])
        .arg(&config)
        .arg(format!("udp:127.0.0.1:{port}"));
    let _snmptrapd = spawn(&mut command).unwrap();
    let began = Instant::now();
    // It is up once it hands on the first.
    while count() == 0 {
        assert!(began.elapsed() < PATIENCE, "{way}: no trap arrives");
        send(port, 1);
        std::thread::sleep(Duration::from_millis(200));
    }
    settled(count);
    let (kept, sent_in) = burst(port, count);
    let (before, began) = (count(), Instant::now());
    send(port, STEADY);
    await_count(count, before + STEADY);
    Row {
        way,
        kept,
        sent_in,
        per_second: STEADY as f64 / began.elapsed().as_secs_f64(),
    }
}

/// How many of a burst arrive, and milliseconds in which it was sent.
fn burst(port: u16, count: Count<'_>) -> (usize, f64) {
    let before = count();
    let began = Instant::now();
    send(port, BURST);
    let sent_in = milliseconds(began.elapsed());
    (settled(count) - before, sent_in)
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
    server.metric("vigie_events_total{channel=\"snmptrap\"}")
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
