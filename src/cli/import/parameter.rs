//! What stream connectors can be told, and where it stands here.

/// What a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A list of names with commas.
    Names,
    /// A list of kinds of events with commas.
    Elements,
    /// A list of states with commas.
    States,
    /// 0 or 1.
    Switch,
    /// A whole number.
    Number,
    /// How a threshold is compared.
    Operator,
    /// A Lua pattern, which another parameter may have split at a character.
    Pattern(&'static str),
    /// Changes how another one is read.
    Helper,
    /// Stands elsewhere, or nowhere: why.
    Elsewhere(&'static str),
}

/// A parameter of the filter with the library's default; a text as it would be given.
pub(super) type Row = (&'static str, Kind, &'static str);

/// In the order in which they are written out.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    ("accepted_categories", Kind::Names, "neb,bam"),
    ("accepted_elements", Kind::Elements, "host_status,service_status,ba_status"),
    ("host_status", Kind::States, "0,1,2"),
    ("service_status", Kind::States, "0,1,2,3"),
    ("ba_status", Kind::States, "0,1,2"),
    ("ack_host_status", Kind::States, ""),
    ("ack_service_status", Kind::States, ""),
    ("dt_host_status", Kind::States, ""),
    ("dt_service_status", Kind::States, ""),
    ("hard_only", Kind::Switch, "1"),
    ("acknowledged", Kind::Switch, "0"),
    ("in_downtime", Kind::Switch, "0"),
    ("flapping", Kind::Switch, "0"),
    ("accepted_hostgroups", Kind::Names, ""),
    ("rejected_hostgroups", Kind::Names, ""),
    ("accepted_servicegroups", Kind::Names, ""),
    ("rejected_servicegroups", Kind::Names, ""),
    ("accepted_bvs", Kind::Names, ""),
    ("rejected_bvs", Kind::Names, ""),
    ("accepted_pollers", Kind::Names, ""),
    ("rejected_pollers", Kind::Names, ""),
    ("accepted_authors", Kind::Names, ""),
    ("rejected_authors", Kind::Names, ""),
    ("accepted_hosts", Kind::Pattern("accepted_hosts"), ""),
    ("accepted_services", Kind::Pattern("accepted_services"), ""),
    ("accepted_metrics", Kind::Pattern(""), ".*"),
    ("host_severity_threshold", Kind::Number, ""),
    ("host_severity_operator", Kind::Operator, ">="),
    ("service_severity_threshold", Kind::Number, ""),
    ("service_severity_operator", Kind::Operator, ">="),
    ("skip_anon_events", Kind::Switch, "1"),
    ("skip_nil_id", Kind::Switch, "1"),
    ("enable_bam_host", Kind::Switch, "0"),
    ("enable_host_status_dedup", Kind::Switch, "1"),
    ("enable_service_status_dedup", Kind::Switch, "1"),
    ("delta_host_status_change_allow", Kind::Number, "20"),
];

/// What connectors do whatever they are told.
pub(super) const ALWAYS: &[&str] = &["skip_downtime_progress = true"];

