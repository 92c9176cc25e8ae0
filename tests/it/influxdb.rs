//! `influxdb::write` against the stand-in, and the stand-in against what a real 1.6.7 answered.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use vigie::action::Services;
use vigie::action::http::{Accept, Client, Request};
use vigie::action::influxdb::{Service, Settings};
use vigie::event::Value;
use vigie::standin::influxdb::{DATABASE, Field, ORG, PASSWORD, Stored, TOKEN, USER};
use vigie::standin::{InfluxDb, Mischief, Reply};

use crate::acting::{Try, away, call, refusal, secret, shown};
use crate::house::{House, lines, stderr, stdout, wait_for};

pub fn prepared(toml: &str, secret_text: &str) -> Result<Service, String> {
    let (folder, _) = secret(secret_text);
    let settings: Settings = toml::from_str(toml).map_err(|why| why.to_string())?;
    Service::prepare(settings, folder.path())
}

pub fn with(service: Service) -> Services {
    Services {
        influxdb: Some(service),
        ..Services::default()
    }
}

/// For a stand-in of version 1 without a login.
pub fn services(url: &str, more: &str) -> Services {
    let toml = format!("endpoint = \"{url}\"\ntimeout = \"5s\"\n{more}");
    with(prepared(&toml, "x").unwrap())
}

fn one(standin: &InfluxDb) -> Services {
    services(&standin.url(), &format!("database = \"{DATABASE}\""))
}

fn two(standin: &InfluxDb) -> Services {
    let toml = format!(
        "endpoint = \"{}\"\norg = \"{ORG}\"\nbucket = \"{DATABASE}\"\ntoken_file = \"secret\"",
        standin.url()
    );
    with(prepared(&toml, TOKEN).unwrap())
}

/// The body of the `nth` request as InfluxDB reads it.
fn sent(standin: &InfluxDb, nth: usize) -> String {
    let seen = &standin.requests()[nth];
    let mut text = String::new();
    match seen.header("content-encoding") {
        Some("gzip") => {
            let mut decoder = flate2::read::GzDecoder::new(seen.body.as_slice());
            std::io::Read::read_to_string(&mut decoder, &mut text).unwrap();
        }
        _ => text = String::from_utf8(seen.body.clone()).unwrap(),
    }
    text
}

/// The outcome of a write that goes well.
pub async fn written(services: &Services, points: Json) -> Json {
    let outcome = call(services, "influxdb::write", json!([points])).await;
    shown(&outcome.unwrap())
}

/// The bad lines that an outcome names, and why.
pub fn named(outcome: &Json) -> Vec<(i64, &str)> {
    let dropped = outcome["dropped"].as_array().unwrap().iter();
    dropped
        .map(|one| (one["line"].as_i64().unwrap(), one["why"].as_str().unwrap()))
        .collect()
}

/// What InfluxDB says of a line whose field `f` of `conf` is text and was a whole number before.
pub const CONFLICT: &str = "field type conflict: input field \"f\" on measurement \"conf\" is type string, already exists as type integer";

#[tokio::test]
async fn points_become_lines_by_the_rules_of_line_protocol() {
    let standin = InfluxDb::start(false).await.unwrap();
    let services = one(&standin);
    let cases = [
        (
            json!({"measurement": "cpu", "tags": {"host": "web01", "az": "b"}, "fields": {"value": 0.64}, "time": 1}),
            "cpu,az=b,host=web01 value=0.64 1",
        ),
        (
            json!({"measurement": "my meas,x=y", "tags": {"k, =": "v, ="}, "fields": {"f, =": true}, "time": -1}),
            r"my\ meas\,x=y,k\,\ \==v\,\ \= f\,\ \==true -1",
        ),
        (
            json!({"measurement": "t", "fields": {"i": 1, "f": 1.0, "big": 1e300, "small": -1.5e-7, "b": false, "s": "say \"a\\b\",\nc d"}, "time": 2}),
            "t b=false,big=1e300,f=1.0,i=1i,s=\"say \\\"a\\\\b\\\",\nc d\",small=-1.5e-7 2",
        ),
        (
            json!({"measurement": "disk", "tags": {"drive": "C:\\", "path": "C:\\Temp", "odd": "a\\,b", "multi": "a\nb\t", "none": null, "empty": ""}, "fields": {"used": 5, "warn": null}, "time": 3}),
            r"disk,drive=C:,multi=a\nb\t,odd=a\\,b,path=C:\Temp used=5i 3",
        ),
        (
            json!({"measurement": "日本", "tags": {"é": "\"q\"", "n": 7, "yes": true}, "fields": {"値": 1}, "time": "2026-11-20T16:00:00Z"}),
            "日本,n=7,yes=true,é=\"q\" 値=1i 1795190400",
        ),
    ];
    for (number, (point, line)) in cases.into_iter().enumerate() {
        let outcome = written(&services, point).await;
        assert_eq!(
            outcome,
            json!({"written": 1, "dropped": [], "dropped_count": 0})
        );
        assert_eq!(sent(&standin, number), line);
    }
    assert_eq!(standin.points().len(), 5);
}

