//! `template::render`: a connector's format_file, with what its macros promise.

use serde_json::{Value as Json, json};
use vigie::event::Value;
use vigie::lua_pattern::to_regex;
use vigie::template::{Filling, Template};

use crate::house::{House, stderr};

fn event() -> Json {
    json!({
        "kind": "service_status", "category": 1, "element": 29, "host_id": 101, "service_id": 201,
        "host_name": "srv \"web\"", "host_alias": "Web", "host_address": "192.0.2.10",
        "host_groups": ["Europe", "Linux-Servers"], "service_groups": ["Disks"], "poller": "Central",
        "service_description": "Disk-/var", "host_severity": 3, "service_severity": null,
        "notes_url": "http://wiki/s201", "state": 2, "state_type": 1, "last_check": 1_795_191_633,
        "output": "DISK CRITICAL\t95%", "long_output": "line 2\nline 3", "acknowledged": false,
        "perfdata": "used=95%", "text": "7.5",
    })
}

/// Rendered; what a Broker is asked is answered with this.
fn rendered(template: &Json, host: &Json) -> Json {
    let event = Value::from_json(event());
    let filling = Filling::new(&event, None).unwrap();
    let template = Template::parse(&template.to_string()).unwrap();
    let mut look = |question: vigie::gate::Question| {
        assert_eq!(question.arguments[0], Value::Int(101));
        (question.word == "broker::host").then(|| Value::from_json(host.clone()))
    };
    template.render(&filling, &mut look).to_json()
}

#[test]
fn macros_become_values_with_their_types() {
    let told = json!({ "display_name": "The web" });
    let pairs = [
        ("{host_id}", json!(101)),
        ("{acknowledged}", json!(false)),
        ("{cache.host.name}", json!("srv \"web\"")),
        ("{cache.host.alias}", json!("Web")),
        ("{cache.host.display_name}", json!("The web")),
        ("{cache.service.description}", json!("Disk-/var")),
        ("{cache.service.notes_url}", json!("http://wiki/s201")),
        ("{cache.service.state_scstate}", json!("CRITICAL")),
        ("{cache.instance.name}", json!("Central")),
        ("{cache.severity.host}", json!(3)),
        ("{state_scstate}", json!("CRITICAL")),
        ("{state_type_sctype}", json!("HARD")),
        ("{state_scstring}", json!("2")),
        ("{text_scnumber}", json!(7.5)),
        ("{last_check_scdate}", json!("2026-11-20 16:20:33")),
        ("{short_output}", json!("DISK CRITICAL\t95%")),
        ("{long_output}", json!("DISK CRITICAL\t95%\nline 2\nline 3")),
        ("{long_output_scshort}", json!("DISK CRITICAL\t95%")),
        ("{groups(hg,table,.*)}", json!(["Europe", "Linux-Servers"])),
        ("{groups(hg,inline,.*)}", json!("Europe,Linux-Servers")),
        ("{groups(hg,table,^Linux%-)}", json!(["Linux-Servers"])),
        ("{groups(sg,inline,.*)}", json!("Disks")),
        (
            "$HOSTNAME$ $SERVICESTATE$ $HOSTADDRESS$",
            json!("srv \"web\" CRITICAL 192.0.2.10"),
        ),
        ("$SERVICESTATEID$", json!(2)),
        (
            "host {host_id}: {state_scstate}, {acknowledged}",
            json!("host 101: CRITICAL, false"),
        ),
        // What has no value stays as it is written.
        (
            "{cache.severity.service}",
            json!("{cache.severity.service}"),
        ),
        (
            "a {nothing} $NOTHING$ {cache.x} {state_scodd}",
            json!("a {nothing} $NOTHING$ {cache.x} {state_scodd}"),
        ),
        ("{ not a macro }", json!("{ not a macro }")),
        ("100 %", json!("100 %")),
    ];
    for (template, wanted) in pairs {
        let said = rendered(&json!([template, { template: 1 }]), &told);
        assert_eq!(said[0], wanted, "{template}");
    }
    let nested = json!({ "a": { "b": ["{host_id}", true, null, 1.5] }, "{host_id}": "x" });
    let said = rendered(&nested, &told);
    assert_eq!(
        said,
        json!({ "a": { "b": [101, true, null, 1.5] }, "101": "x" })
    );
}

