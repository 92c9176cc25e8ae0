//! Doors that channels open by themselves: read from their block, opened, watched, changed, closed.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value as Json;
use tokio::runtime::Runtime;
use vigie::event::{Incoming, Meta, Value};
use vigie::pace::Pace;
use vigie::server::Server;
use vigie::source::{Context, Door, Opened, Plan, Source, Trouble};

use crate::house::{House, Running, stderr, stdout, wait_for};

/// The bodies of all events of a channel.
pub fn events(server: &Running, channel: &str) -> Vec<Json> {
    let mut bodies = Vec::new();
    loop {
        let path = format!("/api/v1/events/{channel}%2F{}", bodies.len() + 1);
        match server.ask(&path, &[], None) {
            answered if answered.status == 200 => bodies.push(answered.json()["body"].clone()),
            _ => return bodies,
        }
    }
}

/// The listing's row of a source.
pub fn row(server: &Running, name: &str) -> Option<Json> {
    let listing = server.get("sources");
    let rows = listing["sources"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).cloned()
}

fn check(toml: &str) -> (Option<i32>, String) {
    let house = House::new();
    house.channel("alert", toml);
    let mut command = house.command(&["check"]);
    // for the example of `imap`
    let output = command.env("ALERTS_PASSWORD", "s3cret").output().unwrap();
    (output.status.code(), stderr(&output))
}

#[test]
fn every_mistake_in_a_block_is_told_with_its_place_and_advice() {
    let wrong = [
        ("kind = \"crom\"", "5:8", "did you mean `cron`?"),
        ("kind = 3", "5:8", "`kind` must be text"),
        ("listen = \"x\"", "4:1", "this source has no `kind`"),
        (
            "kind = \"cron\"\nshedule = \"* * * * *\"",
            "6:1",
            "did you mean `schedule`?",
        ),
        ("kind = \"cron\"", "4:1", "missing field `schedule`"),
        (
            "kind = \"cron\"\nschedule = \"61 * * * *\"",
            "6:12",
            "`61 * * * *` is no schedule",
        ),
        (
            "kind = \"cron\"\nschedule = \"0 0 30 2 *\"",
            "6:12",
            "never comes",
        ),
        (
            "kind = \"cron\"\nschedule = \"@daily\"\nzone = \"Europe/Pariss\"",
            "7:8",
            "did you mean `Europe/Paris`?",
        ),
        (
            "kind = \"cron\"\nschedule = \"@daily\"\nmissed = \"al\"",
            "7:10",
            "did you mean `all`?",
        ),
        (
            "kind = \"cron\"\nschedule = \"@daily\"\n[source.event]\nlate_by = 1",
            "7:",
            "`late_by` in a cron event is set by the source itself",
        ),
        (
            "kind = \"cron\"\nname = \"a/b\"\nschedule = \"@daily\"",
            "6:8",
            "only letters, digits",
        ),
        (
            "kind = \"cron\"\nschedule = \"@daily\"\nevents_per_second_max = 0",
            "7:25",
            "`events_per_second_max` must be a whole number from 1",
        ),
        (
            "kind = \"cron\"\nschedule = \"@daily\"\nevents_per_second_max = \"10\"",
            "7:25",
            "`events_per_second_max` must be a whole number from 1",
        ),
        ("kind = \"snmp\"", "4:1", "missing field `listen`"),
        (
            "kind = \"snmp\"\nlisten = \"here:162\"",
            "6:10",
            "`listen` must be addresses",
        ),
        (
            "kind = \"snmp\"\nlisten = []",
            "6:10",
            "`listen` must be addresses",
        ),
        (
            "kind = \"snmp\"\nlisten = \"::\"\ncomunities = []",
            "7:1",
            "did you mean `communities`?",
        ),
        (
            "kind = \"imap\"\nhost = \"a\"\nuser = \"b\"",
            "7:8",
            "needs a `password_file` or",
        ),
        (
            "kind = \"imap\"\nhost = \"a\"\nuser = \"b\"\npassword_env = \"ALERTS_PASSWORD\"\ntls = \"none\"",
            "9:7",
            "a password for another host needs TLS",
        ),
        (
            "kind = \"imap\"\nhost = \"a\"\nuser = \"b\"\npassword_env = \"ALERTS_PASSWORD\"\nafter = \"move\"",
            "9:9",
            "`move_to` go together",
        ),
        (
            "kind = \"imap\"\nhost = \"a\"\nuser = \"b\"\npassword_env = \"ALERTS_PASSWORD\"\nfolder = \"a\\nb\"",
            "9:10",
            "without control characters",
        ),
    ];
    for (block, place, message) in wrong {
        let (code, said) = check(&format!("about = \"x\"\n\n\n[[source]]\n{block}\n"));
        assert_eq!(code, Some(78), "{block}: {said}");
        assert!(said.contains(message), "{block}: {said}");
        let place = format!("alert.toml:{place}");
        assert!(said.contains(&place), "{block}: {place}: {said}");
    }
}