#[tokio::test]
async fn a_time_is_counted_in_the_precision_that_is_asked_for() {
    let standin = InfluxDb::start(false).await.unwrap();
    let moment = "2026-11-20T16:00:00.123456789Z";
    for (precision, word, time) in [
        ("s", "s", 1_795_190_400_000_000_000),
        ("ms", "ms", 1_795_190_400_123_000_000),
        ("us", "u", 1_795_190_400_123_456_000),
        ("ns", "ns", 1_795_190_400_123_456_789_i64),
    ] {
        let toml = format!("database = \"{DATABASE}\"\nprecision = \"{precision}\"");
        let services = services(&standin.url(), &toml);
        let point = json!({"measurement": precision, "fields": {"f": 1}, "time": moment});
        written(&services, point.clone()).await;
        let asked = json!([point, {"precision": precision}]);
        let other = one(&standin);
        call(&other, "influxdb::write", asked).await.unwrap();
        let requests = standin.requests();
        for seen in &requests[requests.len() - 2..] {
            assert_eq!(seen.asked("precision"), Some(word));
        }
        let mine = |stored: &Stored| stored.measurement == precision;
        let stored: Vec<Stored> = standin.points().into_iter().filter(mine).collect();
        assert_eq!(stored.len(), 1, "the same point twice is one point");
        assert_eq!(stored[0].time, time);
    }
    let said = refusal(
        call(
            &one(&standin),
            "influxdb::write",
            json!(["a b=1 1", {"precision": "m"}]),
        )
        .await,
    );
    assert_eq!(said, "`precision` is \"m\"; it must be s, ms, us or ns");
}

