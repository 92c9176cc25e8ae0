//! From a queue of RabbitMQ into a channel, each message acknowledged when it is on disk; beside a
//! client that acknowledges and does nothing else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;

use super::Plan;
use super::house::{House, PATIENCE};
use super::load::{self, PRODUCERS};
use super::peers::rabbit::{self, QUEUE};
use super::report::{Figure, Report, count};
use super::statistics::median;

/// Messages that the client may have at a time, as many as vigie's source asks for.
const PREFETCH: u16 = 500;
const WHAT: &str = "events from a RabbitMQ queue into a channel, each acknowledged when on disk";

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let runtime = super::runtime();
    let rabbit = match rabbit::start(&runtime) {
        Ok(rabbit) => rabbit,
        Err(why) => return report.missing(WHAT, "RabbitMQ", &why),
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..plan.pick(3, 1) {
        let time = plan.pick(Duration::from_secs(3), Duration::from_secs(1));
        let filled = runtime.block_on(fill(rabbit.address, time));
        ours.push(into_channel(rabbit.address, filled));
        let filled = runtime.block_on(fill(rabbit.address, time));
        theirs.push(runtime.block_on(into_nothing(rabbit.address, filled)));
    }
    let ratio = median(&ours) / median(&theirs);
    report.add(Figure {
        what: WHAT.to_owned(),
        ours: format!("{}/s", count(median(&ours))),
        peer: format!(
            "a Rust client that acknowledges each and keeps nothing: {}/s",
            count(median(&theirs))
        ),
        ratio: format!("{ratio:.2}×"),
        factor: Some(ratio),
        ..Figure::default()
    });
}

/// Puts messages into the queue; how many.
async fn fill(address: SocketAddr, time: Duration) -> usize {
    let event = load::event();
    let producers = rabbit::producers(address, &event, (PRODUCERS, 1)).await;
    load::round(producers, time).await.events
}

/// Messages a second, from the moment the server is ready.
fn into_channel(address: SocketAddr, messages: usize) -> f64 {
    let house = House::new();
    let block =
        format!("[[source]]\nkind = \"amqp\"\nserver = \"{address}\"\nqueue = \"{QUEUE}\"\n");
    house.file("channels/alert.toml", &block);
    let began = Instant::now();
    let server = house.serve();
    let name = "vigie_events_total{channel=\"alert\"}";
    while server.metric(name) < messages {
        assert!(
            began.elapsed() < PATIENCE,
            "{} of {messages}",
            server.metric(name)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let took = began.elapsed();
    server.stop();
    messages as f64 / took.as_secs_f64()
}

async fn into_nothing(address: SocketAddr, messages: usize) -> f64 {
    let began = Instant::now();
    let connection = rabbit::connect(address).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = BasicQosOptions::default();
    channel.basic_qos(PREFETCH, options).await.unwrap();
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = channel
        .basic_consume(QUEUE.into(), "figures".into(), options, none)
        .await
        .unwrap();
    for _ in 0..messages {
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
        let delivery = next.unwrap().unwrap().unwrap();
        delivery
            .acker
            .ack(BasicAckOptions::default())
            .await
            .unwrap();
    }
    let took = began.elapsed();
    connection.close(200, "done".into()).await.unwrap();
    messages as f64 / took.as_secs_f64()
}
