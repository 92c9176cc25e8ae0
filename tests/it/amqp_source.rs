//! Messages of a real RabbitMQ become events: every profile, TLS, and cuts at both ends.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
};
use serde_json::{Value as Json, json};
use tokio::time::timeout;

use crate::house::{House, PATIENCE, Running, wait_for};
use crate::peers::rabbit::{Rabbit, rabbit};
use crate::sources::row;

const PEM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/amqps");
/// How long a question that is asked again may take.
const ASK_PATIENCE: Duration = Duration::from_secs(2);
/// How long a broker may leave a client without an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

fn house(block: &str) -> House {
    let house = House::new();
    let toml = format!("[[source]]\nkind = \"amqp\"\n{block}\n");
    house.channel("alert", &toml).channel("Mail", "");
    house
}

fn events(server: &Running, channel: &str) -> Vec<Json> {
    let read = |number: usize| {
        let path = format!("/api/v1/events/{channel}%2F{number}");
        let answered = server.ask(&path, &[], None);
        (answered.status == 200).then(|| answered.json())
    };
    (1..).map_while(read).collect()
}

fn wait_for_events(server: &Running, channel: &str, count: usize) -> Vec<Json> {
    wait_for("events", || {
        let last = format!("/api/v1/events/{channel}%2F{count}");
        (server.ask(&last, &[], None).status == 200).then_some(())
    });
    events(server, channel)
}

fn sendevt(rabbit: &Rabbit, args: &[&str], stdin: &[u8]) {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sendevt"))
        .env_clear()
        .current_dir(folder.path())
        .args(["-s", &rabbit.server()])
        .args(args)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    assert!(child.wait().unwrap().success());
}

async fn publish(channel: &Channel, (exchange, key): (&str, &str), id: &str, body: &[u8]) {
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_correlation_id(id.into());
    let options = BasicPublishOptions::default();
    let published = channel.basic_publish(exchange.into(), key.into(), options, body, properties);
    published.await.unwrap().await.unwrap();
}

#[test]
fn kompiras_queue_is_read_as_kompira_reads_it() {
    let rabbit = rabbit();
    rabbit.delete("io_queue");
    let house = house(&format!(
        "server = \"{}\"\nprofile = \"kompira\"",
        rabbit.server()
    ));
    // one waits there before we come, on a queue that the sender has declared
    sendevt(
        &rabbit,
        &["--channel", "/system/channels/alert", "first=日本"],
        b"",
    );
    let server = house.serve();
    wait_for_events(&server, "alert", 1);
    sendevt(
        &rabbit,
        &["--channel", "/system/channels/Mail"],
        b"raw \xff",
    );
    sendevt(&rabbit, &["--channel", "alert", "--decode-stdin"], b"text");
    sendevt(&rabbit, &["--channel", "/nowhere", "k=v"], b"");
    let alert = wait_for_events(&server, "alert", 2);
    assert_eq!(alert[0]["body"], json!({"first": "日本"}));
    assert_eq!(alert[0]["meta"]["routing_key"], "io_queue");
    assert_eq!(alert[1]["body"], "text");
    assert_eq!(wait_for_events(&server, "Mail", 1).len(), 1);
    let unrouted = wait_for_events(&server, "unrouted", 1);
    assert_eq!(unrouted[0]["meta"]["asked_channel"], "/nowhere");
    // a sender that was cut off sends the same again
    rabbit.with(async |channel| {
        for _ in 0..3 {
            publish(&channel, ("", "io_queue"), "the-same", b"x").await;
        }
        publish(&channel, ("", "io_queue"), "another", b"y").await;
        Ok(())
    });
    assert_eq!(wait_for_events(&server, "alert", 4).len(), 4);
    drop(server);
    // all was acknowledged
    assert!(rabbit.take("io_queue").is_none());
}