#[tokio::test]
async fn lines_are_taken_as_text_or_as_a_list_mixed_with_points() {
    let standin = InfluxDb::start(false).await.unwrap();
    let services = one(&standin);
    let text = "# a comment\r\ncpu,host=a value=1 1\r\n\r\ncpu,host=b s=\"two\nlines, \\\" 7\",value=2 1\ncpu,host=c value=3 1";
    assert_eq!(written(&services, json!(text)).await["written"], 3);
    let lines = sent(&standin, 0);
    assert!(!lines.contains('\r') && !lines.contains('#'), "{lines}");
    let mixed = json!(["cpu,host=d value=1 1\ncpu,host=e value=1 1\n", {"measurement": "cpu", "tags": {"host": "f"}, "fields": {"value": 1.0}, "time": 1}]);
    assert_eq!(written(&services, mixed).await["written"], 3);
    assert_eq!(standin.points().len(), 6);
    assert_eq!(
        standin.points()[1].fields["s"],
        Field::Text("two\nlines, \" 7".to_owned())
    );
    let nothing = json!({"written": 0, "dropped": [], "dropped_count": 0});
    assert_eq!(written(&services, json!([])).await, nothing);
    assert_eq!(written(&services, json!("\n# nothing\n")).await, nothing);
    assert_eq!(standin.requests().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_said_is_refused_alone_and_dropped_among_others() {
    let standin = InfluxDb::start(false).await.unwrap();
    let services = one(&standin);
    let point = |field: Value| {
        Value::from([
            ("measurement", Value::from("m")),
            ("fields", Value::from([("f", field)])),
            ("time", Value::Int(1)),
        ])
    };
    let mut odd: Vec<(Value, &str)> = vec![
        (
            point(Value::Float(f64::NAN)),
            "the field `f` is NaN, and InfluxDB has no such number",
        ),
        (
            point(Value::Float(f64::INFINITY)),
            "the field `f` is inf, and InfluxDB has no such number",
        ),
        (
            point(Value::List(Vec::new())),
            "the field `f` is a list; it must be a number",
        ),
        (point(Value::Null), "it has no field with a value"),
    ];
    for (json, why) in [
        (
            json!({"measurement": "m", "fields": {"f": 1}}),
            "it has no `time`; without one, writing it again",
        ),
        (
            json!({"measurement": "m", "fields": {"f": 1}, "time": 1.5}),
            "its `time` is a float",
        ),
        (
            json!({"measurement": "m", "fields": {"f": 1}, "time": "noon"}),
            "its `time` is \"noon\"",
        ),
        (
            json!({"measurement": "", "fields": {"f": 1}, "time": 1}),
            "`measurement` is missing or blank",
        ),
        (
            json!({"measurement": "#m", "fields": {"f": 1}, "time": 1}),
            "a line that begins with # would be a comment",
        ),
        (
            json!({"measurement": "m", "tags": {"time": "x"}, "fields": {"f": 1}, "time": 1}),
            "a tag cannot be called `time`",
        ),
        (
            json!({"measurement": "m", "fields": {"time": 1}, "time": 1}),
            "a field cannot be called `time`",
        ),
        (
            json!({"measurement": "m", "tags": {"t": {}}, "fields": {"f": 1}, "time": 1}),
            "the tag `t` is a map",
        ),
        (json!("m f=1"), "it has no `time`"),
        (json!("m,t=a"), "missing fields"),
        (json!("m f=\"abc 1"), "unbalanced quotes"),
    ] {
        odd.push((Value::from_json(json), why));
    }
    let again = Try::first(&services);
    for (point, why) in &odd {
        let said = refusal(
            again
                .with("influxdb::write", std::slice::from_ref(point))
                .await,
        );
        let begins = "none of the 1 points could be written; point 1: ";
        assert!(said.starts_with(begins) && said.contains(why), "{said}");
    }
    assert!(standin.requests().is_empty());
    let good = Value::from("good f=1 1");
    let all: Vec<Value> = odd
        .iter()
        .flat_map(|(point, _)| [point.clone(), good.clone()])
        .collect();
    let outcome = again
        .with("influxdb::write", &[Value::List(all)])
        .await
        .unwrap();
    let outcome = shown(&outcome);
    assert_eq!(outcome["written"], odd.len());
    for (index, (_, why)) in odd.iter().enumerate() {
        let dropped = &outcome["dropped"][index];
        assert_eq!(dropped["line"], 2 * index + 1);
        assert!(dropped["why"].as_str().unwrap().contains(why), "{dropped}");
    }
}

#[tokio::test]
async fn a_mistake_of_the_script_writes_nothing() {
    let standin = InfluxDb::start(false).await.unwrap();
    let services = one(&standin);
    for (points, complaint) in [
        (
            json!(["a b=1 1", {"measurment": "m", "fields": {}}]),
            "point 2: there is no option `measurment`; did you mean `measurement`?",
        ),
        (
            json!(["a b=1 1", 7]),
            "point 2: a point must be a map or a line as text, not an integer",
        ),
        (
            json!(["a b=1 1", {"measurement": "m", "time": 1}]),
            "point 2: `fields` is missing; it is a map",
        ),
        (
            json!({"measurement": "m", "fields": [1], "time": 1}),
            "`fields` must be a map, not a list",
        ),
    ] {
        let said = refusal(call(&services, "influxdb::write", json!([points])).await);
        assert_eq!(said, complaint);
    }
    let said = refusal(
        call(
            &services,
            "influxdb::write",
            json!(["a b=1 1", {"bucket": "x"}]),
        )
        .await,
    );
    assert_eq!(
        said,
        "there is no option `bucket`; known are database, retention_policy, precision"
    );
    assert!(standin.requests().is_empty());
}

#[tokio::test]
async fn a_partial_write_drops_only_the_bad_lines_and_says_which() {
    for version in [1, 2] {
        let (standin, services) = match version {
            1 => {
                let standin = InfluxDb::start(false).await.unwrap();
                let services = one(&standin);
                (standin, services)
            }
            _ => {
                let standin = InfluxDb::start_two().await.unwrap();
                let services = two(&standin);
                (standin, services)
            }
        };
        written(&services, json!("conf,host=a f=1i 1\nconf \"q\\ x=1 1")).await;
        let lines = [
            "cpu,host=a value=1 1",
            "cpu,host=b value= 1",
            "conf,host=b f=\"text\" 1",
            "cpu,host=c value=nonsense 1",
            "cpu,host=d value=2 1",
            "conf,host=c f=\"text\",g=1 1",
            "cpu,time=x value=1 1",
            "conf \"q\\ x=\"text\" 1",
            "cpu,host=e value=3 1",
        ];
        let outcome = written(&services, json!(lines)).await;
        assert_eq!(
            named(&outcome),
            [
                (2, "missing field value"),
                (3, CONFLICT),
                (4, "invalid number"),
                (6, CONFLICT),
                (
                    7,
                    "invalid tag key: input tag \"time\" on measurement \"cpu\" is invalid"
                ),
                (
                    8,
                    "field type conflict: input field \"\\\"q x\" on measurement \"conf\" is type string, already exists as type float"
                ),
            ],
            "version {version}"
        );
        assert_eq!(outcome["written"], 3);
        assert_eq!(outcome["dropped"][0]["text"], "cpu,host=b value= 1");
        let hosts: Vec<String> = standin
            .points()
            .into_iter()
            .filter(|point| point.measurement == "cpu")
            .map(|point| point.tags["host"].clone())
            .collect();
        assert_eq!(hosts, ["a", "d", "e"]);
    }
}

#[tokio::test]
async fn bad_lines_that_nobody_names_are_found_by_halves() {
    let standin = InfluxDb::start(false).await.unwrap();
    let services = one(&standin);
    let lines: Vec<String> = (0..100).map(|n| format!("m f={n} {n}")).collect();
    let unnamed = Reply::json(
        400,
        &json!({"error": "partial write: points beyond retention policy dropped=2"}),
    );
    standin.fail_next(1, Mischief::Answer(unnamed.clone()));
    assert_eq!(written(&services, json!(lines)).await["written"], 100);
    assert_eq!(standin.requests().len(), 3, "the whole, and its halves");
    let all = Reply::json(
        400,
        &json!({"error": "partial write: points beyond retention policy dropped=100"}),
    );
    standin.fail_next(1, Mischief::Answer(all));
    let said = refusal(call(&services, "influxdb::write", json!([lines])).await);
    assert_eq!(
        said,
        "none of the 100 points could be written; point 1: points beyond retention policy"
    );
    // an answer that cannot be read to its end
    let endless = "x".repeat(1_100_000);
    standin.fail_next(
        1,
        Mischief::Answer(Reply::json(400, &json!({ "error": endless }))),
    );
    assert_eq!(written(&services, json!(lines)).await["written"], 100);
    let head = unnamed
        .clone()
        .with("x-influxdb-error", &"x".repeat(600_000));
    standin.fail_next(1, Mischief::Answer(head));
    assert_eq!(written(&services, json!(lines)).await["written"], 100);
    // it says no for ever
    standin.fail_next(1_000, Mischief::Answer(unnamed));
    let said = refusal(
        call(
            &services,
            "influxdb::write",
            json!([(0..1000)
                .map(|n| format!("m f={n} {n}"))
                .collect::<Vec<_>>()]),
        )
        .await,
    );
    assert!(said.contains("does not say which"), "{said}");
    standin.behave();
}

#[tokio::test]
async fn a_body_too_large_is_halved_and_a_line_too_large_is_dropped() {
    let standin = InfluxDb::start(false).await.unwrap();
    let services = one(&standin);
    standin.limit(100);
    let mut lines: Vec<String> = (0..64).map(|n| format!("m,host=host{n} f={n} 1")).collect();
    lines.push(format!("m text=\"{}\" 1", "y".repeat(400)));
    let outcome = written(&services, json!(lines)).await;
    assert_eq!(outcome["written"], 64);
    assert_eq!(outcome["dropped"][0]["line"], 65);
    assert_eq!(outcome["dropped"][0]["why"], "it is too large for InfluxDB");
    assert_eq!(standin.points().len(), 64);
}

#[tokio::test]
async fn many_lines_leave_in_pieces_in_order_and_compressed() {
    let standin = InfluxDb::start(false).await.unwrap();
    let services = one(&standin);
    let lines: Vec<String> = (0..12_001)
        .map(|n| format!("m,host=h{n:05} f={n} 1"))
        .collect();
    assert_eq!(written(&services, json!(lines)).await["written"], 12_001);
    let requests = standin.requests();
    assert_eq!(requests.len(), 3);
    let first = |nth: usize| sent(&standin, nth).lines().next().unwrap().to_owned();
    assert_eq!(
        [first(0), first(1), first(2)],
        [
            lines[0].clone(),
            lines[5_000].clone(),
            lines[10_000].clone()
        ]
    );
    let plain = sent(&standin, 0).len();
    assert!(
        requests[0].body.len() * 4 < plain,
        "{} of {plain}",
        requests[0].body.len()
    );
    assert_eq!(standin.points().len(), 12_001);
    // by bytes: each of these is 1 MiB and a bit
    let long: Vec<String> = (0..9)
        .map(|n| format!("m,host=l{n} f=\"{}\" 1", "z".repeat(1 << 20)))
        .collect();
    let said = refusal(call(&services, "influxdb::write", json!([long])).await);
    assert!(said.starts_with("none of the 9 points"), "{said}");
    let other: Vec<String> = long
        .iter()
        .map(|line| line.replacen("m,", "o,", 1))
        .collect();
    assert_eq!(written(&services, json!(other)).await["written"], 9);
    assert_eq!(standin.requests().len(), 3 + 3 + 3);
}

#[tokio::test]
async fn refusals_and_absences_are_told_apart() {
    let standin = InfluxDb::start(true).await.unwrap();
    let line = || json!(["m f=1 1"]);
    let login = format!(
        "database = \"{DATABASE}\"\nuser = \"{USER}\"\npassword_file = \"secret\"\nendpoint = \"{}\"",
        standin.url()
    );
    let wrong = with(prepared(&login, "wr0ng-pass").unwrap());
    let none = one(&standin);
    for (services, words) in [
        (&wrong, "authorization failed"),
        (&none, "unable to parse authentication credentials"),
    ] {
        let said = refusal(call(services, "influxdb::write", line()).await);
        assert_eq!(
            said,
            format!("InfluxDB does not know this user or token: {words}")
        );
    }
    assert!(!format!("{wrong:?}").contains("wr0ng"));
    let services = with(prepared(&login, PASSWORD).unwrap());
    assert_eq!(written(&services, json!("m f=1 1")).await["written"], 1);
    assert!(
        standin
            .requests()
            .iter()
            .all(|seen| seen.asked("p").is_none())
    );
    for (options, words) in [
        (
            json!({"database": "nope"}),
            "InfluxDB refused the points: database not found: \"nope\"",
        ),
        (
            json!({"retention_policy": "nope"}),
            "InfluxDB refused the points: retention policy not found: nope",
        ),
        (
            json!({"database": ""}),
            "InfluxDB refused the points: database is required",
        ),
    ] {
        let said = refusal(call(&services, "influxdb::write", json!(["m f=1 1", options])).await);
        assert_eq!(said, words);
    }
    let busy = Reply::json(503, &json!({"error": "timeout"})).with("retry-after", "7");
    standin.fail_next(1, Mischief::Answer(busy));
    let failure = away(call(&services, "influxdb::write", line()).await);
    let seven = vigie::action::FailureKind::Away {
        retry_after: Some(std::time::Duration::from_secs(7)),
    };
    assert_eq!(failure.kind, seven);
    for status in [429, 500, 502] {
        standin.answer_next(1, status);
        away(call(&services, "influxdb::write", line()).await);
    }
    let echo = Reply::json(400, &json!({ "error": format!("odd {PASSWORD}") }));
    standin.fail_next(1, Mischief::Answer(echo));
    let said = refusal(call(&services, "influxdb::write", line()).await);
    assert_eq!(said, "InfluxDB refused the points: odd ***");
    standin.fail_next(1, Mischief::Answer(Reply::json(200, &json!({"hello": 1}))));
    let failure = call(&services, "influxdb::write", line())
        .await
        .unwrap_err();
    assert!(
        failure.message.contains("is `endpoint` right?"),
        "{failure}"
    );
}

#[tokio::test]
async fn version_two_has_its_own_door() {
    let standin = InfluxDb::start_two().await.unwrap();
    let services = two(&standin);
    assert_eq!(written(&services, json!("m f=1 1")).await["written"], 1);
    let seen = &standin.requests()[0];
    assert_eq!(seen.path, "/api/v2/write");
    assert_eq!(
        (
            seen.asked("org"),
            seen.asked("bucket"),
            seen.asked("precision")
        ),
        (Some(ORG), Some(DATABASE), Some("s"))
    );
    assert_eq!(
        seen.header("authorization"),
        Some(format!("Token {TOKEN}").as_str())
    );
    for (options, words) in [
        (
            json!({"bucket": "nope"}),
            "InfluxDB refused the points: bucket \"nope\" not found",
        ),
        (
            json!({"org": "nope"}),
            "InfluxDB refused the points: organization name not found",
        ),
    ] {
        let said = refusal(call(&services, "influxdb::write", json!(["m f=1 1", options])).await);
        assert_eq!(said, words);
    }
    let toml = format!(
        "endpoint = \"{}\"\norg = \"{ORG}\"\nbucket = \"{DATABASE}\"\ntoken_file = \"secret\"",
        standin.url()
    );
    let wrong = with(prepared(&toml, "wrong-token").unwrap());
    let said = refusal(call(&wrong, "influxdb::write", json!(["m f=1 1"])).await);
    assert_eq!(
        said,
        "InfluxDB does not know this user or token: unauthorized access"
    );
    let toml = format!("database = \"{DATABASE}\"");
    let said = refusal(
        call(
            &self::services(&standin.url(), &toml),
            "influxdb::write",
            json!(["m f=1 1"]),
        )
        .await,
    );
    assert_eq!(said, "InfluxDB refused the points: 404 page not found");
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_repeated_without_a_second_point() {
    let standin = InfluxDb::start(false).await.unwrap();
    let services = one(&standin);
    standin.fail_next(1, Mischief::LoseAnswer);
    away(call(&services, "influxdb::write", json!(["m f=1 1"])).await);
    assert_eq!(standin.points().len(), 1);
    let again = Try::again(&services)
        .call("influxdb::write", json!(["m f=1 1"]))
        .await;
    assert_eq!(shown(&again.unwrap())["written"], 1);
    assert_eq!(standin.points().len(), 1);
}

#[test]
fn wrong_settings_are_named() {
    for (toml, complaint) in [
        ("database = \"m\"", ""),
        (
            "database = \"m\"\nuser = \"u\"\npassword_file = \"secret\"",
            "",
        ),
        ("org = \"o\"\nbucket = \"b\"\ntoken_file = \"secret\"", ""),
        (
            "",
            "set `database` for InfluxDB 1, or `org`, `bucket` and `token_file` for InfluxDB 2",
        ),
        (
            "database = \"m\"\nbucket = \"b\"",
            "`database` is for InfluxDB 1 and `bucket` for InfluxDB 2",
        ),
        (
            "database = \"m\"\ntoken_file = \"secret\"",
            "`database` is for InfluxDB 1 and `token_file` for InfluxDB 2",
        ),
        ("user = \"u\"", "set `database`"),
        ("bucket = \"b\"\ntoken_file = \"secret\"", "set `org`"),
        ("bucket = \"b\"\norg = \"o\"", "set token_file or token_env"),
        (
            "database = \"m\"\nuser = \"u\"",
            "set password_file or password_env",
        ),
        (
            "database = \"m\"\npassword_file = \"secret\"",
            "a password without `user`",
        ),
        (
            "database = \"m\"\nprecision = \"h\"",
            "`precision` is \"h\"; it must be s, ms, us or ns",
        ),
        (
            "database = \"m\"\ntimeout = \"0s\"",
            "`timeout` must be more than 0",
        ),
        (
            "database = \"m\"\nendpoint = \"127.0.0.1:8086\"",
            "begins with http:// or https://",
        ),
        (
            "database = \"m\"\npassword = \"x\"",
            "unknown field `password`",
        ),
    ] {
        match prepared(toml, "x") {
            Ok(_) => assert!(complaint.is_empty(), "{toml}"),
            Err(why) => assert!(
                !complaint.is_empty() && why.contains(complaint),
                "{toml}: {why}"
            ),
        }
    }
}

#[test]
fn check_tells_the_mistakes_of_the_section() {
    let house = House::new().settings("[influxdb]\nbucket = \"b\"\norg = \"o\"");
    let output = house.run(&["check"]);
    let said = format!("{}{}", stderr(&output), stdout(&output));
    assert!(!output.status.success());
    assert!(
        said.contains("[influxdb]: set token_file or token_env"),
        "{said}"
    );
}

/// The stand-in answers the recorded requests as the real one did.
#[tokio::test]
async fn the_standin_answers_as_influxdb_did() {
    for (recorded, wants_login) in [
        (
            include_str!("../data/influxdb/exchanges-noauth.json"),
            false,
        ),
        (include_str!("../data/influxdb/exchanges-auth.json"), true),
    ] {
        let standin = InfluxDb::start(wants_login).await.unwrap();
        let recorded: Vec<Json> = serde_json::from_str(recorded).unwrap();
        assert!(recorded.len() >= 5);
        for one in recorded {
            let text = |name: &str| one[name].as_str().unwrap_or("").to_owned();
            let path = text("path")
                .replace("db=m", &format!("db={DATABASE}"))
                .replace("u=admin&p=pw", &format!("u={USER}&p={PASSWORD}"));
            let mut request = Request::new("POST", format!("{}{path}", standin.url()));
            request.body = Some(text("body").into_bytes());
            request.accept = Accept::only(&[400, 401, 403, 404, 405, 500]);
            use base64::Engine as _;
            let right =
                base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
            let authorization = text("authorization").replace("YWRtaW46cHc=", &right);
            if !authorization.is_empty() {
                request.header("authorization", &authorization);
            }
            let answer = Client::default().send(request).await.unwrap();
            assert_eq!(
                u64::from(answer.status),
                one["status"].as_u64().unwrap(),
                "{one}"
            );
            let parsed =
                |text: &str| serde_json::from_str::<Json>(text).unwrap_or(Json::from(text));
            assert_eq!(
                parsed(&answer.text().unwrap()),
                parsed(&text("answer")),
                "{}",
                one["name"]
            );
        }
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,4}",
        proptest::string::string_regex("[ -~éñ日\n\r\t\\\\,= \"#]{1,8}").unwrap(),
    ]
}

fn field() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Int),
        any::<f64>()
            .prop_filter("numbers", |number| number.is_finite())
            .prop_map(Value::Float),
        any::<bool>().prop_map(Value::Bool),
        proptest::string::string_regex("[ -~é日\n\\\\,= \"]{0,12}")
            .unwrap()
            .prop_map(Value::Text),
    ]
}