#[test]
fn a_template_is_chosen_by_the_kind_of_event() {
    let each = json!({ "neb_service_status": { "s": "{state}" }, "neb_host_status": { "h": 1 } });
    assert_eq!(rendered(&each, &json!(null)), json!({ "s": 2 }));
    assert_eq!(
        rendered(&json!({ "bam_ba_status": {} }), &json!(null)),
        json!(null)
    );
    let mixed = json!({ "neb_service_status": 1, "other": 2 }).to_string();
    assert!(
        Template::parse(&mixed)
            .unwrap_err()
            .contains("`other` is no kind of event")
    );
}

#[test]
fn a_file_belongs_to_the_flows_version_and_a_filter_may_render_too() {
    let house = House::new();
    house.channel("centreon", "");
    house.file("flows/centreon/format.json", r#"{ "neb_service_status": { "name": "{cache.host.name}", "state": "{state}", "at": "{last_check_scdate}" } }"#);
    house.flow(
        "centreon/send",
        r#"
        fn filter(event) { template::render("[\"{state_scstate}\"]", event)[0] == "CRITICAL" }
        sleep("50ms");
        print(json_dump(template::render("centreon/format.json", event, #{ time_zone: "Europe/Paris", date_format: "%H:%M" })));
        "#,
    );
    let server = house.serve();
    let pushed = server.push("centreon", &event());
    let run = server.ended(&format!("{pushed}/send"));
    let line = r#"{"at":"17:20","name":"srv \"web\"","state":2}"#;
    assert_eq!(run["console"], json!([line]), "{run}");
}

#[test]
fn what_is_wrong_with_a_template_is_told_before_it_is_used() {
    let wrong = [
        (
            "template::render(\"nowhere.json\", event)",
            "template `nowhere.json` not found; it would be flows/nowhere.json",
        ),
        (
            "template::render(\"../settings.json\", event)",
            "a path under flows/ has only names",
        ),
        (
            "template::render(\"broken.json\", event)",
            "the template is no JSON",
        ),
        (
            "template::render(\"format.json\")",
            "`template::render` does not take 1 arguments",
        ),
    ];
    for (line, message) in wrong {
        let house = House::new();
        house
            .channel("alert", "")
            .flow("alert/send", &format!("print({line});"));
        house.file("flows/broken.json", "{ \"a\": ");
        house.file("flows/format.json", "{}");
        let output = house.run(&["check"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{line}: {said}");
        assert!(said.contains(message), "{line}: {said}");
    }
}

#[test]
fn lua_patterns_find_the_same_as_regular_expressions() {
    let pairs = [
        ("srv%-", "srv-1", "srv1"),
        ("^srv", "srv", "a srv"),
        ("web$", "srv-web", "webs"),
        ("a.c", "a\nc", "ac"),
        ("%d+", "a1", "a"),
        ("[%a_]-x", "ab_x", "-y"),
        ("[^%s]+", "a", "  "),
        ("a|b", "a|b", "a"),
        ("(ab)c", "abc", "ac"),
        ("[]]", "]", "["),
        ("[a-c]", "b", "-"),
        ("[a-]", "-", "b"),
        ("%.{", ".{", "a{"),
        ("%D", "a", "1"),
        ("x$y", "x$y", "xy"),
    ];
    for (pattern, found, missed) in pairs {
        let regex = regex::Regex::new(&to_regex(pattern).unwrap()).unwrap();
        assert!(
            regex.is_match(found) && !regex.is_match(missed),
            "{pattern}: {regex}"
        );
    }
    for pattern in ["%b()", "%f[a]", "(a)%1", "[a", "a%", "(a", "a)"] {
        assert!(to_regex(pattern).is_err(), "{pattern}");
    }
}