/// Those that are no filter: what is to be done.
#[rustfmt::skip]
const OTHERS: &[Row] = &[
    ("accepted_hosts_enable_split_pattern", Kind::Helper, ""),
    ("accepted_hosts_split_character", Kind::Helper, ""),
    ("accepted_services_enable_split_pattern", Kind::Helper, ""),
    ("accepted_services_split_character", Kind::Helper, ""),
    ("max_buffer_size", Kind::Elsewhere("it is size_max under [batch] in the flow's own TOML file"), ""),
    ("max_buffer_age", Kind::Elsewhere("it is age_max under [batch] in the flow's own TOML file"), ""),
    ("max_all_queues_age", Kind::Elsewhere("it is age_max under [batch] in the flow's own TOML file"), ""),
    ("send_mixed_events", Kind::Elsewhere("give each kind of event a channel and a flow of its own where they must not mix"), ""),
    ("max_stored_events", Kind::Elsewhere("Centreon's library does not use it either; here depth_max of the channel limits what waits"), ""),
    ("connection_timeout", Kind::Elsewhere("each request of a flow has a timeout of its own"), ""),
    ("allow_insecure_connection", Kind::Elsewhere("certificates are always verified; name the authority in settings.toml"), ""),
    ("verify_certificate", Kind::Elsewhere("certificates are always verified; name the authority in settings.toml"), ""),
    ("proxy_address", Kind::Elsewhere("it is [proxy] in settings.toml"), ""),
    ("proxy_port", Kind::Elsewhere("it is [proxy] in settings.toml"), ""),
    ("proxy_username", Kind::Elsewhere("it is [proxy] in settings.toml"), ""),
    ("proxy_password", Kind::Elsewhere("it is [proxy] in settings.toml"), ""),
    ("proxy_protocol", Kind::Elsewhere("it is [proxy] in settings.toml"), ""),
    ("format_file", Kind::Elsewhere("copy the file under flows/ and use template::render(\"NAME.json\", event)"), ""),
    ("custom_code_file", Kind::Elsewhere("Lua is not run; write it as `fn filter(event)` or in the flow"), ""),
    ("use_long_output", Kind::Elsewhere("an event has both output and long_output; the flow chooses"), ""),
    ("remove_line_break_in_output", Kind::Elsewhere("output is one line here; replace line breaks of long_output in the flow"), ""),
    ("output_line_break_replacement_character", Kind::Elsewhere("output is one line here; replace line breaks of long_output in the flow"), ""),
    ("output_size_limit", Kind::Elsewhere("cut the text in the flow"), ""),
    ("local_time_diff_from_utc", Kind::Elsewhere("name a zone: date_format(seconds, format, \"Europe/Paris\"), or time_zone of template::render"), ""),
    ("timestamp_conversion_format", Kind::Elsewhere("it is date_format of template::render"), ""),
    ("send_data_test", Kind::Elsewhere("try a flow with `vigie test` or `vigie replay`"), ""),
    ("logfile", Kind::Elsewhere("everything goes to the server's own log"), ""),
    ("log_level", Kind::Elsewhere("it is log_level in the flow's own TOML file"), ""),
    ("log_curl_commands", Kind::Elsewhere("`vigie show RUN` has every request of a run"), ""),
    ("metric_name_regex", Kind::Elsewhere("change names of metrics in the flow"), ""),
    ("metric_replacement_character", Kind::Elsewhere("change names of metrics in the flow"), ""),
];

/// What a parameter is; `None` if the library does not know it.
pub(super) fn find(name: &str) -> Option<Kind> {
    let mut rows = ROWS.iter().chain(OTHERS);
    rows.find(|(known, ..)| *known == name)
        .map(|(_, kind, _)| *kind)
}

/// Where a script's own parameters stand, by how their names begin.
const TARGETS: &[(&str, &str)] = &[
    (
        "canopsis_",
        "it is for [canopsis] in settings.toml, or for the flow",
    ),
    (
        "connector",
        "it is for [canopsis] in settings.toml, or for the flow",
    ),
    (
        "pdy_",
        "it is for [pagerduty] in settings.toml, or for the flow",
    ),
    (
        "influxdb2_",
        "it is for [influxdb] in settings.toml, or for the flow",
    ),
    (
        "bucket_",
        "it is for [influxdb] in settings.toml, or for the flow",
    ),
    (
        "org_name",
        "it is for [influxdb] in settings.toml, or for the flow",
    ),
];

/// What to do with a parameter of a script's own.
pub(super) fn target(name: &str) -> &'static str {
    let known = TARGETS.iter().find(|(begin, _)| name.starts_with(begin));
    known.map_or(
        "it is the script's own, so the flow's business",
        |(_, what)| *what,
    )
}

/// The defaults of the scripts that Centreon certifies, where they are not the library's: part of the
/// script's file name, and its parameters.
const SCRIPTS: &[(&str, &[(&str, &str)])] = &[
    (
        "canopsis",
        &[
            ("accepted_categories", "neb"),
            (
                "accepted_elements",
                "host_status,service_status,acknowledgement,downtime",
            ),
        ],
    ),
    (
        "pagerduty",
        &[
            ("accepted_categories", "neb"),
            ("accepted_elements", "host_status,service_status"),
        ],
    ),
    (
        "influxdb2",
        &[
            ("accepted_categories", "neb"),
            ("accepted_elements", "host_status,service_status"),
            ("hard_only", "0"),
            ("enable_host_status_dedup", "0"),
            ("enable_service_status_dedup", "0"),
        ],
    ),
];

/// The default of a parameter under a script; `None` if it is the library's.
pub(super) fn of_script(script: &str, name: &str) -> Option<&'static str> {
    let (_, rows) = own_defaults(script)?;
    rows.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

/// The row of a script whose defaults are known.
pub(super) fn own_defaults(
    script: &str,
) -> Option<&'static (&'static str, &'static [(&'static str, &'static str)])> {
    let file = script
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or("")
        .to_lowercase();
    SCRIPTS.iter().find(|(part, _)| file.contains(part))
}