#[test]
fn a_plain_queue_holds_json_and_a_binding_tells_the_routing_key() {
    let rabbit = rabbit();
    rabbit.declare("plain", FieldTable::default());
    rabbit.with(async |channel| {
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let (kind, arguments) = (ExchangeKind::Topic, FieldTable::default());
        channel
            .exchange_declare("canopsis.events".into(), kind, durable, arguments)
            .await
    });
    let house = house(&format!(
        "server = \"{0}\"\nqueue = \"plain\"\n[[source]]\nkind = \"amqp\"\nname = \"bus\"\n\
         server = \"{0}\"\nexchange = \"canopsis.events\"\nrouting_keys = [\"#.check.#\"]\n\
         queue = \"vigie.bus\"",
        rabbit.server()
    ));
    let server = house.serve();
    // what goes out to others is up at once, so it says nothing about the binding
    wait_for("the binding", || {
        let declare = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let asking = async {
            let (connection, channel) = rabbit.open().await?;
            let queue = channel.queue_declare("vigie.bus".into(), declare, FieldTable::default());
            let queue = queue.await;
            let _ = connection.close(200, "done".into()).await;
            queue
        };
        // a question about a queue that is not there yet closes its channel, and the client may
        // wait for ever for the answer
        let asking = async { timeout(ASK_PATIENCE, asking).await };
        let queue = rabbit.runtime.block_on(asking).ok()?.ok()?;
        (queue.consumer_count() > 0).then_some(())
    });
    rabbit.with(async |channel| {
        publish(&channel, ("", "plain"), "1", br#"{"n":1}"#).await;
        publish(&channel, ("", "plain"), "2", b"[1,2]").await;
        publish(&channel, ("", "plain"), "3", b"{broken").await;
        Ok(())
    });
    let alert = wait_for_events(&server, "alert", 4);
    assert_eq!(alert[0]["body"], json!({"n": 1}));
    assert_eq!(
        (&alert[1]["body"], &alert[2]["body"]),
        (&json!(1), &json!(2))
    );
    assert!(alert[3]["meta"]["decode_error"].is_string(), "{}", alert[3]);
    rabbit.with(async |channel| {
        let exchange = "canopsis.events";
        publish(&channel, (exchange, "c.n.ack.resource.web"), "4", b"{}").await;
        publish(
            &channel,
            (exchange, "c.n.check.resource.web"),
            "5",
            br#"{"state":2}"#,
        )
        .await;
        Ok(())
    });
    let alert = wait_for_events(&server, "alert", 5);
    assert_eq!(alert[4]["body"], json!({"state": 2}));
    assert_eq!(alert[4]["meta"]["routing_key"], "c.n.check.resource.web");
    assert_eq!(alert[4]["meta"]["exchange"], "canopsis.events");
}

#[test]
fn a_certificate_logs_in_and_a_wrong_authority_is_told() {
    let rabbit = rabbit();
    rabbit.declare("secure", FieldTable::default());
    let block = |ca: &str| {
        format!(
            "server = \"localhost:{}\"\ntls = true\nqueue = \"secure\"\ntls_ca = \"{PEM}/{ca}\"\n\
             tls_cert = \"{PEM}/client.pem\"\ntls_key = \"{PEM}/client.key\"",
            rabbit.tls_port
        )
    };
    let good = house(&block("ca.pem"));
    let server = good.serve();
    rabbit.with(async |channel| {
        publish(&channel, ("", "secure"), "1", b"1").await;
        Ok(())
    });
    assert_eq!(wait_for_events(&server, "alert", 1)[0]["body"], 1);
    drop(server);
    let wrong = house(&block("other_ca.pem"));
    let server = wrong.serve();
    wait_for("the trouble", || {
        row(&server, "alert/amqp")?
            .to_string()
            .contains("UnknownIssuer")
            .then_some(())
    });
}

/// Publishes 0..count with confirms, over and over until each was confirmed, whatever happens to the
/// broker meanwhile.
fn publisher(port: u16, queue: &'static str, count: usize) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut done = 0;
        let until = Instant::now() + 3 * PATIENCE;
        while done < count {
            assert!(Instant::now() < until, "published {done} of {count}");
            // a client of its own each time: one that lost its broker may wait for it for ever
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(publish_while_it_goes_well(port, queue, &mut done, count));
            runtime.shutdown_background();
        }
    })
}

async fn publish_while_it_goes_well(port: u16, queue: &str, done: &mut usize, count: usize) {
    let url = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
    let opening = async {
        let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let confirms = ConfirmSelectOptions::default();
        channel.confirm_select(confirms).await?;
        lapin::Result::Ok((connection, channel))
    };
    let Ok(Ok((_connection, channel))) = timeout(ANSWER_PATIENCE, opening).await else {
        // nobody listens just now
        return tokio::time::sleep(Duration::from_millis(100)).await;
    };
    while *done < count {
        let upto = (*done + 20).min(count);
        let publishing = publish_some(&channel, queue, *done..upto);
        if !timeout(ANSWER_PATIENCE, publishing).await.unwrap_or(false) {
            return;
        }
        *done = upto;
    }
}

