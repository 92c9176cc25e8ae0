//! `vigie import centreon-output`: what a Broker's output was told, as a source that passes `check`.

use serde_json::{Value as Json, json};

use crate::house::{House, stderr, stdout};

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/bbdo/A301.cbd.json");

fn parameter(name: &str, kind: &str, value: &str) -> Json {
    json!({ "type": kind, "name": name, "value": value })
}

/// The filter and the notes that a configuration gives; the filter passes `check`.
fn imported(configuration: &Json, arguments: &[&str]) -> (toml::Table, String, String) {
    let house = House::new();
    house.file("broker.json", &configuration.to_string());
    let path = house.path("broker.json");
    let mut all = vec!["import", "centreon-output", path.to_str().unwrap()];
    all.extend(arguments);
    let output = house.run(&all);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    house.channel("centreon", &text);
    let checked = house.run(&["check"]);
    assert_eq!(
        checked.status.code(),
        Some(0),
        "{text}\n{}",
        stderr(&checked)
    );
    let table: toml::Table = text.parse().unwrap();
    let filter = table["source"][0]["filter"].as_table().unwrap().clone();
    (filter, stderr(&output), text)
}

fn of(script: &str, parameters: &[Json]) -> Json {
    json!({ "centreonBroker": { "output": [
        { "type": "ipv4", "name": "rrd" },
        { "type": "lua", "name": "out", "path": script, "lua_parameter": parameters },
    ] } })
}

#[test]
fn an_output_without_parameters_gives_the_defaults_of_its_script() {
    let (filter, notes, _) = imported(&of("/usr/share/canopsis2x-events-apiv2.lua", &[]), &[]);
    assert_eq!(
        filter["accepted_categories"],
        toml::Value::from(vec!["neb"])
    );
    let elements = vec![
        "host_status",
        "service_status",
        "acknowledgement",
        "downtime",
    ];
    assert_eq!(filter["accepted_elements"], toml::Value::from(elements));
    assert_eq!(filter["hard_only"].as_bool(), Some(true));
    assert_eq!(
        filter["service_status"],
        toml::Value::from(vec![0, 1, 2, 3])
    );
    assert_eq!(
        filter["delta_host_status_change_allow"].as_integer(),
        Some(20)
    );
    assert_eq!(notes, "");
    let (filter, ..) = imported(&of("influxdb2-metrics-apiv2.lua", &[]), &[]);
    assert_eq!(filter["hard_only"].as_bool(), Some(false));
    assert_eq!(filter["enable_host_status_dedup"].as_bool(), Some(false));
}

#[test]
fn every_default_of_a_connector_is_written_out_because_what_is_absent_filters_nothing() {
    let parameters = [
        parameter("host_status", "string", "1,2"),
        parameter("dt_service_status", "string", "3"),
    ];
    let (filter, ..) = imported(&of("x.lua", &parameters), &[]);
    let wanted: toml::Table = r#"
        accepted_categories = ["neb", "bam"]
        accepted_elements = ["host_status", "service_status", "ba_status"]
        host_status = [1, 2]
        service_status = [0, 1, 2, 3]
        ba_status = [0, 1, 2]
        ack_host_status = [1, 2]
        ack_service_status = [0, 1, 2, 3]
        dt_host_status = [1, 2]
        dt_service_status = [3]
        hard_only = true
        acknowledged = false
        in_downtime = false
        flapping = false
        host_severity_operator = ">="
        service_severity_operator = ">="
        skip_anon_events = true
        skip_nil_id = true
        skip_downtime_progress = true
        enable_bam_host = false
        enable_host_status_dedup = true
        enable_service_status_dedup = true
        delta_host_status_change_allow = 20
    "#
    .parse()
    .unwrap();
    assert_eq!(filter, wanted);
}

