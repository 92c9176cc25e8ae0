//! What a script asks of nobody outside, when the store cannot tell.

use serde_json::json;

use crate::house::{House, wait_for};
use crate::store::body_files;

#[test]
fn a_script_never_hears_that_the_store_failed_and_goes_on_after_it_was_mended() {
    let house = House::new();
    // A value over 8 KiB lies in a file of its own, which can be taken away.
    house.channel("alert", "").flow(
        "alert/note",
        r#"
        if event.number == 1 {
            let kept = "kept"; kept.pad(10000, '.');
            state::set("key", kept);
        } else {
            let kept = "";
            try { kept = state::get("key"); } catch (why) { kept = `caught ${why}`; }
            print(kept.sub_string(0, 6));
        }
        "#,
    );
    let server = house.serve();
    let first = server.push("alert", &json!({"number": 1}));
    server.ended(&format!("{first}/note"));
    // Both the value and the journal that set it.
    let files = body_files(&house.path("data"));
    let aside = |index: usize| house.path(&format!("aside{index}"));
    for (index, file) in files.iter().enumerate() {
        std::fs::rename(file, aside(index)).unwrap();
    }
    let second = server.push("alert", &json!({"number": 2}));
    wait_for("the run to be stopped", || {
        let log = server.log();
        (log.contains("what the flow keeps cannot be read") && log.contains("cannot go on now"))
            .then_some(())
    });
    let run = server.run(&format!("{second}/note"));
    assert_ne!(run["state"], "failed", "{run}");
    assert_ne!(run["state"], "done", "{run}");
    for (index, file) in files.iter().enumerate() {
        std::fs::rename(aside(index), file).unwrap();
    }
    assert_eq!(server.stop(), Some(0));
    let server = house.serve();
    let run = server.ended(&format!("{second}/note"));
    assert_eq!(
        (&run["state"], &run["console"][0]),
        (&json!("done"), &json!("kept.."))
    );
}
