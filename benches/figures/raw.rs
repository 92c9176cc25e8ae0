//! The limit: whatever waits is appended to one file with one `fdatasync`, and nothing else done.

use std::io::Write as _;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use super::house::scratch;
use super::load::Round;

/// Most events that are synced together.
const GROUP_MAX: usize = 512;

type Job = (Vec<u8>, SyncSender<()>);

/// So many producers, on threads, for this long.
pub(crate) fn round(event: &[u8], (producers, time): (usize, Duration)) -> Round {
    let folder = scratch();
    let mut file = std::fs::File::create(folder.path().join("raw")).unwrap();
    let (sender, waiting): (_, Receiver<Job>) = channel();
    let began = Instant::now();
    let writer = std::thread::spawn(move || {
        while let Ok(first) = waiting.recv() {
            let rest = waiting.try_iter().take(GROUP_MAX - 1);
            let group: Vec<Job> = std::iter::once(first).chain(rest).collect();
            let bytes: Vec<u8> = group.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
            group
                .iter()
                .for_each(|(_, answer)| answer.send(()).unwrap());
        }
    });
    let producer = |_| {
        let (sender, event) = (sender.clone(), event.to_vec());
        std::thread::spawn(move || {
            let mut waits = Vec::new();
            while began.elapsed() < time {
                let asked = Instant::now();
                let (answer, answered) = sync_channel(1);
                sender.send((event.clone(), answer)).unwrap();
                answered.recv().unwrap();
                waits.push(asked.elapsed());
            }
            waits
        })
    };
    let producers: Vec<_> = (0..producers).map(producer).collect();
    let waits = producers
        .into_iter()
        .flat_map(|producer| producer.join().unwrap())
        .collect();
    let took = began.elapsed();
    drop(sender);
    writer.join().unwrap();
    Round::new(waits, took)
}