/// A point with names and texts as awkward as they come, and what InfluxDB should have of it.
pub type Point = (String, BTreeMap<String, String>, BTreeMap<String, Value>);

pub fn point() -> impl Strategy<Value = Point> {
    // of one type each, and never at odds with another point's
    let tags = proptest::collection::btree_map(name(), name(), 0..4);
    let fields = proptest::collection::btree_map(name(), field(), 1..4);
    (name(), tags, fields)
}

/// The point as a script would hand it over; each with a measurement of its own.
pub fn handed((measurement, tags, fields): &Point, number: usize) -> Value {
    let tags = tags
        .iter()
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())));
    Value::from([
        (
            "measurement",
            Value::from(format!("m{number}{measurement}")),
        ),
        ("tags", Value::Map(tags.collect())),
        ("fields", Value::Map(fields.clone())),
        ("time", Value::Int(number as i64)),
    ])
}

/// A name as it can be written: control characters as escapes, no backslash at the end.
pub fn said(name: &str) -> String {
    let escaped = |char: char| match char.is_control() {
        true => char.escape_default().to_string(),
        false => char.to_string(),
    };
    name.trim_end_matches('\\').chars().map(escaped).collect()
}

/// The key of a field as it can be written: also no backslash before what must be escaped.
pub fn field_said(name: &str) -> String {
    let mut kept = String::new();
    for char in name.chars() {
        while matches!(char, ',' | '=' | ' ' | '"') && kept.ends_with('\\') {
            kept.pop();
        }
        kept.push(char);
    }
    said(&kept)
}

