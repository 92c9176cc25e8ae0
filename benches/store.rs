//! How many events a second become durable with 64 producers, beside what the disk can do at best:
//! one file, appended and synced in groups. Run with `cargo bench --bench store`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tempfile::TempDir;
use vigie::event::{Incoming, Meta, Value};
use vigie::store::{Batch, Options, Store};

const PRODUCERS: usize = 64;
const BODY_BYTES: usize = 500;
const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;
const FINISHED_EVENTS: usize = 100_000;

fn main() {
    println!("{PRODUCERS} producers, {BODY_BYTES}-byte events, acknowledged when on disk");
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let raw = raw_grouped();
        let ours = store_round();
        ratios.push(ours / raw);
        println!(
            "round {round}: raw {raw:.0}/s, store {ours:.0}/s, ratio {:.2}",
            ours / raw
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "median ratio to raw grouped fdatasync: {:.2}",
        ratios[ROUNDS / 2]
    );
    open_time();
}

/// The limit: whatever waits is appended to one file with one fdatasync.
fn raw_grouped() -> f64 {
    let folder = TempDir::new_in(".").unwrap();
    let mut file = std::fs::File::create(folder.path().join("raw")).unwrap();
    let (sender, waiting): (_, Receiver<(Vec<u8>, SyncSender<()>)>) = channel();
    let began = Instant::now();
    let writer = std::thread::spawn(move || {
        let mut count = 0_u64;
        while let Ok(first) = waiting.recv() {
            let group: Vec<_> = std::iter::once(first)
                .chain(waiting.try_iter().take(511))
                .collect();
            let bytes: Vec<u8> = group.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
            count += group.len() as u64;
            for (_, answer) in &group {
                answer.send(()).unwrap();
            }
        }
        count
    });
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|_| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                while began.elapsed() < ROUND {
                    let (answer, answered) = sync_channel(1);
                    sender.send((vec![b'x'; BODY_BYTES], answer)).unwrap();
                    answered.recv().unwrap();
                }
            })
        })
        .collect();
    producers
        .into_iter()
        .for_each(|producer| producer.join().unwrap());
    drop(sender);
    writer.join().unwrap() as f64 / began.elapsed().as_secs_f64()
}

fn event() -> Incoming {
    Incoming {
        body: Value::from([("text", Value::from("x".repeat(BODY_BYTES)))]),
        meta: Meta::new("bench", Timestamp::now()),
    }
}

fn store_round() -> f64 {
    let folder = TempDir::new_in(".").unwrap();
    let store = Store::open(folder.path(), Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let began = Instant::now();
    let mut waits: Vec<Duration> = runtime.block_on(async {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|_| tokio::spawn(produce(store.clone(), began)))
            .collect();
        let mut all = Vec::new();
        for producer in producers {
            all.extend(producer.await.unwrap());
        }
        all
    });
    let rate = waits.len() as f64 / began.elapsed().as_secs_f64();
    waits.sort();
    let counters = store.counters();
    let commits = counters.commits.load(Ordering::Relaxed);
    println!(
        "  store: p50 {:?}, p99 {:?}, {:.0} events a commit, {:.0} us a write and sync",
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100],
        waits.len() as f64 / commits as f64,
        counters.sync_microseconds.load(Ordering::Relaxed) as f64 / commits as f64,
    );
    rate
}

async fn produce(store: Store, began: Instant) -> Vec<Duration> {
    let mut waits = Vec::new();
    while began.elapsed() < ROUND {
        let asked = Instant::now();
        let mut batch = Batch::new();
        batch.push("alert", &event(), None).unwrap();
        store.commit(batch).await.unwrap();
        waits.push(asked.elapsed());
    }
    waits
}

fn open_time() {
    let folder = TempDir::new_in(".").unwrap();
    let store = Store::open(folder.path(), Options::default()).unwrap();
    for _ in 0..FINISHED_EVENTS / 250 {
        let mut batch = Batch::new();
        for _ in 0..250 {
            batch.push("alert", &event(), None).unwrap();
        }
        store.commit_blocking(batch).unwrap();
    }
    drop(store);
    let began = Instant::now();
    let store = Store::open(folder.path(), Options::default()).unwrap();
    println!(
        "open with {} events: {:?}",
        store.counts().events,
        began.elapsed()
    );
}
