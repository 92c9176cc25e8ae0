//! Statuses of a Centreon Broker: decoded alone, and through the door with filter and disk, beside
//! a Lua script that does the filter's work on tables which somebody else decoded.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use vigie::source::bbdo::decode::decode;
use vigie::source::bbdo::frame::Deframer;

use super::Plan;
use super::broker;
use super::house::{House, Running, free_port, scratch};
use super::peer::{processor_time, program, resident_mebibytes};
use super::report::{Figure, Report, Table, count};
use super::statistics::median;

const SCRIPT: &str = include_str!("centreon.lua");
/// Hosts whose statuses come.
const HOSTS: u64 = 1_000;
/// Of a hundred statuses, so many matter.
const SHARES: &[u64] = &[1, 100];
/// What is kept: hard problems of hosts that are no experiment.
const FILTER: &str = "[source.filter]\naccepted_elements = [\"service_status\"]\n\
    service_status = [1, 2, 3]\nrejected_hostgroups = [\"Laboratory\"]\n\
    hard_only = true\nacknowledged = false\nin_downtime = false\nflapping = false\n\
    skip_anon_events = true\nskip_nil_id = true\n";
/// How many bytes are handed over at once.
const PIECE: usize = 64 * 1024;

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let lua = program("lua5.3");
    if let Err(why) = &lua {
        report.missing("a Centreon Broker's statuses, filtered", "Lua 5.3", why);
    }
    let decoded = decoded(plan);
    report.add(Figure {
        what: "a Centreon Broker's statuses, decoded by one thread".to_owned(),
        ours: format!("{}/s", count(decoded)),
        ..Figure::default()
    });
    let mut rows = Vec::new();
    for share in SHARES {
        let (mut ours, mut theirs, mut used) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..plan.pick(3, 1) {
            let (rate, processor) = through(plan, *share);
            ours.push(rate);
            used.push(processor);
            theirs.extend(lua.as_ref().map(|lua| filtered(lua, plan, *share)));
        }
        let mut row = tell(report, *share, (&ours, &theirs));
        row.insert(2, format!("{:.0} µs", median(&used)));
        rows.push(row);
    }
    report.tables.push(Table {
        title: "**A Centreon Broker's statuses of services** (BBDO 3, one connection)".to_owned(),
        columns: vec![
            "that matter",
            "vigie: decoded, filtered, on disk",
            "its processor per event",
            "Lua 5.3: filtered only",
        ],
        rows,
    });
    memory(plan, report);
}

fn statuses(plan: &Plan) -> u64 {
    plan.pick(200_000, 30_000)
}

fn bytes(plan: &Plan, share: u64) -> Vec<u8> {
    let one = |number| broker::status(number, (HOSTS, share));
    (0..statuses(plan)).flat_map(one).collect()
}

/// Events a second out of bytes.
fn decoded(plan: &Plan) -> f64 {
    let bytes = bytes(plan, 100);
    let mut rates = Vec::new();
    for _ in 0..3 {
        let (mut deframer, mut events) = (Deframer::default(), 0_u64);
        let began = Instant::now();
        for piece in bytes.chunks(PIECE) {
            deframer.push(piece);
            while let Some(frame) = deframer.take().unwrap() {
                assert!(decode(&frame).error.is_none());
                events += 1;
            }
        }
        assert_eq!(events, statuses(plan));
        rates.push(events as f64 / began.elapsed().as_secs_f64());
    }
    median(&rates)
}

/// A house with a door for Brokers.
fn door() -> (House, SocketAddr) {
    let (house, port) = (House::new(), free_port());
    let block = format!("[[source]]\nkind = \"bbdo\"\nlisten = \"127.0.0.1:{port}\"\n{FILTER}");
    house.file("channels/centreon.toml", &block);
    (house, SocketAddr::from(([127, 0, 0, 1], port)))
}

fn kept(server: &Running) -> usize {
    server.metric("vigie_events_total{channel=\"centreon\"}")
}

/// Events a second through the real door, and microseconds of the processor for each.
fn through(plan: &Plan, share: u64) -> (f64, f64) {
    let (house, address) = door();
    let server = house.serve();
    let (names, definitions) = broker::definitions(HOSTS);
    broker::say(address, names, definitions);
    let (events, bytes) = (statuses(plan) as usize, bytes(plan, share));
    let before = processor_time(server.pid());
    let took = broker::say(address, bytes, events);
    let used = processor_time(server.pid()).saturating_sub(before);
    assert_eq!(kept(&server), events / 100 * share as usize);
    (
        events as f64 / took,
        used.as_secs_f64() * 1e6 / events as f64,
    )
}

/// Events a second that the script filters.
fn filtered(lua: &std::path::Path, plan: &Plan, share: u64) -> f64 {
    let folder = scratch();
    let script = folder.path().join("filter.lua");
    std::fs::write(&script, SCRIPT).unwrap();
    let events = statuses(plan);
    let mut command = Command::new(lua);
    command
        .arg(&script)
        .args([events.to_string(), share.to_string()]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text
        .split_whitespace()
        .map(|word| word.parse().unwrap_or(0_u64));
    let (rate, passed) = (words.next().unwrap_or(0), words.next());
    assert_eq!(passed, Some(events / 100 * share), "{output:?}");
    rate as f64
}

fn tell(report: &mut Report, share: u64, (ours, theirs): (&[f64], &[f64])) -> Vec<String> {
    let (own, peer) = (median(ours), median(theirs));
    let shown = |rates: &[f64]| {
        let rates: Vec<String> = rates.iter().map(|rate| count(*rate)).collect();
        rates.join(" · ")
    };
    let is_there = !theirs.is_empty();
    report.add(Figure {
        what: format!(
            "a Centreon Broker's statuses, decoded, filtered and on disk, {share} % matter"
        ),
        ours: format!("{}/s", count(own)),
        peer: match is_there {
            true => format!(
                "Lua 5.3, the filter alone on decoded tables: {}/s",
                count(peer)
            ),
            false => String::new(),
        },
        ratio: if is_there {
            format!("{:.3}×", own / peer)
        } else {
            String::new()
        },
        factor: is_there.then_some(own / peer),
        ..Figure::default()
    });
    vec![format!("{share} %"), shown(ours), shown(theirs)]
}

/// What the names of many services hold.
fn memory(plan: &Plan, report: &mut Report) {
    let services = plan.pick(100_000, 10_000);
    let (house, address) = door();
    let server = house.serve();
    let before = resident_mebibytes(server.pid());
    let (names, definitions) = broker::definitions(services / broker::SERVICES);
    let took = broker::say(address, names, definitions);
    std::thread::sleep(Duration::from_secs(2));
    let after = resident_mebibytes(server.pid());
    server.stop();
    let again = house.serve();
    std::thread::sleep(Duration::from_secs(2));
    report.add(Figure {
        what: format!(
            "resident memory with the names of {} services of {} hosts",
            count(services as f64),
            count((services / broker::SERVICES) as f64)
        ),
        ours: format!(
            "{after:.0} MiB ({before:.0} MiB without; {:.0} MiB after a start, ready in {:.0} ms; learnt in {took:.1} s)",
            resident_mebibytes(again.pid()),
            again.ready_after.as_secs_f64() * 1e3
        ),
        ..Figure::default()
    });
}