#[test]
fn two_sources_of_one_kind_need_names_and_all_mistakes_are_told() {
    let daily = "[[source]]\nkind = \"cron\"\nschedule = \"@daily\"\n";
    let (code, said) = check(&format!("{daily}{daily}[[source]]\nkind = \"corn\"\n"));
    assert_eq!(code, Some(78));
    assert!(
        said.contains("channel `alert` has another source `cron`"),
        "{said}"
    );
    assert!(said.contains("did you mean `cron`?"), "{said}");
    assert!(said.contains("2 mistakes"), "{said}");
    let (code, said) = check(&format!("{daily}{daily}name = \"second\"\n"));
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn new_sources_open_changed_ones_open_anew_and_gone_ones_close() {
    let house = House::new();
    let every =
        |second: &str| format!("[[source]]\nkind = \"cron\"\nschedule = \"{second} * * * * *\"\n");
    house.channel("alert", "");
    let server = house.serve();
    assert_eq!(server.ask("/readyz", &[], None).text, "ready\n");
    assert!(row(&server, "alert/cron").is_none());
    house.channel("alert", &every("*"));
    let row_now = wait_for("the first event", || {
        row(&server, "alert/cron").filter(|row| row["events"].as_u64() >= Some(1))
    });
    assert_eq!(row_now["state"], "up");
    assert_eq!(row_now["place"], "* * * * * * UTC");
    assert!(
        row_now["last_event"]
            .as_str()
            .unwrap()
            .starts_with("alert/")
    );
    let listing = stdout(&server.verb(&["list", "sources"]));
    assert!(
        listing.contains("alert/cron  cron  up     alert/"),
        "{listing}"
    );
    house.channel("alert", &every("0"));
    wait_for("the change", || {
        row(&server, "alert/cron")
            .filter(|row| row["place"] == "0 * * * * * UTC" && row["state"] == "up")
    });
    let metrics = server.ask("/metrics", &[], None).text;
    let up = "vigie_source_up{source=\"alert/cron\",kind=\"cron\"} 1";
    assert!(metrics.contains(up), "{metrics}");
    house.channel("alert", "about = \"no doors\"");
    wait_for("it to be gone", || {
        row(&server, "alert/cron").is_none().then_some(())
    });
    assert!(!server.ask("/metrics", &[], None).text.contains(up));
    assert_eq!(server.stop(), Some(0));
}

/// What the test's own door does at each of its openings.
type Deed = fn(u32, &Context) -> Opened<'_>;

struct Testing {
    opened: Arc<AtomicU32>,
    deed: Deed,
}

impl Door for Testing {
    fn place(&self) -> String {
        "nowhere".to_owned()
    }

    fn run<'a>(&'a self, context: &'a Context) -> Opened<'a> {
        (self.deed)(self.opened.fetch_add(1, Ordering::SeqCst), context)
    }
}

/// A server in this process with one door that does `deed`.
fn with_door(deed: Deed, look: impl AsyncFn(&Server, &Plan, &AtomicU32)) {
    let house = House::new();
    house.channel("alert", "");
    let output = house.run(&["check"]);
    assert!(output.status.success());
    let opened = Arc::new(AtomicU32::new(0));
    let door = Arc::new(Testing {
        opened: Arc::clone(&opened),
        deed,
    });
    Runtime::new().unwrap().block_on(async {
        let settings = house.path("settings.toml");
        let server = Server::start(Some(settings)).await.ok().unwrap();
        let plan = Plan::new("alert", "test", door);
        server
            .state()
            .doors
            .attend(std::slice::from_ref(&plan))
            .await;
        look(&server, &plan, &opened).await;
        server.stop().await;
    });
}

async fn soon<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6_000 {
        if let Some(seen) = look() {
            return seen;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("waited for {what}");
}

fn event(number: i64) -> Incoming {
    Incoming {
        body: Value::Int(number),
        meta: Meta::new("test", Timestamp::UNIX_EPOCH),
    }
}

#[test]
fn a_door_that_fails_or_panics_is_opened_again_and_takes_nothing_with_it() {
    let deed: Deed = |opening, context| match opening {
        0 => panic!("on purpose"),
        1 => Box::pin(async { Err(Trouble("the line is cut".to_owned())) }),
        _ => Box::pin(async {
            context.up();
            context.stopped().await;
            Ok(())
        }),
    };
    with_door(deed, async |server, plan, opened| {
        let doors = &server.state().doors;
        assert_eq!(doors.not_up(), ["alert/test"]);
        soon("its standing", || doors.not_up().is_empty().then_some(())).await;
        assert_eq!(opened.load(Ordering::SeqCst), 3);
        let line = &doors.lines()[0];
        assert_eq!(line["state"], "up");
        assert_eq!(line["last_error"], "the line is cut");
        doors.attend(std::slice::from_ref(plan)).await;
        assert_eq!(
            opened.load(Ordering::SeqCst),
            3,
            "the same plan was opened anew"
        );
        doors.attend(&[]).await;
        assert!(doors.lines().is_empty());
    });
}

#[test]
fn a_door_that_is_not_up_makes_the_server_unready() {
    let deed: Deed = |_, _| Box::pin(async { Err(Trouble("the address is taken".to_owned())) });
    with_door(deed, async |server, _, _| {
        let url = format!("http://{}/readyz", server.address);
        let asked = tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .proxy(None)
                .build()
                .into();
            let mut answer = agent.get(url).call().unwrap();
            (
                answer.status().as_u16(),
                answer.body_mut().read_to_string().unwrap(),
            )
        });
        let (status, text) = asked.await.unwrap();
        assert_eq!(status, 503);
        assert_eq!(text, "not ready: these sources are not up: alert/test\n");
    });
}