#[test]
fn parameters_are_carried_over_with_their_types_and_the_rest_is_told() {
    let (filter, notes, text) = imported(
        &of(
            "canopsis2x.lua",
            &[
                parameter(
                    "accepted_elements",
                    "string",
                    "host_status, pb_service_status,downtme",
                ),
                parameter("hard_only", "number", "0"),
                parameter("in_downtime", "string", "1"),
                parameter("acknowledged", "number", "yes"),
                parameter("service_status", "string", "1,2,x"),
                parameter("accepted_hostgroups", "string", "Linux \"a\", Éurope"),
                parameter("rejected_hostgroups", "string", "Test"),
                parameter("accepted_hosts", "string", "^srv%-web,sw%-%d+"),
                parameter("accepted_hosts_enable_split_pattern", "number", "1"),
                parameter("accepted_services", "string", "%bxy"),
                parameter("service_severity_threshold", "number", "3.0"),
                parameter("host_severity_threshold", "number", "high"),
                parameter("host_severity_operator", "string", "~="),
                parameter("max_buffer_size", "number", "50"),
                parameter("canopsis_authkey", "string", "very-secret-value"),
                parameter("proxy_password", "password", "another-secret"),
                parameter("canopsis_host", "string", "canopsis.example"),
                parameter("odd\nname", "string", "a\nb = 1"),
                parameter("format_file", "string", "/etc/format.json"),
            ],
        ),
        &[],
    );
    assert_eq!(
        filter["accepted_elements"],
        toml::Value::from(vec!["host_status", "service_status"])
    );
    assert_eq!(filter["hard_only"].as_bool(), Some(false));
    assert_eq!(filter["in_downtime"].as_bool(), Some(true));
    assert_eq!(filter["acknowledged"].as_bool(), Some(false));
    assert_eq!(
        filter["service_status"],
        toml::Value::from(vec![0, 1, 2, 3])
    );
    assert_eq!(
        filter["accepted_hostgroups"],
        toml::Value::from(vec!["Linux \"a\"", "Éurope"])
    );
    assert_eq!(filter["accepted_hosts"].as_array().unwrap().len(), 2);
    assert_eq!(filter.get("accepted_services"), None);
    assert_eq!(filter["service_severity_threshold"].as_integer(), Some(3));
    assert_eq!(filter.get("host_severity_threshold"), None);
    assert_eq!(filter["host_severity_operator"].as_str(), Some("!="));
    for note in [
        "there is no event `downtme`",
        "in_downtime: given as text",
        "acknowledged: `yes` is neither 0 nor 1; the default, 0, is kept",
        "service_status: `x` is no state",
        "accepted_hostgroups and rejected_hostgroups",
        "accepted_services: `%b` has no like",
        "service_severity_threshold: a connector never reads it",
        "host_severity_threshold: `high` is no whole number",
        "max_buffer_size = \"50\": it is size_max under [batch]",
        "canopsis_host = \"canopsis.example\": it is for [canopsis]",
        "template::render",
        "canopsis_authkey = ***",
    ] {
        assert!(notes.contains(note), "{note}\n{notes}");
        assert!(text.contains(note), "{note}\n{text}");
    }
    for secret in ["very-secret-value", "another-secret"] {
        assert!(!notes.contains(secret) && !text.contains(secret));
    }
}

#[test]
fn every_form_of_a_configuration_is_understood() {
    let one = parameter("hard_only", "number", "0");
    let output = json!({ "type": "lua", "name": "out", "path": "x.lua", "lua_parameter": one });
    for form in [
        json!({ "centreonBroker": { "output": output } }),
        json!({ "centreonBroker": { "output": [output] } }),
        output.clone(),
        json!({ "lua_parameters": { "hard_only": 0 } }),
        json!({ "lua_parameter": { "1": one } }),
        json!([one]),
        one.clone(),
        json!({ "hard_only": "0" }),
    ] {
        let (filter, ..) = imported(&form, &[]);
        assert_eq!(filter["hard_only"].as_bool(), Some(false), "{form}");
    }
}

#[test]
fn the_recorded_configuration_has_two_scripts_and_one_is_to_be_named() {
    let house = House::new();
    let output = house.run(&["import", "centreon-output", RECORDED]);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        stderr(&output).contains("lua1, lua2"),
        "{}",
        stderr(&output)
    );
    let recorded: Json = serde_json::from_str(&std::fs::read_to_string(RECORDED).unwrap()).unwrap();
    let (filter, notes, _) = imported(&recorded, &["--output", "lua2"]);
    assert_eq!(
        filter["accepted_categories"],
        toml::Value::from(vec!["neb", "bam"])
    );
    for note in [
        "num = \"12\": it is the script's own",
        "logfile",
        "what it sets by itself is not known",
    ] {
        assert!(notes.contains(note), "{note}\n{notes}");
    }
}

#[test]
fn what_is_no_configuration_is_refused() {
    let house = House::new();
    for (text, why) in [
        ("{", "it is no JSON"),
        ("{}", "neither outputs nor lua_parameter"),
        (
            "{\"centreonBroker\": {\"output\": [{\"type\": \"ipv4\"}]}}",
            "no output with a script",
        ),
    ] {
        house.file("broker.json", text);
        let output = house.run(&[
            "import",
            "centreon-output",
            house.path("broker.json").to_str().unwrap(),
        ]);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(stderr(&output).contains(why), "{text}: {}", stderr(&output));
    }
    let output = house.run(&["import", "centreon-output", "/nowhere.json"]);
    assert_eq!(output.status.code(), Some(1));
}
