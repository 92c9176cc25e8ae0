//! The files for systemd: the unit leaves the server little that it could do, says nothing that systemd
//! does not understand, and its promises are those that the server keeps.
//!
//! Rounds: one; needs systemd's own programs, not systemd as the first process.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value as Json;

use crate::house::{House, PATIENCE, VIGIE, stderr, stdout, wait_for};
use crate::peers::{need, run};

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");
/// Exposure that the unit may have at most, of 10.
const EXPOSURE_MAX: f64 = 2.0;

fn unit() -> String {
    std::fs::read_to_string(format!("{PACKAGING}/vigie.service")).unwrap()
}

/// What is open on purpose, in systemd's words: the network, a port below 1024, sockets of this host,
/// and the host's files to read. Everything else that systemd knows of is shut.
const OPEN: &[&str] = &[
    "AmbientCapabilities=",
    "CapabilityBoundingSet=~CAP_NET_(BIND_SERVICE|BROADCAST|RAW)",
    "DeviceAllow=",
    "IPAddressDeny=",
    "PrivateMounts=",
    "PrivateNetwork=",
    "PrivateUsers=",
    "RestrictAddressFamilies=~AF_(INET|INET6)",
    "RestrictAddressFamilies=~AF_UNIX",
    "RootDirectory=/RootImage=",
];

fn analyze(option: &str) -> String {
    let file = format!("{PACKAGING}/vigie.service");
    let words = ["security", "--offline=true", "--no-pager", option, &file];
    run(Command::new("systemd-analyze").args(words))
}

#[test]
fn the_unit_leaves_the_server_little_that_it_could_do() {
    need("hardening");
    let said = analyze("--json=off");
    let line = said
        .lines()
        .find(|line| line.contains("Overall exposure level"))
        .unwrap();
    println!("{line}");
    let (_, level) = line.split_once(": ").unwrap();
    let level: f64 = level.split(' ').next().unwrap().parse().unwrap();
    assert!(level <= EXPOSURE_MAX, "{said}");
}

/// The sum alone does not tell: without the list of allowed system calls it is 2.0 of 10.
#[test]
fn the_unit_shuts_everything_but_what_is_open_on_purpose() {
    need("hardening");
    let settings: Vec<Json> = serde_json::from_str(&analyze("--json=short")).unwrap();
    assert!(settings.len() > 70, "{settings:?}");
    let mut open: Vec<&str> = settings
        .iter()
        .filter(|setting| setting["set"] != true)
        .map(|setting| setting["name"].as_str().unwrap())
        .collect();
    open.sort_unstable();
    assert_eq!(open, OPEN);
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    need("hardening");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vigie.service");
    let text = unit().replace("/usr/bin/vigie", VIGIE);
    // the man page is installed by whoever packages it
    let text = text.replace("Documentation=man:vigie(1)\n", "");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]).arg(&file);
    let output = command.output().unwrap();
    let said = stderr(&output);
    let about_us: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("vigie.service"))
        .collect();
    assert!(about_us.is_empty(), "{about_us:#?}");
}

#[test]
fn the_spool_may_be_written_by_all_and_listed_by_none() {
    need("hardening");
    if !rustix::process::geteuid().is_root() {
        return super::not_tried("sysusers and tmpfiles: only root can");
    }
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc")).unwrap();
    std::fs::create_dir_all(root.path().join("var/spool")).unwrap();
    let under = format!("--root={}", root.path().display());
    run(Command::new("systemd-sysusers").args([&under, &format!("{PACKAGING}/vigie.sysusers")]));
    let mut command = Command::new("systemd-tmpfiles");
    run(command.args(["--create", &under, &format!("{PACKAGING}/vigie.tmpfiles")]));
    let spool = std::fs::metadata(root.path().join("var/spool/vigie")).unwrap();
    assert_eq!(spool.permissions().mode() & 0o7777, 0o3733);
    let users = std::fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(
        users.contains(":/var/lib/vigie:/usr/sbin/nologin"),
        "{users}"
    );
}

#[test]
fn the_service_manager_hears_that_the_server_is_ready_and_that_it_stops() {
    for is_abstract in [false, true] {
        let house = House::new();
        house.channel("alert", "");
        let (socket, name) = listen(&house, is_abstract);
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let hear = || {
            let mut bytes = [0; 100];
            let length = socket.recv(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        };
        let house = house.environment("NOTIFY_SOCKET", &name);
        let server = house.serve();
        assert_eq!(hear(), "READY=1");
        assert_eq!(server.ask("/readyz", &[], None).status, 200);
        server.signal(rustix::process::Signal::TERM);
        assert_eq!(hear(), "STOPPING=1");
        assert_eq!(server.stop(), Some(0));
    }
    // a socket that is not there stops nothing
    let house = House::new().environment("NOTIFY_SOCKET", "/nowhere/at/all");
    let server = house.serve();
    wait_for("the warning", || {
        server
            .log()
            .contains("cannot be told READY=1")
            .then_some(())
    });
}

fn listen(house: &House, is_abstract: bool) -> (UnixDatagram, String) {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;
    let path = house.path("notify");
    let path = path.to_str().unwrap();
    match is_abstract {
        false => (UnixDatagram::bind(path).unwrap(), path.to_owned()),
        true => {
            let address = SocketAddr::from_abstract_name(path).unwrap();
            (
                UnixDatagram::bind_addr(&address).unwrap(),
                format!("@{path}"),
            )
        }
    }
}

#[test]
fn the_unit_promises_what_the_server_does() {
    let unit = unit();
    let drain = vigie::server::DRAIN_SECONDS_MAX;
    let stop = Duration::from_secs(number(&unit, "TimeoutStopSec="));
    assert!(
        stop > 2 * drain,
        "{stop:?} to stop, {drain:?} each to end flows and actions"
    );
    assert!(unit.contains("\nRestartPreventExitStatus=78\n"));
    assert!(unit.contains("\nType=notify\n"), "READY=1 is waited for");
    assert!(unit.contains("\nLimitCORE=0\n"), "a core holds secrets");
    let files = number(&unit, "LimitNOFILE=");
    assert!(
        files > vigie::listener::CONNECTIONS_MAX as u64,
        "one connection is one file"
    );
    let settings = std::fs::read_to_string(format!("{PACKAGING}/settings.toml")).unwrap();
    assert!(unit.contains("StateDirectory=vigie\n") && settings.contains("\"/var/lib/vigie\""));
    let house = House::new();
    house.file("packaged.toml", &settings);
    let checked = house.run(&["check", "--settings", "packaged.toml"]);
    assert!(
        checked.status.success(),
        "{}{}",
        stdout(&checked),
        stderr(&checked)
    );
    assert!(Path::new(PACKAGING).join("README.md").exists());
}

fn number(unit: &str, key: &str) -> u64 {
    let value = unit
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .unwrap();
    value.parse().unwrap()
}
