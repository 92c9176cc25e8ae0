//! Calling a verb as a run would.

use serde_json::json;
use vigie::action::{Call, Failure, FailureKind, Services, find};
use vigie::event::Value;

pub const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A try of a command.
pub struct Try<'a> {
    pub services: &'a Services,
    pub key: &'a str,
    pub in_doubt: bool,
}

impl<'a> Try<'a> {
    pub fn first(services: &'a Services) -> Try<'a> {
        Try {
            services,
            key: KEY,
            in_doubt: false,
        }
    }

    pub fn again(services: &'a Services) -> Try<'a> {
        Try {
            in_doubt: true,
            ..Try::first(services)
        }
    }

    pub async fn call(&self, name: &str, arguments: serde_json::Value) -> Result<Value, Failure> {
        let Value::List(arguments) = Value::from_json(arguments) else {
            panic!("arguments are a list")
        };
        self.with(name, &arguments).await
    }

    pub async fn with(&self, name: &str, arguments: &[Value]) -> Result<Value, Failure> {
        let (action, verb) = find(name).expect("a known verb");
        assert!(
            arguments.len() <= verb.arguments.len(),
            "too many for {name}"
        );
        assert!(arguments.len() >= verb.required(), "too few for {name}");
        let call = Call {
            verb: verb.name,
            arguments,
            key: self.key,
            in_doubt: self.in_doubt,
            services: self.services,
            hidden: &[],
        };
        action.perform(call).await
    }
}

/// Calls a verb for the first time.
pub async fn call(
    services: &Services,
    name: &str,
    arguments: serde_json::Value,
) -> Result<Value, Failure> {
    Try::first(services).call(name, arguments).await
}

/// The message of a refusal.
pub fn refusal(outcome: Result<Value, Failure>) -> String {
    let failure = outcome.expect_err("a refusal");
    assert_eq!(failure.kind, FailureKind::Refused, "{failure}");
    failure.message
}

/// The failure of a target that is away.
pub fn away(outcome: Result<Value, Failure>) -> Failure {
    let failure = outcome.expect_err("an absence");
    let is_away = matches!(failure.kind, FailureKind::Away { .. });
    assert!(is_away, "{failure:?}");
    failure
}

/// A value as JSON, for comparing.
pub fn shown(value: &Value) -> serde_json::Value {
    value.to_json()
}

/// A file with a secret in a temporary folder.
pub fn secret(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), format!("{text}\n")).unwrap();
    (folder, "secret".into())
}

#[test]
fn services_without_settings_open_nothing_and_say_what_is_missing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let services = Services::default();
    let missing = [
        ("redmine::open", json!([{"subject": "a"}]), "[redmine]"),
        ("pagerduty::resolve", json!(["a"]), "[pagerduty]"),
        ("canopsis::find", json!(["a"]), "[canopsis]"),
        ("influxdb::write", json!(["a b=1 1"]), "[influxdb]"),
        ("mail::send", json!([{}]), "[smtp]"),
        ("file::append", json!(["a", "b"]), "[file]"),
    ];
    for (name, arguments, section) in missing {
        let said = refusal(runtime.block_on(call(&services, name, arguments)));
        assert_eq!(said, format!("settings.toml has no {section} section"));
    }
}

#[test]
fn every_verb_is_documented_and_shows_itself_in_its_example() {
    for action in vigie::action::ALL {
        assert!(!action.about().is_empty(), "{}", action.name());
        for verb in action.verbs() {
            let name = format!("{}::{}", action.name(), verb.name);
            assert!(!verb.about.is_empty(), "{name}");
            assert!(verb.example.contains(&format!("{name}(")), "{name}");
            let optional: Vec<bool> = verb.arguments.iter().map(|one| one.optional).collect();
            assert!(optional.is_sorted(), "{name}: optional arguments come last");
        }
    }
}
