//! Performance data, read as the real Broker read it.

use vigie::script::list::ITEMS_MAX;
use vigie::script::perfdata::{DETAILED_MAX, METRICS_MAX, Metric, POINTS_BYTES_MAX, Range, parse};

fn range(low: f64, high: f64, inside: bool) -> Range {
    Range { low, high, inside }
}

fn same(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan()
}

const NONE: f64 = f64::NAN;
const OPEN: f64 = f64::INFINITY;

/// Name, value, unit, warning, critical, min, max.
type Row = (&'static str, f64, &'static str, Range, Range, f64, f64);

#[test]
#[allow(clippy::approx_constant)]
fn metrics_are_those_that_the_broker_found() {
    let none = range(NONE, NONE, false);
    let expected: Vec<(&str, Vec<Row>)> = vec![
        (
            "'one value'=2s;3;5;0;9 'a b c'=3.14KB;0.8;1;0;10",
            vec![
                (
                    "one value",
                    2.0,
                    "s",
                    range(0.0, 3.0, false),
                    range(0.0, 5.0, false),
                    0.0,
                    9.0,
                ),
                (
                    "a b c",
                    3.14,
                    "KB",
                    range(0.0, 0.8, false),
                    range(0.0, 1.0, false),
                    0.0,
                    10.0,
                ),
            ],
        ),
        (
            "pl=45%;40;80;0;100",
            vec![(
                "pl",
                45.0,
                "%",
                range(0.0, 40.0, false),
                range(0.0, 80.0, false),
                0.0,
                100.0,
            )],
        ),
        (
            "x=1;@10:20;~:5 y=2;10:;;",
            vec![
                (
                    "x",
                    1.0,
                    "",
                    range(10.0, 20.0, true),
                    range(-OPEN, 5.0, false),
                    NONE,
                    NONE,
                ),
                ("y", 2.0, "", range(10.0, OPEN, false), none, NONE, NONE),
            ],
        ),
        (
            "c[cnt]=12c a=1,5 bad z=U w=nan",
            vec![
                ("cnt", 12.0, "c", none, none, NONE, NONE),
                ("a", 1.5, "", none, none, NONE, NONE),
            ],
        ),
        (
            "inst~sub1~sub2#net.in.bps=5b/s;;;0",
            vec![(
                "inst~sub1~sub2#net.in.bps",
                5.0,
                "b/s",
                none,
                none,
                0.0,
                NONE,
            )],
        ),
        (
            "dup=1 dup=2",
            vec![("dup", 1.0, "", none, none, NONE, NONE)],
        ),
        ("", vec![]),
        ("novalue=", vec![]),
        ("  \t\n", vec![]),
        ("= =5 ''=5 ;;; a", vec![]),
        (
            "'it''s'=1",
            vec![("it''s", 1.0, "", none, none, NONE, NONE)],
        ),
        ("'open=1 2", vec![]),
        (
            "a=-1.5e3ms;-5:-1",
            vec![(
                "a",
                -1500.0,
                "ms",
                range(-5.0, -1.0, false),
                none,
                NONE,
                NONE,
            )],
        ),
        (
            "température=21°C",
            vec![("température", 21.0, "°C", none, none, NONE, NONE)],
        ),
        (
            "a=1;2;3;0;10;x b=2",
            vec![
                (
                    "a",
                    1.0,
                    "",
                    range(0.0, 2.0, false),
                    range(0.0, 3.0, false),
                    0.0,
                    10.0,
                ),
                ("b", 2.0, "", none, none, NONE, NONE),
            ],
        ),
    ];
    for (text, rows) in expected {
        let found = parse(text);
        assert_eq!(found.len(), rows.len(), "{text}: {found:?}");
        for (metric, (name, value, unit, warning, critical, min, max)) in found.iter().zip(rows) {
            assert_eq!(
                (metric.name.as_str(), metric.unit.as_str()),
                (name, unit),
                "{text}"
            );
            assert!(same(metric.value, value), "{text}: {metric:?}");
            for (found, wanted) in [(metric.warning, warning), (metric.critical, critical)] {
                assert!(
                    same(found.low, wanted.low) && same(found.high, wanted.high),
                    "{text}: {metric:?}"
                );
                assert_eq!(found.inside, wanted.inside, "{text}");
            }
            assert!(
                same(metric.min, min) && same(metric.max, max),
                "{text}: {metric:?}"
            );
        }
    }
    let kinds = |text: &str| {
        parse(text)
            .iter()
            .map(|metric: &Metric| metric.kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        kinds("a[a]=1 c[b]=1 d[c]=1 g[d]=1 e=1"),
        ["absolute", "counter", "derive", "gauge", "gauge"]
    );
}

#[test]
fn any_text_comes_to_an_end() {
    let pieces = [
        "'", "=", ";", ":", "@", "~", " ", "1", "a", "[", "]", "#", ",", "-", ".", "e", "é", "nan",
        "inf", "\u{0}",
    ];
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
        }
        for metric in parse(&text) {
            assert!(
                !metric.name.is_empty() && !metric.value.is_nan(),
                "{text:?}"
            );
        }
    }
    let many: String = (0..METRICS_MAX + 10).map(|n| format!("m{n}=1 ")).collect();
    assert_eq!(parse(&many).len(), METRICS_MAX);
}

