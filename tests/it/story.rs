//! Listings and stories: pages that end, and no caller who waits for another one's.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use vigie::event::RunId;
use vigie::store::{Batch, End, Store};
use vigie::story::{Page, SCANNED_RUNS_MAX, dead, runs};

use crate::house::House;
use crate::store::{at, open};

fn with_runs(store: &Store, count: usize, end_of: impl Fn(usize) -> Option<End>) {
    let numbers: Vec<usize> = (1..=count).collect();
    for some in numbers.chunks(500) {
        let mut batch = Batch::new();
        for number in some {
            let run: RunId = format!("alert/{number}/note").parse().unwrap();
            batch.append(&run, vec![1]);
            if let Some(end) = end_of(*number) {
                batch.finish(&run, end, at(0));
            }
        }
        store.commit_blocking(batch).unwrap();
    }
}

fn page(limit: usize, state: Option<&str>) -> Page {
    Page {
        limit,
        after: None,
        state: state.map(str::to_owned),
    }
}

#[test]
fn looking_for_a_rare_state_ends_after_a_while_and_goes_on_with_the_next_page() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let rare = |number| (number <= 2).then_some(End::Failed);
    with_runs(&store, SCANNED_RUNS_MAX + 20, rare);
    let first = runs(&store, &page(10, Some("failed"))).unwrap().unwrap();
    assert!(first.rows.is_empty());
    assert_eq!(first.next.as_ref().unwrap().as_str(), "alert/21/note");
    let next = Page {
        after: first.next,
        ..page(10, Some("failed"))
    };
    let second = runs(&store, &next).unwrap().unwrap();
    assert_eq!(second.rows.len(), 2);
    assert_eq!(second.next, None);
    let full = runs(&store, &page(20, Some("live"))).unwrap().unwrap();
    assert_eq!((full.rows.len(), full.next.is_some()), (20, true));
}

#[test]
fn pages_join_without_a_gap_and_the_last_one_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    with_runs(&store, 7, |_| None);
    let (mut seen, mut sizes) = (Vec::new(), Vec::new());
    let mut wanted = page(3, None);
    loop {
        let listed = runs(&store, &wanted).unwrap().unwrap();
        sizes.push(listed.rows.len());
        seen.extend(listed.rows.iter().map(|row| row["run"].to_string()));
        wanted.after = listed.next;
        if wanted.after.is_none() {
            break;
        }
    }
    seen.dedup();
    assert_eq!((seen.len(), sizes), (7, vec![3, 3, 1]));
    let exact = runs(&store, &page(7, None)).unwrap().unwrap();
    assert_eq!((exact.rows.len(), exact.next), (7, None));
    let unknown = Page {
        after: Some("alert/99/note".parse().unwrap()),
        ..page(3, None)
    };
    assert_eq!(runs(&store, &unknown).unwrap(), None);
    assert_eq!(dead(&store, &unknown).unwrap(), None);
}

#[test]
fn who_asks_for_a_story_while_all_scripts_think_holds_nobody_else() {
    let house = House::new();
    house
        .channel("quiet", "")
        .channel("busy", "")
        .flow("quiet/note", "fn filter(event) { false }")
        .flow(
            "busy/think",
            "let many = []; many.pad(4096, 1); loop { many.sort(); many.reverse(); }",
        )
        .file("flows/busy/think.toml", "run_seconds_max = 20");
    let server = house.serve();
    let quiet = server.push("quiet", &json!({}));
    let path = format!("/api/v1/events/{}", quiet.replace('/', "%2F"));
    crate::house::wait_for("the filter", || {
        let story = server.ask(&path, &[], None).json();
        (story["flows"][0]["verdict"] == "did not match").then_some(())
    });
    let cores = std::thread::available_parallelism().unwrap().get();
    for _ in 0..2 * cores {
        server.push("busy", &json!({}));
    }
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 * cores {
            scope.spawn(|| {
                server.ask(&path, &[], None);
                answered.fetch_add(1, Ordering::SeqCst);
            });
        }
        let metrics = || server.ask("/healthz", &[], None).status;
        for _ in 0..100 {
            assert_eq!(metrics(), 200);
        }
        assert_eq!(
            answered.load(Ordering::SeqCst),
            0,
            "the threads were not busy"
        );
    });
}