/// Names that InfluxDB takes: not blank, not `time`, and one for each.
pub fn is_sayable((_, tags, fields): &Point) -> bool {
    let good = |names: Vec<String>| {
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        distinct.len() == names.len() && names.iter().all(|name| !name.is_empty() && name != "time")
    };
    good(tags.keys().map(|name| said(name)).collect())
        && good(fields.keys().map(|name| field_said(name)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_we_write_parses_back(points in proptest::collection::vec(point().prop_filter("sayable", is_sayable), 1..20)) {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let standin = InfluxDb::start(false).await.unwrap();
            let services = one(&standin);
            let handed: Vec<Value> = points.iter().enumerate().map(|(number, point)| handed(point, number)).collect();
            let outcome = Try::first(&services).with("influxdb::write", &[Value::List(handed)]).await.unwrap();
            assert_eq!(shown(&outcome), json!({"written": points.len(), "dropped": [], "dropped_count": 0}));
            let mut stored = standin.points();
            stored.sort_by_key(|point| point.time);
            for (number, ((measurement, tags, fields), stored)) in points.iter().zip(&stored).enumerate() {
                assert_eq!(stored.measurement, said(&format!("m{number}{measurement}")));
                let tags: BTreeMap<String, String> = tags.iter().map(|(key, value)| (said(key), said(value))).filter(|(_, value)| !value.is_empty()).collect();
                assert_eq!(&stored.tags, &tags);
                let fields: BTreeMap<String, Field> = fields.iter().map(|(key, value)| (field_said(key), read(value))).collect();
                assert_eq!(&stored.fields, &fields);
            }
            assert_eq!(stored.len(), points.len());
        });
    }
}

