//! `kill -9` at random moments while every kind of producer sends: what was accepted is acted on, under
//! one key, whatever the moment.
//!
//! Rounds: 6 kills, 200 long. Producers note what they were told was accepted, and nothing else counts.
//! Targets take their time, so that a kill finds deeds whose answer is still to come: that it did is
//! asserted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use vigie::standin::redmine::{Issue, KEY};
use vigie::standin::{Mischief, Redmine, Reply, Seen, Server};

use super::{Ends, rounds};
use crate::house::{House, Running, wait_for};
use crate::peers::free_port;
use crate::peers::netsnmp::{Sender, udp_port};

/// The sender's own small program.
const SENDEVT: &str = env!("CARGO_BIN_EXE_sendevt");
/// How long a target takes to answer, after the deed.
const ANSWER_TIME: Duration = Duration::from_millis(15);
/// Calls that are answered slowly.
const SLOW_CALLS: usize = 200_000;
/// Object and type of the traps.
const TRAP: &str = "1.3.6.1.4.1.8072.2.3.0.1";
const OBJECT: &str = "1.3.6.1.4.1.8072.2.3.2.1";

/// Where the server is, life after life.
struct Street {
    _outside: tokio::runtime::Runtime,
    target: Server,
    tickets: Redmine,
    house: House,
    url: String,
    snmp: u16,
    /// Numbers of events, given once over all producers.
    next: AtomicUsize,
    accepted: Mutex<BTreeSet<String>>,
    over: AtomicBool,
}

/// Reads the producer's number out of what each door makes of it.
const FLOWS: [(&str, &str); 3] = [
    ("alert/tell", "event.n"),
    ("mail/tell", "event.Subject"),
    ("snmptrap/tell", "event.values[\"OBJECT\"]"),
];

