//! Disks that are full or fail, under the real server: producers are told, nothing that was accepted
//! is lost, and intake goes on without a restart once the disk is well.
//!
//! Rounds: a disk full twice; 1 failing disk, 5 long. The disk is a small file system of its own (needs
//! root), the failures are the system's own errors, put in by strace.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use vigie::sender::spool;
use vigie::standin::{Reply, Seen, Server};

use super::{Ends, not_tried, rounds};
use crate::house::{House, Running, stderr, wait_for};
use crate::peers::need;

const ALERT: &str = "/api/v1/channels/alert/events";
const JSON: (&str, &str) = ("content-type", "application/json");

/// A small file system of its own, unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounted on an existing folder; `None` where nothing can be mounted.
    pub fn on(folder: &Path, size: &str) -> Option<SmallDisk> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder)
            .stderr(Stdio::null())
            .status();
        let mounted = mounted.is_ok_and(|status| status.success());
        mounted.then(|| SmallDisk(folder.to_owned()))
    }

    /// Changes its size.
    pub fn grow(&self, size: &str) {
        let grown = Command::new("mount")
            .args(["-o", &format!("remount,size={size}")])
            .arg(&self.0)
            .status();
        assert!(grown.unwrap().success());
    }

    /// Bytes that are free.
    fn free(&self) -> u64 {
        let disk = statvfs(&self.0).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// Somebody else's file that leaves `left` bytes free.
    pub fn fill(&self, left: u64) {
        let path = self.0.join("somebody_elses");
        let file = std::fs::File::create(path).unwrap();
        let mut most = self.free().saturating_sub(left);
        // The server writes meanwhile, so what was free is not always free still; what it frees is its own.
        while fallocate(&file, FallocateFlags::empty(), 0, most).is_err() {
            most -= 1 << 20;
        }
    }

    /// That file goes.
    pub fn empty(&self) {
        std::fs::remove_file(self.0.join("somebody_elses")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A target that is told of each event by its number, and the house that tells it.
struct Told {
    _outside: tokio::runtime::Runtime,
    target: Server,
    house: House,
}

impl Told {
    fn new() -> Told {
        let outside = tokio::runtime::Runtime::new().unwrap();
        let answer = |_: &Seen| Reply::json(200, &json!({}));
        let target = outside.block_on(Server::start(answer)).unwrap();
        let house = House::new();
        for channel in ["alert", "mail", "slow"] {
            house.channel(channel, "");
        }
        let tell = "http::put(\"TARGET/told\", #{ json: #{ n: event.n } });";
        house.flow("alert/tell", &tell.replace("TARGET", &target.url()));
        let steps = "for n in 0..20 { sleep(\"200ms\"); }\nprint(\"end\");";
        house.flow("slow/steps", steps);
        Told {
            _outside: outside,
            target,
            house,
        }
    }

    /// Every accepted number was told, each under one key.
    fn holds(&self, accepted: &[u64]) {
        let told = || {
            let seen = self.target.requests();
            let of = |seen: &Seen| {
                (
                    seen.json()["n"].as_u64(),
                    seen.header("idempotency-key").map(str::to_owned),
                )
            };
            let mut told: Vec<_> = seen.iter().map(of).collect();
            told.sort();
            told.dedup();
            told
        };
        wait_for("the last accepted event", || {
            let told = told();
            let has = |n: &u64| told.iter().any(|(told, _)| *told == Some(*n));
            accepted.iter().all(has).then_some(())
        });
        for n in accepted {
            let keys = told().iter().filter(|(told, _)| *told == Some(*n)).count();
            assert_eq!(keys, 1, "{n} was two events");
        }
    }
}

/// Posts number `n`; true if it was accepted. Any refusal must be the right one.
fn post(server: &Running, n: u64, weight: usize) -> Result<(), String> {
    let body = json!({ "n": n, "weight": "x".repeat(weight) }).to_string();
    let answered = server.ask(ALERT, &[JSON], Some(body.as_bytes()));
    if answered.status == 202 {
        return Ok(());
    }
    assert_eq!(answered.status, 503, "{answered:?}");
    assert_eq!(answered.headers["retry-after"], "5");
    assert_eq!(answered.json()["error"]["code"], "store_unavailable");
    Err(answered.text)
}

/// Numbers that were accepted, from several producers that never stop until told.
fn produce(server: &Running, first: u64, until: &AtomicBool) -> (Vec<u64>, usize) {
    let (next, accepted) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let refused = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !until.load(Ordering::SeqCst) {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    match post(server, n, 2_000) {
                        Ok(()) => accepted.lock().unwrap().push(n),
                        Err(_) => drop(refused.fetch_add(1, Ordering::SeqCst)),
                    }
                }
            });
        }
    });
    let refused = usize::try_from(refused.into_inner()).unwrap();
    (accepted.into_inner().unwrap(), refused)
}