async fn publish_some(channel: &Channel, queue: &str, numbers: std::ops::Range<usize>) -> bool {
    let mut confirms = Vec::new();
    for number in numbers {
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_message_id(format!("id-{number}").into());
        let options = BasicPublishOptions::default();
        let body = number.to_string();
        let published = channel.basic_publish(
            "".into(),
            queue.into(),
            options,
            body.as_bytes(),
            properties,
        );
        match published.await {
            Ok(confirm) => confirms.push(confirm),
            Err(_) => return false,
        }
    }
    for confirm in confirms {
        if !matches!(confirm.await, Ok(Confirmation::Ack(_))) {
            return false;
        }
    }
    true
}

/// All numbers, each once.
fn check_numbers(server: &Running, count: usize) {
    let events = wait_for_events(server, "alert", count);
    let mut numbers: Vec<u64> = events
        .iter()
        .map(|event| event["body"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    let expected: Vec<u64> = (0..count as u64).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn a_broker_killed_in_mid_stream_loses_and_doubles_nothing() {
    const COUNT: usize = 3_000;
    let mut rabbit = Rabbit::start();
    rabbit.declare("stream", FieldTable::default());
    let house = house(&format!(
        "server = \"{}\"\nqueue = \"stream\"\nprefetch = 50",
        rabbit.server()
    ));
    let server = house.serve();
    let port = rabbit.port;
    let publisher = publisher(port, "stream", COUNT);
    wait_for_events(&server, "alert", 500);
    rabbit.kill();
    rabbit.begin();
    publisher.join().unwrap();
    check_numbers(&server, COUNT);
}

#[test]
fn a_server_killed_in_mid_stream_loses_and_doubles_nothing() {
    const COUNT: usize = 2_000;
    let rabbit = rabbit();
    rabbit.declare("survivor", FieldTable::default());
    let house = house(&format!(
        "server = \"{}\"\nqueue = \"survivor\"",
        rabbit.server()
    ));
    let port = rabbit.port;
    let publisher = publisher(port, "survivor", COUNT);
    for upto in [300, 900] {
        let server = house.serve();
        wait_for_events(&server, "alert", upto);
        server.kill();
    }
    publisher.join().unwrap();
    check_numbers(&house.serve(), COUNT);
}

#[test]
fn what_is_not_on_disk_yet_stays_with_the_broker() {
    const COUNT: usize = 40;
    let rabbit = rabbit();
    rabbit.declare("held", FieldTable::default());
    let house = House::new();
    let block = format!(
        "[[source]]\nkind = \"amqp\"\nserver = \"{}\"\nqueue = \"held\"\n",
        rabbit.server()
    );
    house.channel("alert", &format!("depth_max = 5\n{block}"));
    let server = house.serve();
    publisher(rabbit.port, "held", COUNT).join().unwrap();
    wait_for("a full channel", || {
        let why = row(&server, "alert/amqp")?["last_error"].clone();
        why.as_str()?.contains("is full").then_some(())
    });
    assert!(events(&server, "alert").len() <= 5);
    server.kill();
    house.channel("alert", &block);
    check_numbers(&house.serve(), COUNT);
}

#[test]
fn mistakes_in_the_block_are_told() {
    for (block, told) in [
        ("queue = \"q\"", "missing field `server`"),
        ("server = \"localhost\"", "which `queue`?"),
        ("server = \"mq.example\"\nqueue = \"q\"", "`password_file`"),
        ("server = \"u:canary@mq\"\nqueue = \"q\"", "must not hold"),
        (
            "server = \"localhost\"\nqueue = \"q\"\nprofile = \"jsn\"",
            "json",
        ),
        (
            "server = \"localhost\"\nqueue = \"q\"\nprefetch = 0",
            "`prefetch` is",
        ),
        (
            "server = \"localhost\"\nqueue = \"q\"\nrouting_keys = [\"#\"]",
            "`exchange`",
        ),
        (
            "server = \"localhost\"\nqueue = \"q\"\ntls_ca = \"x\"",
            "without TLS",
        ),
    ] {
        let house = house(block);
        let output = house.run(&["check"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{block}");
        assert!(said.contains(told), "{block}: {said}");
        // the source line is quoted, as everywhere
        assert!(said.contains("channels/alert.toml"), "{said}");
    }
}