#[test]
fn details_are_what_connectors_use_and_fit_into_a_flow() {
    use crate::house::House;
    use serde_json::json;
    let house = House::new();
    house.channel("alert", "").flow(
        "alert/read",
        r##"
        let all = perfdata_parse("inst~sub1~sub2#net.in.bps=5b/s;;;0", true);
        let one = all["inst~sub1~sub2#net.in.bps"];
        print(json_dump([one.instance, one.subinstance, one.metric_name, one.metric_fields, one.metric_unit, one.uom, one.min, one.max]));
        print(json_dump(perfdata_parse("one value=1 'one value'=2", true)["one value"].metric_unit));
        print(perfdata_parse(()).len());
        print(perfdata_parse(event.many).len());
        print(perfdata_parse(event.many, true).len());
        "##,
    );
    let server = house.serve();
    let many: String = (0..3_000).map(|n| format!("a.b.c{n}=1;2;3;0;4 ")).collect();
    let pushed = server.push("alert", &json!({ "many": many }));
    let run = server.ended(&format!("{pushed}/read"));
    let lines = [
        r#"["inst",["sub1","sub2"],"net.in.bps",["net","in","bps"],"bps","b/s",0.0,null]"#
            .to_owned(),
        r#""one value""#.to_owned(),
        "0".to_owned(),
        "3000".to_owned(),
        DETAILED_MAX.to_string(),
    ];
    assert_eq!(run["console"], json!(lines), "{run}");
}

/// How an event's values become points, by hand.
#[test]
fn points_are_what_connectors_write() {
    use crate::house::House;
    use serde_json::json;
    let house = House::new();
    // no proof of speed: also a machine with much else to do gets through
    house.file("flows/alert/points.toml", "run_seconds_max = 300");
    house.channel("alert", "").flow(
        "alert/points",
        r##"
        for point in perfdata_points(event.check) { print(point); }
        for point in perfdata_points([event.check], "service") { print(point); }
        for point in perfdata_points(event.metric) { print(point); }
        print(perfdata_points(#{ perfdata: () }).len());
        print(json_dump(perfdata_points(event.odd)[0]));
        let batch = list();
        for n in 0..20 { batch += event.wide; }
        print(perfdata_points(batch).len());
        for wrong in [|| perfdata_points(1), || perfdata_points(event.check, "host"), || perfdata_points(event.much)] {
            try { wrong.call(); } catch (why) { print(why); }
        }
        "##,
    );
    let server = house.serve();
    let many: String = (0..3_000).map(|n| format!("m{n}=1 ")).collect();
    let event = json!({
        "check": {"service_id": 2, "host_name": "web, 1", "service_description": "Free space", "poller": "Central",
            "last_check": 7, "perfdata": "a~b~c#d.e=1,5kB;;;0 time=2 bad"},
        "metric": {"kind": "metric", "host_name": "web", "name": "x#rta", "value": 1, "time": 9},
        "odd": {"host_name": "web", "perfdata": "#rta=1"},
        "wide": {"host_name": "web", "service_description": "Ports of a switch", "last_check": 7, "perfdata": many},
        "much": {"host_name": "w".repeat(20_000), "last_check": 7, "perfdata": many},
    });
    let pushed = server.push("alert", &event);
    let run = server.ended(&format!("{pushed}/points"));
    let common = "poller=Central,service.name=Free\\ space";
    let lines = [
        format!(
            "d.e,host.name=web\\,\\ 1,metric.instance=a,metric.unit=kB,{common},subinstance_1=b,subinstance_2=c,type=service value=1.5 7"
        ),
        format!("time,host.name=web\\,\\ 1,{common},type=service value=2.0 7"),
        "Free_space,host=web\\,\\ 1 a~b~c#d.e=1.5 7".to_owned(),
        "Free_space,host=web\\,\\ 1 _time=2.0 7".to_owned(),
        "rta,host.name=web,metric.instance=x,type=host value=1.0 9".to_owned(),
        "0".to_owned(),
        r#"{"fields":{"value":1.0},"measurement":"rta","tags":{"host.name":"web","metric.instance":"","metric.unit":"","poller":null,"type":"host"},"time":null}"#.to_owned(),
        "60000".to_owned(),
        "an event is a map, not an integer".to_owned(),
        "points are by \"metric\" or by \"service\", not by \"host\"".to_owned(),
        format!(
            "these are more than {ITEMS_MAX} points or {POINTS_BYTES_MAX} bytes of them; a smaller `size_max` under [batch] makes them fewer"
        ),
    ];
    assert_eq!(run["console"], json!(lines), "{run}");
}