/// What needs nothing of the disk.
fn still_answers(server: &Running) {
    for path in ["/healthz", "/api/v1/channels", "/metrics"] {
        assert_eq!(server.ask(path, &[], None).status, 200, "{path}");
    }
}

/// What `vigie send` does while events are turned away: it keeps them, and says ok.
fn send(house: &House, server: &Running) {
    let arguments = ["send", "--server", &server.url, "--channel", "mail", "a=1"];
    let output = house.run(&arguments);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// How often the store had to be opened again.
fn reopened(server: &Running) -> usize {
    server.log().matches("the store is opened again").count()
}

/// Fills the disk while producers send from number `first` on, until a commit has met it; the numbers
/// that were accepted.
fn meet_the_full_disk(server: &Running, disk: &SmallDisk, first: u64) -> Vec<u64> {
    let (stop, mut first, before) = (AtomicBool::new(false), first, reopened(server));
    let mut accepted = Vec::new();
    wait_for("a commit that meets the full disk", || {
        stop.store(false, Ordering::SeqCst);
        let (more, refused) = std::thread::scope(|scope| {
            let producing = scope.spawn(|| produce(server, first, &stop));
            let ends = Ends(&stop);
            disk.fill(0);
            let refusal = || post(server, first + 900_000, 10).is_err().then_some(());
            wait_for("a refusal", refusal);
            drop(ends);
            producing.join().unwrap()
        });
        accepted.extend(more);
        first += 1_000_000;
        let met = reopened(server) > before;
        if !met {
            disk.empty();
            wait_for("room", || post(server, first - 1, 10).ok());
        }
        (met && refused > 0).then_some(())
    });
    accepted
}

#[test]
fn producers_are_turned_away_while_the_disk_is_full_and_served_when_there_is_room() {
    let told = Told::new();
    let data = told.house.path("data");
    std::fs::create_dir(&data).unwrap();
    let Some(disk) = SmallDisk::on(&data, "256m") else {
        return not_tried("a full disk: no small file system can be mounted here");
    };
    let server = told.house.serve();
    let mut accepted: Vec<u64> = (1..=20).collect();
    for n in &accepted {
        post(&server, *n, 10).unwrap();
    }

    // Little room: no event comes in, all that runs goes on.
    server.push("slow", &json!({}));
    disk.fill(100 << 20);
    let why = wait_for("the first refusal", || {
        let n = accepted.last().unwrap() + 1;
        let posted = post(&server, n, 10);
        posted.map(|()| accepted.push(n)).err()
    });
    assert!(why.contains("MiB of disk are free"), "{why}");
    still_answers(&server);
    send(&told.house, &server);
    assert_eq!(
        spool::list(&told.house.path("spool")).unwrap().events.len(),
        1
    );
    assert_eq!(server.ended("slow/1/steps")["state"], "done");
    disk.empty();
    wait_for("intake after there is room", || {
        post(&server, 1_001, 10).ok()
    });
    accepted.push(1_001);

    // No room at all, found by the engine in the middle of a commit; the same process goes on.
    accepted.extend(meet_the_full_disk(&server, &disk, 10_000_000));
    still_answers(&server);
    disk.empty();
    wait_for("intake without a restart", || post(&server, 1_002, 10).ok());
    accepted.push(1_002);
    told.holds(&accepted);
    accepted.extend(meet_the_full_disk(&server, &disk, 100_000_000));
    still_answers(&server);

    // A restart on the full disk, by kill -9, loses nothing either.
    server.kill();
    let server = told.house.serve();
    still_answers(&server);
    disk.empty();
    wait_for("intake after there is room again", || {
        post(&server, 2_000, 10).ok()
    });
    accepted.push(2_000);
    told.holds(&accepted);
    wait_for("the spool", || {
        spool::list(&told.house.path("spool"))
            .unwrap()
            .events
            .is_empty()
            .then_some(())
    });
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert_eq!(server.stop(), Some(0));
    let checked = told.house.run(&["check", "--store"]);
    assert!(checked.status.success(), "{}", stderr(&checked));
}

/// strace at a running process, which puts errors into its system calls until dropped.
pub struct Fault(Child);

impl Fault {
    /// At a process; `options` say what of it is wanted.
    pub fn at(pid: u32, options: &[&str]) -> Fault {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid.to_string()]);
        command
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let fault = Fault(command.spawn().unwrap());
        wait_for("strace at every thread", || {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            let mut statuses = tasks.filter_map(|task| {
                std::fs::read_to_string(task.unwrap().path().join("status")).ok()
            });
            let all = statuses.all(|status| !status.contains("TracerPid:\t0\n"));
            all.then_some(())
        });
        fault
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // Interrupted, it lets the process go; killed, it might take it along.
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        let _ = kill_process(pid.unwrap(), Signal::INT);
        let _ = self.0.wait();
    }
}