fn read(value: &Value) -> Field {
    match value {
        Value::Int(number) => Field::Integer(*number),
        Value::Float(number) => Field::Float(*number),
        Value::Bool(yes) => Field::Boolean(*yes),
        other => Field::Text(other.to_plain()),
    }
}

// a batch, and a target that is away

const BATCH: &str = r#"
    let points = list();
    for event in events {
        points += #{
            measurement: "rta",
            tags: #{ host: event.host, service: event.service },
            fields: #{ value: event.value, state: event.state },
            time: event.time,
        };
    }
    let outcome = influxdb::write(points);
    file::append("note", `${outcome.written} ${outcome.dropped_count}`);
"#;

fn house(url: &str) -> House {
    let house = House::new().settings(&format!(
        "[influxdb]\nendpoint = \"{url}\"\ndatabase = \"{DATABASE}\"\n[file]\nfolder = \"out\""
    ));
    std::fs::create_dir_all(house.path("out")).unwrap();
    house
}

fn metric(n: usize) -> Json {
    json!({"host": format!("web{n:05}.example.org"), "service": "Ping of the host", "value": n as f64 / 8.0, "state": n % 4, "time": 1_795_190_400 + n})
}

#[test]
fn a_batch_of_five_thousand_events_is_one_request() {
    let runtime = Runtime::new().unwrap();
    let standin = runtime.block_on(InfluxDb::start(false)).unwrap();
    let house = house(&standin.url());
    house.channel("metrics", "");
    house.flow("metrics/influx", BATCH);
    house.file(
        "flows/metrics/influx.toml",
        "[batch]\nsize_max = 5000\nage_max = \"30s\"",
    );
    let server = house.serve();
    for thousand in 0..5 {
        let events: Vec<Json> = (0..1_000).map(|n| metric(1_000 * thousand + n)).collect();
        server.push("metrics", &Json::Array(events));
    }
    wait_for("the batch", || {
        (!lines(&house.path("out/note")).is_empty()).then_some(())
    });
    assert_eq!(lines(&house.path("out/note")), ["5000 0"]);
    assert_eq!(standin.points().len(), 5_000);
    assert_eq!(standin.requests().len(), 1);
    let told = server.ended("metrics/1/influx");
    assert_eq!(told["state"], "done", "{told}");
}