#[test]
fn what_a_source_remembers_is_kept_with_its_events_or_not_at_all() {
    let deed: Deed = |opening, context| {
        Box::pin(async move {
            if opening > 0 {
                assert_eq!(context.memory().unwrap().unwrap(), b"two");
                context.up();
                context.stopped().await;
                return Ok(());
            }
            assert_eq!(context.memory().unwrap(), None);
            let ids = context
                .push_and_remember(vec![event(1), event(2)], b"two".to_vec())
                .await?;
            assert_eq!(ids[1].to_string(), "alert/2");
            let many = vec![event(3); 1_001];
            let refused = context.push_and_remember(many, b"many".to_vec()).await;
            assert!(refused.is_err());
            let elsewhere = context.push_to("nobody", vec![event(5)]).await?;
            assert_eq!(elsewhere[0].to_string(), "unrouted/1");
            Err(Trouble("again".to_owned()))
        })
    };
    with_door(deed, async |server, plan, _| {
        let (doors, store) = (&server.state().doors, &server.state().conductor.store);
        soon("its standing", || doors.not_up().is_empty().then_some(())).await;
        assert_eq!(store.mark(&plan.memory_name()).unwrap().unwrap(), b"two");
        assert_eq!(store.channel_counts("alert").kept, 2);
        let first = store.events("alert", 1, 1).unwrap().remove(0);
        assert_eq!(first.meta.extra["source_name"], Value::from("test"));
    });
}

#[test]
fn a_door_that_does_not_stop_is_cut_off() {
    let deed: Deed = |_, context| {
        Box::pin(async {
            context.up();
            std::future::pending().await
        })
    };
    with_door(deed, async |server, _, _| {
        let doors = &server.state().doors;
        soon("its standing", || doors.not_up().is_empty().then_some(())).await;
        doors.attend(&[]).await;
        assert!(doors.lines().is_empty());
    });
}

#[test]
fn every_kind_has_a_name_of_its_own_and_says_what_it_is_for() {
    let kinds: BTreeMap<&str, &&dyn Source> = vigie::source::ALL
        .iter()
        .map(|kind| (kind.name(), kind))
        .collect();
    assert_eq!(kinds.len(), vigie::source::ALL.len());
    let lowercase = |kind: &&dyn Source| kind.about().starts_with(|char: char| char.is_lowercase());
    assert!(vigie::source::ALL.iter().all(lowercase));
    for (name, kind) in kinds {
        let (code, said) = check(&format!(
            "[[source]]\nkind = \"{name}\"\n{}\n",
            kind.example()
        ));
        assert_eq!(code, Some(0), "{name}: {said}");
    }
}

#[test]
fn every_kind_that_is_written_is_in_the_list() {
    let list = std::fs::read_to_string("src/source/mod.rs").unwrap();
    for entry in std::fs::read_dir("src/source").unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for (_, rest) in text
            .match_indices("impl Source for ")
            .map(|(at, _)| text.split_at(at))
        {
            let kind = rest["impl Source for ".len()..].split(' ').next().unwrap();
            let module = path.file_stem().unwrap().to_str().unwrap();
            let line = format!("&{module}::{kind}");
            assert!(list.contains(&line), "{line} is not in ALL");
        }
    }
}

#[test]
fn the_pace_of_a_source_is_kept_over_any_time_and_no_delivery_is_cut() {
    let begin = Instant::now();
    let at = |millis: u64| begin + Duration::from_millis(millis);
    let pace = Pace::new(NonZeroU32::new(100).unwrap(), begin);
    // a second's worth at once, then one each hundredth of a second
    assert!((0..100).all(|_| pace.admits(1, begin)));
    assert!(!pace.admits(1, begin) && !pace.admits(1, at(9)));
    assert!(pace.admits(1, at(10)) && !pace.admits(1, at(10)));
    assert!(pace.admits(50, at(600)) && !pace.admits(50, at(600)));
    // nothing is saved up in a quiet hour
    let later = 3_600_000;
    assert!(pace.admits(100, at(later)) && !pace.admits(1, at(later)));
    // a large one comes whole once nothing is owed, and makes the next wait for as long as it should
    assert!(!pace.admits(1_000, at(later + 999)));
    assert!(pace.admits(1_000, at(later + 1_000)));
    assert!(!pace.admits(1, at(later + 1_000 + 9_000)));
    assert!(pace.admits(1, at(later + 1_000 + 9_010)));
    // as many as come in a hundred seconds, whoever tries how often
    let (mut came, from) = (0, later + 60_000);
    for millis in (0..100_000).step_by(3) {
        came += u32::from(pace.admits(1, at(from + millis)));
    }
    assert!((10_000..=10_100).contains(&came), "{came}");
}