impl Street {
    fn new() -> Street {
        let outside = tokio::runtime::Runtime::new().unwrap();
        let answer = |_: &Seen| Reply::json(200, &json!({}));
        let target = outside.block_on(Server::start(answer)).unwrap();
        let tickets = outside.block_on(Redmine::start()).unwrap();
        target.fail_next(SLOW_CALLS, Mischief::Delay(ANSWER_TIME));
        tickets.fail_next(SLOW_CALLS, Mischief::Delay(ANSWER_TIME));
        let (http, snmp) = (free_port(), udp_port());
        let house = House::new()
            .http(&format!("listen = \"127.0.0.1:{http}\""))
            .settings(&format!(
                "[redmine]\nendpoint = \"{}\"\nkey_file = \"key\"\nmarker_field = 1\nproject = \"test\"",
                tickets.url()
            ));
        house
            .file("key", KEY)
            .channel("alert", "")
            .channel("mail", "");
        let door = format!("[[source]]\nkind = \"snmp\"\nlisten = \"127.0.0.1:{snmp}\"");
        house.channel("snmptrap", &door);
        for (flow, number) in FLOWS {
            let script = format!(
                "let n = `${{{}}}`;\nhttp::put(\"{}/told\", #{{ json: #{{ n: n }} }});\n\
                 if n.ends_with(\"7\") {{ redmine::open(#{{ subject: n, dedup_key: n }}); }}\n\
                 if n.ends_with(\"2\") || n.ends_with(\"3\") {{ redmine::open(#{{ subject: n }}); }}",
                number.replace("OBJECT", OBJECT),
                target.url()
            );
            house.flow(flow, &script);
            house.file(&format!("flows/{flow}.toml"), "in_doubt_wait = \"10ms\"");
        }
        Street {
            _outside: outside,
            target,
            tickets,
            house,
            url: format!("http://127.0.0.1:{http}"),
            snmp,
            next: AtomicUsize::new(1),
            accepted: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// Sends one event after the other until all rounds are over; `send` says what was accepted.
    fn produce(&self, kind: &str, send: impl Fn(&str) -> bool) {
        while !self.over.load(Ordering::SeqCst) {
            let n = format!("{kind}{}", self.next.fetch_add(1, Ordering::SeqCst));
            if send(&n) {
                self.accepted.lock().unwrap().insert(n);
            } else {
                // the server is not there: do not spin
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// A client that tries the same event under the same id until it is accepted.
    fn http(&self, n: &str, agent: &ureq::Agent) -> bool {
        let url = format!("{}/api/v1/channels/alert/events", self.url);
        let body = json!({ "n": n }).to_string();
        for _ in 0..1_000 {
            let request = agent
                .post(&url)
                .header("content-type", "application/json")
                .header("idempotency-key", n);
            match request.send(body.as_bytes()) {
                Ok(answered) if answered.status() == 202 => return true,
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        false
    }

    fn pipe(&self, mut command: Command, input: &[u8]) -> bool {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait().unwrap().success()
    }

    fn sendevt(&self, n: &str) -> bool {
        let mut command = self.house.command(&[]);
        let environment: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command = Command::new(SENDEVT);
        command.envs(environment).current_dir(self.house.path("."));
        command.args([
            "--server",
            &self.url,
            "--channel",
            "alert",
            &format!("n={n}"),
        ]);
        self.pipe(command, b"")
    }

    fn mail(&self, n: &str) -> bool {
        let mail = format!("Message-ID: <{n}@example.org>\nSubject: {n}\n\ntext\n");
        let command = self.house.command(&["mail", "--server", &self.url]);
        self.pipe(command, mail.as_bytes())
    }

    fn trap(&self, n: &str) -> bool {
        let text = format!(
            "router\nUDP: [127.0.0.1]:1->[127.0.0.1]:162\n.1.3.6.1.2.1.1.3.0 0:0:00:07.77\n\
             .1.3.6.1.6.3.1.1.4.1.0 .{TRAP}\n.{OBJECT} \"{n}\"\n"
        );
        let command = self.house.command(&["trap", "--server", &self.url]);
        self.pipe(command, text.as_bytes())
    }

    fn inform(&self, n: &str, sender: &Sender) -> bool {
        let at = format!("udp:127.0.0.1:{}", self.snmp);
        let options = format!("-v2c -c public -r3 -t1 {at} 7 {TRAP} {OBJECT} s {n}");
        sender.inform(&options, &[])
    }

    /// Kills the server at random moments.
    fn kill(&self, kills: usize) {
        for _ in 0..kills {
            let server = self.house.serve();
            std::thread::sleep(Duration::from_millis(rand::random_range(20..400)));
            server.kill();
        }
    }

    /// By number: the keys under which the target was told, and how often.
    fn told(&self) -> BTreeMap<String, BTreeMap<String, usize>> {
        let mut told: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        for seen in self.target.requests() {
            let n = seen.json()["n"].as_str().unwrap().to_owned();
            let key = seen.header("idempotency-key").unwrap().to_owned();
            *told.entry(n).or_default().entry(key).or_default() += 1;
        }
        told
    }

    /// Waits until nothing is left to do; runs that the process died under twice by chance are tried
    /// again, as a person would.
    fn finish(&self, server: &Running<'_>) {
        let accepted = self.accepted.lock().unwrap().clone();
        wait_for("the last run", || {
            for dead in server.get("dead?limit=1000")["dead"].as_array().unwrap() {
                let reason = dead.to_string();
                assert!(reason.contains("died twice"), "{reason}");
                let run = dead["run"].as_str().unwrap();
                server.verb(&["retry", run]);
            }
            let told = self.told();
            let has_run = accepted.iter().all(|n| told.contains_key(n));
            let live = server.get("runs?state=live&limit=1")["runs"] != json!([]);
            let channels = server.get("channels")["channels"].clone();
            let mut rows = channels.as_array().unwrap().iter();
            let waits = rows.any(|row| row["waiting"] != 0);
            (has_run && !live && !waits).then_some(())
        });
    }

    fn count(&self, kills: usize) {
        let told = self.told();
        for (n, keys) in &told {
            assert_eq!(keys.len(), 1, "{n} became several events: {keys:?}");
            assert!(*keys.values().next().unwrap() <= 1 + kills, "{n}: {keys:?}");
        }
        let again: usize = told
            .values()
            .flat_map(BTreeMap::values)
            .map(|times| times - 1)
            .sum();
        println!("{again} deeds had no answer when the process died");
        assert!(again > 0, "no kill found a deed on its way");
        let mut subjects: Vec<String> = self
            .tickets
            .issues()
            .into_iter()
            .map(|issue: Issue| issue.subject)
            .collect();
        let tickets = subjects.len();
        subjects.sort();
        subjects.dedup();
        assert_eq!(subjects.len(), tickets, "a ticket was opened twice");
        let has_ticket = |n: &&String| n.ends_with(['2', '3', '7']);
        let wanted: BTreeSet<String> = told.keys().filter(has_ticket).cloned().collect();
        assert_eq!(subjects.into_iter().collect::<BTreeSet<_>>(), wanted);
    }
}

#[test]
fn whatever_was_accepted_is_acted_on_once_though_the_process_is_killed_again_and_again() {
    let street = Street::new();
    let kills = rounds(6, 200);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(5)))
        .proxy(None)
        .build()
        .into();
    let sender = Sender::new();
    let server = std::thread::scope(|scope| {
        let mut producers: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| street.produce("http", |n| street.http(n, &agent))))
            .collect();
        producers.push(scope.spawn(|| street.produce("sendevt", |n| street.sendevt(n))));
        producers.push(scope.spawn(|| street.produce("mail", |n| street.mail(n))));
        producers.push(scope.spawn(|| street.produce("trap", |n| street.trap(n))));
        producers.push(scope.spawn(|| street.produce("inform", |n| street.inform(n, &sender))));
        let ends = Ends(&street.over);
        street.kill(kills);
        drop(ends);
        // the last life serves those who still try
        let server = street.house.serve();
        producers
            .into_iter()
            .for_each(|producer| producer.join().unwrap());
        server
    });
    street.finish(&server);
    let accepted = street.accepted.lock().unwrap().len();
    println!("{kills} kills, {accepted} events accepted");
    assert!(accepted > kills, "hardly anything was accepted");
    street.count(kills);
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert_eq!(server.stop(), Some(0));
    let checked = street.house.run(&["check", "--store"]);
    assert!(checked.status.success(), "{checked:?}");
}