#[test]
fn lines_of_five_thousand_events_may_be_joined_to_one_text() {
    let runtime = Runtime::new().unwrap();
    let standin = runtime.block_on(InfluxDb::start(false)).unwrap();
    let house = house(&standin.url());
    house.channel("metrics", "");
    house.flow(
        "metrics/influx",
        r#"
        let lines = list();
        for event in events { lines += `rta,host=${event.host} value=${event.value},text="what the plugin said about it" ${event.time}`; }
        let outcome = influxdb::write(lines.join("\n"));
        file::append("note", `${outcome.written}`);
        "#,
    );
    house.file(
        "flows/metrics/influx.toml",
        "[batch]\nsize_max = 5000\nage_max = \"30s\"",
    );
    let server = house.serve();
    for thousand in 0..5 {
        let events: Vec<Json> = (0..1_000).map(|n| metric(1_000 * thousand + n)).collect();
        server.push("metrics", &Json::Array(events));
    }
    wait_for("the batch", || {
        (!lines(&house.path("out/note")).is_empty()).then_some(())
    });
    assert_eq!(lines(&house.path("out/note")), ["5000"]);
    assert_eq!(standin.points().len(), 5_000);
}

#[test]
fn an_influxdb_that_is_away_delays_nobody_and_what_waits_is_bounded() {
    let runtime = Runtime::new().unwrap();
    let standin = runtime.block_on(InfluxDb::start(false)).unwrap();
    standin.answer_next(100_000, 503);
    let house = house(&standin.url());
    house.channel("metrics", "depth_max = 40");
    house.channel("alert", "");
    house.flow("metrics/influx", r#"influxdb::write(#{ measurement: "rta", tags: #{ host: event.host }, fields: #{ value: event.value }, time: event.time });"#);
    house.file("flows/metrics/influx.toml", "runs_at_once_max = 4");
    house.flow("metrics/log", r#"file::append("log", event.host);"#);
    house.flow("alert/tell", r#"file::append("alert", event.host);"#);
    let server = house.serve();
    // What is begun is in the store too, and bounded by a limit of its own.
    let many = 20;
    let most = 1_000 + 40;
    let mut accepted = 0;
    let refused = loop {
        let events: Vec<Json> = (accepted..accepted + many).map(metric).collect();
        let body = Json::Array(events).to_string();
        let json = [("content-type", "application/json")];
        let path = "/api/v1/channels/metrics/events";
        let answered = server.ask(path, &json, Some(body.as_bytes()));
        match answered.status {
            202 => accepted += many,
            _ => break answered,
        }
        assert!(accepted <= most, "nothing bounds what waits");
    };
    assert_eq!(refused.status, 503);
    assert!(refused.headers.contains_key("retry-after"));
    assert!(accepted >= many, "{accepted}");
    // the same channel's other flow sees all of them, and another channel's flow is as quick as ever
    wait_for("the log", || {
        (lines(&house.path("out/log")).len() == accepted).then_some(())
    });
    for n in 0..20 {
        let id = server.push("alert", &metric(n));
        assert_eq!(server.ended(&format!("{id}/tell"))["state"], "done");
    }
    assert!(standin.points().is_empty());
    // what waits is on disk
    server.kill();
    let server = house.serve();
    standin.behave();
    wait_for("all points", || {
        (standin.points().len() == accepted).then_some(())
    });
    let last = format!("metrics/{accepted}/influx");
    assert_eq!(server.ended(&last)["state"], "done");
}
