//! amqp::publish towards a real RabbitMQ, and towards brokers that misbehave.

use std::path::Path;
use std::sync::OnceLock;

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::FieldTable;
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use vigie::action::amqp::{Service, Settings};
use vigie::action::{Failure, FailureKind, Services};
use vigie::event::Value;

use crate::acting::{KEY, call};
use crate::broker_stand_in::{Broker, Manner};
use crate::peers::rabbit::{Rabbit, rabbit};

fn services(server: &str, timeout: &str) -> Services {
    let settings = Settings {
        server: server.to_owned(),
        timeout: timeout.to_owned(),
        ..Settings::default()
    };
    Services {
        amqp: Some(Service::prepare(settings, Path::new("/")).unwrap()),
        ..Services::default()
    }
}

fn publish(services: &Services, options: Json) -> Result<Value, Failure> {
    // One for all: a connection that is kept for the next message lives in it.
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::new().unwrap());
    runtime.block_on(call(services, "amqp::publish", json!([options])))
}

fn bus(rabbit: &Rabbit) {
    rabbit.declare("acted", FieldTable::default());
    rabbit.with(async |channel| {
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let (exchange, kind) = ("canopsis.events", ExchangeKind::Topic);
        channel
            .exchange_declare(exchange.into(), kind, durable, FieldTable::default())
            .await?;
        let options = QueueBindOptions::default();
        let bind = channel.queue_bind(
            "acted".into(),
            exchange.into(),
            "vigie.#".into(),
            options,
            FieldTable::default(),
        );
        bind.await
    });
}

#[test]
fn an_event_reaches_the_bus_of_canopsis_under_its_own_key() {
    let rabbit = rabbit();
    bus(&rabbit);
    let services = services(&rabbit.server(), "10s");
    let mut event = json!({
        "connector": "vigie", "connector_name": "main", "event_type": "check",
        "source_type": "resource", "component": "web01", "resource": "cpu", "state": 2,
        "output": "負荷"
    });
    let options = json!({"exchange": "canopsis.events", "body": event, "headers": {"n": 1}});
    let done = publish(&services, options.clone()).unwrap();
    let key = "vigie.main.check.resource.web01.cpu";
    assert_eq!(done.get("routing_key"), Some(&Value::from(key)));
    let taken = rabbit.take("acted").unwrap();
    assert_eq!(taken.routing_key, key);
    assert_eq!(serde_json::from_slice::<Json>(&taken.body).unwrap(), event);
    let properties = taken.properties;
    assert_eq!(
        properties.content_type().as_ref().unwrap().as_str(),
        "application/json"
    );
    assert_eq!(properties.delivery_mode(), &Some(2));
    // the same on every try, so that a consumer can tell
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), KEY);
    // a component has no resource in its key
    event["source_type"] = json!("component");
    publish(
        &services,
        json!({"exchange": "canopsis.events", "body": event}),
    )
    .unwrap();
    assert_eq!(
        rabbit.take("acted").unwrap().routing_key,
        "vigie.main.check.component.web01"
    );
    event["connector"] = json!("");
    let options = json!({"exchange": "canopsis.events", "body": event});
    let why = publish(&services, options).unwrap_err();
    assert!(why.message.contains("`connector`"), "{why}");
}

#[test]
fn text_and_bytes_go_to_any_exchange() {
    let rabbit = rabbit();
    rabbit.declare("acted", FieldTable::default());
    while rabbit.take("acted").is_some() {}
    let services = services(&rabbit.server(), "10s");
    let options = json!({"exchange": "", "routing_key": "acted", "body": "日本"});
    publish(&services, options).unwrap();
    let taken = rabbit.take("acted").unwrap();
    assert_eq!(taken.body, "日本".as_bytes());
    // a body in several frames
    let long = "x".repeat(300_000);
    publish(
        &services,
        json!({"exchange": "", "routing_key": "acted", "body": long}),
    )
    .unwrap();
    assert_eq!(rabbit.take("acted").unwrap().body.len(), 300_000);
}

#[test]
fn what_nobody_takes_is_refused() {
    let rabbit = rabbit();
    let services = services(&rabbit.server(), "10s");
    let to = |exchange: &str, key: &str| {
        publish(
            &services,
            json!({"exchange": exchange, "routing_key": key, "body": {}}),
        )
    };
    for (exchange, key, told, status) in [
        ("", "no_such_queue", "no queue takes", 312),
        ("no_such_exchange", "k", "no exchange", 404),
    ] {
        let why = to(exchange, key).unwrap_err();
        assert!(why.message.contains(told), "{why}");
        assert_eq!((why.kind, why.status), (FailureKind::Refused, Some(status)));
        assert!(!why.in_doubt);
    }
    for wrong in [
        json!({"exchange": "x", "body": {}}),
        json!({"exchange": "x", "routing_key": "k"}),
        json!({"exchange": "x", "routing_key": "k", "body": 5}),
        json!({"exchange": "x", "routing_key": "k", "body": {}, "header": {}}),
        json!({"routing_key": "k", "body": {}}),
        json!({"exchange": "x", "routing_key": "k".repeat(256), "body": {}}),
    ] {
        assert_eq!(
            publish(&services, wrong).unwrap_err().kind,
            FailureKind::Refused
        );
    }
    let why = publish(&Services::default(), json!({"exchange": "", "body": {}})).unwrap_err();
    assert!(why.message.contains("[amqp]"), "{why}");
}

#[test]
fn a_broker_that_is_away_or_silent_is_told_apart() {
    let message = || json!({"exchange": "", "routing_key": "k", "body": "x"});
    let away = FailureKind::Away { retry_after: None };
    let why = publish(&services("127.0.0.1:1", "2s"), message()).unwrap_err();
    assert_eq!((why.kind, why.in_doubt), (away, false));
    for (manner, kind, in_doubt) in [
        (Manner::RefuseLogin, FailureKind::Refused, false),
        (Manner::Nack, away, false),
        (Manner::ShutDown, away, false),
        // it may have it all the same
        (Manner::HangUp, away, true),
        (Manner::Silent, away, true),
        (Manner::Garbage, FailureKind::Other, false),
    ] {
        let broker = Broker::start(&[manner]);
        let why = publish(&services(&broker.server(), "1s"), message()).unwrap_err();
        assert_eq!(
            (why.kind, why.in_doubt),
            (kind, in_doubt),
            "{manner:?}: {why}"
        );
    }
}

#[test]
fn a_connection_is_used_again_and_mistakes_in_settings_are_told() {
    let broker = Broker::start(&[]);
    let services = services(&broker.server(), "5s");
    for _ in 0..3 {
        let message = json!({"exchange": "", "routing_key": "k", "body": "x"});
        publish(&services, message).unwrap();
    }
    assert_eq!(broker.said().len(), 1);
    for (server, user, told) in [
        ("mq.example", None, "`user`"),
        ("mq.example", Some("u"), "`user`"),
        ("u:canary@mq", None, "must not hold"),
    ] {
        let settings = Settings {
            server: server.to_owned(),
            user: user.map(str::to_owned),
            ..Settings::default()
        };
        let why = Service::prepare(settings, Path::new("/")).unwrap_err();
        assert!(why.contains(told) && !why.contains("canary"), "{why}");
    }
}