/// Which calls fail: the flush of sled's file and of the ledger; its writes.
const FAILING: [&[&str]; 2] = [
    &["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"],
    &["-e", "trace=pwrite64", "-e", "inject=pwrite64:error=EIO"],
];

/// The disk begins to fail while producers send from number `first` on; the fault, and the numbers that
/// were accepted.
fn fail_under_load(server: &Running, options: &[&str], first: u64) -> (Fault, Vec<u64>) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let producing = scope.spawn(|| produce(server, first, &stop));
        let ends = Ends(&stop);
        let fault = Fault::at(server.pid(), options);
        let refusal = || post(server, first + 900_000, 10).is_err().then_some(());
        wait_for("a refusal", refusal);
        drop(ends);
        (fault, producing.join().unwrap().0)
    })
}

#[test]
fn a_disk_that_fails_stops_intake_with_the_reason_and_intake_goes_on_when_it_works() {
    need("faults");
    let told = Told::new();
    let mut server = told.house.serve();
    let mut accepted = Vec::new();
    let mut n = 0;
    let mut next = || {
        n += 1;
        n
    };
    for round in 0..rounds(1, 5) {
        for options in FAILING {
            let reopened_before = reopened(&server);
            for _ in 0..5 {
                accepted.push(next());
                post(&server, *accepted.last().unwrap(), 10).unwrap();
            }
            // What is on its way when the disk begins to fail is refused or kept, nothing in between.
            let first = next() * 1_000_000;
            let (fault, on_the_way) = fail_under_load(&server, options, first);
            accepted.extend(on_the_way);
            for _ in 0..5 {
                let why =
                    post(&server, next(), 10).expect_err("accepted though nothing was flushed");
                assert!(why.contains("Input/output error"), "{why}");
            }
            still_answers(&server);
            assert!(reopened(&server) > reopened_before, "{}", server.log());
            drop(fault);
            let again = wait_for("intake", || {
                let n = next();
                post(&server, n, 10).ok().map(|()| n)
            });
            accepted.push(again);
            told.holds(&accepted);
        }
        assert!(
            !server.log().contains("panicked"),
            "{round}: {}",
            server.log()
        );
        server.kill();
        server = told.house.serve();
    }
    told.holds(&accepted);
    assert_eq!(server.stop(), Some(0));
    let checked = told.house.run(&["check", "--store"]);
    assert!(checked.status.success(), "{}", stderr(&checked));
}
