//! `redmine::*` against the stand-in, and the stand-in against the recordings.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use vigie::action::http::{Client, Request};
use vigie::action::redmine::{Named, Service, Settings};
use vigie::action::{FailureKind, Services};
use vigie::event::Value;
use vigie::standin::redmine::{ADMIN_KEY, KEY as API_KEY, OUTSIDER_KEY};
use vigie::standin::{Mischief, Redmine, Reply};

use crate::acting::{KEY, Try, away, call, refusal, secret, shown};

fn configured(standin: &Redmine, key: &str, marker: Option<&str>) -> Services {
    let (folder, file) = secret(key);
    let settings = Settings {
        endpoint: format!("{}/", standin.url()),
        key_file: Some(file),
        marker_field: marker.map(|name| Named(name.to_owned())),
        project: Some(Named("test".to_owned())),
        timeout: "2s".to_owned(),
        ..Settings::default()
    };
    Services {
        redmine: Some(Service::prepare(settings, folder.path()).unwrap()),
        ..Services::default()
    }
}

fn services(standin: &Redmine) -> Services {
    configured(standin, API_KEY, Some("dedup_key"))
}

async fn start() -> (Redmine, Services) {
    let standin = Redmine::start().await.unwrap();
    let services = services(&standin);
    (standin, services)
}

#[tokio::test]
async fn an_issue_is_opened_with_names_instead_of_numbers() {
    let (standin, services) = start().await;
    // Fields that no issue shows yet are known by number only.
    let first = json!([{"subject": "first"}]);
    call(&services, "redmine::open", first).await.unwrap();
    let issue = json!([{"project": "test", "subject": "web01 is DOWN", "description": "line 1\nline 2",
        "tracker": "support", "priority": "Urgent", "status": "In Progress", "category": "network",
        "assignee": "Flow Robot", "private": true, "due_date": "2026-11-27",
        "custom_fields": {"customer": "ACME"}, "dedup_key": "host/web01"}]);
    let outcome = shown(&call(&services, "redmine::open", issue).await.unwrap());
    assert_eq!(outcome["id"], 2);
    assert_eq!(outcome["url"], format!("{}/issues/2", standin.url()));
    assert_eq!(outcome["subject"], "web01 is DOWN");
    assert_eq!(outcome["status"], "In Progress");
    assert_eq!(outcome["created"], true);
    let issue = &standin.issues()[1];
    assert_eq!((issue.tracker, issue.priority, issue.status), (3, 4, 2));
    assert_eq!(issue.other["category_id"], 1);
    assert_eq!(issue.other["assigned_to_id"], 5);
    assert_eq!(issue.other["is_private"], true);
    assert_eq!(issue.fields[&1], "host/web01");
    assert_eq!(issue.fields[&2], "ACME");
    for seen in standin.requests() {
        assert_eq!(seen.header("x-redmine-api-key"), Some(API_KEY));
        assert_eq!(seen.asked("key"), None, "the key never stands in a URL");
    }
}

#[tokio::test]
async fn the_same_dedup_key_finds_the_open_issue_and_opens_another_once_it_is_closed() {
    let (standin, services) = start().await;
    let issue = json!([{"subject": "a", "dedup_key": "k"}]);
    let first = call(&services, "redmine::open", issue.clone())
        .await
        .unwrap();
    let second = call(&services, "redmine::open", issue.clone())
        .await
        .unwrap();
    assert_eq!(first.get("id"), second.get("id"));
    assert_eq!(second.get("created"), Some(&Value::Bool(false)));
    assert_eq!(standin.issues().len(), 1);
    standin.close_by_hand(1);
    let third = call(&services, "redmine::open", issue).await.unwrap();
    assert_eq!(
        (third.get("id"), third.get("created")),
        (Some(&Value::Int(2)), Some(&Value::Bool(true)))
    );
}

#[tokio::test]
async fn subject_and_project_never_match() {
    let (standin, services) = start().await;
    for key in ["k1", "k2"] {
        call(
            &services,
            "redmine::open",
            json!([{"subject": "same", "dedup_key": key}]),
        )
        .await
        .unwrap();
    }
    assert_eq!(standin.issues().len(), 2);
    // The same problem is the same issue even if somebody moved it to another project.
    let moved = json!([{"project": "ops", "subject": "other", "dedup_key": "k1"}]);
    let found = call(&services, "redmine::open", moved).await.unwrap();
    assert_eq!(found.get("id"), Some(&Value::Int(1)));
}

#[tokio::test]
async fn a_dedup_key_may_look_like_an_operator() {
    let (standin, services) = start().await;
    let keys = [
        "host|web01",
        "~web",
        "!web",
        "*",
        ">=5",
        "a&b=c",
        "日本/ü",
        "=x",
        "web",
    ];
    for key in keys {
        for created in [true, false] {
            let issue = json!([{"subject": "a", "dedup_key": key}]);
            let outcome = call(&services, "redmine::open", issue).await.unwrap();
            assert_eq!(outcome.get("created"), Some(&Value::Bool(created)), "{key}");
        }
    }
    assert_eq!(standin.issues().len(), keys.len());
}

#[tokio::test]
async fn two_deliveries_at_once_open_one_issue() {
    let (standin, services) = start().await;
    let issue = json!([{"subject": "a", "dedup_key": "k"}]);
    let open = || call(&services, "redmine::open", issue.clone());
    let outcomes = tokio::join!(open(), open(), open(), open());
    let all = [outcomes.0, outcomes.1, outcomes.2, outcomes.3];
    let ids: BTreeSet<String> = all
        .iter()
        .map(|one| one.as_ref().unwrap().get("id").unwrap().to_string())
        .collect();
    assert_eq!((ids.len(), standin.issues().len()), (1, 1));
}

#[tokio::test]
async fn a_lost_answer_leads_to_one_issue() {
    for key in [json!("k"), json!(null)] {
        let (standin, services) = start().await;
        // Something must show the field's number.
        call(
            &services,
            "redmine::open",
            json!([{"subject": "before", "dedup_key": "other"}]),
        )
        .await
        .unwrap();
        let issue = json!([{"subject": "a", "dedup_key": key}]);
        if key.is_string() {
            // the look-up comes through, the answer to the creation does not
            standin.fail_next(1, Mischief::Delay(Duration::ZERO));
        }
        standin.fail_next(1, Mischief::LoseAnswer);
        let failure = away(call(&services, "redmine::open", issue.clone()).await);
        assert!(failure.in_doubt, "{failure}");
        assert_eq!(standin.issues().len(), 2);
        let found = Try::again(&services)
            .call("redmine::open", issue)
            .await
            .unwrap();
        assert_eq!(found.get("id"), Some(&Value::Int(2)));
        assert_eq!(found.get("created"), Some(&Value::Bool(false)));
        assert_eq!(standin.issues().len(), 2, "{key}");
    }
}

#[tokio::test]
async fn the_lost_answer_of_the_very_first_issue_leads_to_one_issue_too() {
    for key in [json!("host/web01"), json!(null)] {
        let (standin, services) = start().await;
        let issue = json!([{"subject": "a", "description": "line 1\nline 2", "dedup_key": key}]);
        // Everything that could show the field's number is asked, and the key is looked for.
        let looks = if key.is_string() { 6 } else { 5 };
        standin.fail_next(looks, Mischief::Delay(Duration::ZERO));
        standin.fail_next(1, Mischief::LoseAnswer);
        let failure = away(call(&services, "redmine::open", issue.clone()).await);
        assert!(failure.in_doubt, "{failure}");
        let mark = key.as_str().unwrap_or(KEY);
        let left = &standin.issues()[0];
        assert!(left.fields.is_empty(), "{left:?}");
        assert!(
            left.description
                .ends_with(&format!("\r\n\r\ndedup_key: {mark}"))
        );
        let again = Try::again(&services);
        let found = again.call("redmine::open", issue.clone()).await.unwrap();
        assert_eq!(found.get("created"), Some(&Value::Bool(false)));
        // Once the number is known the mark moves to where it belongs.
        let issues = standin.issues();
        assert_eq!((issues.len(), issues[0].fields[&1].as_str()), (1, mark));
        assert_eq!(issues[0].description, "line 1\r\nline 2");
        let third = again.call("redmine::open", issue).await.unwrap();
        assert_eq!(third.get("id"), Some(&Value::Int(1)));
    }
}

#[tokio::test]
async fn a_mark_inside_a_longer_one_is_another() {
    let standin = Redmine::start().await.unwrap();
    let services = configured(&standin, API_KEY, Some("misspelt"));
    for (key, number) in [("web01", 1), ("web0", 2), ("01", 3), ("web01", 1)] {
        let issue = json!([{"subject": "a", "dedup_key": key}]);
        let said = refusal(call(&services, "redmine::open", issue).await);
        assert!(
            said.contains(&format!("issue {number} was opened")),
            "{said}"
        );
    }
}

#[tokio::test]
async fn without_a_dedup_key_the_runs_own_key_is_the_mark_and_only_a_doubt_looks_for_it() {
    let (standin, services) = start().await;
    let issue = json!([{"subject": "a"}]);
    call(&services, "redmine::open", issue.clone())
        .await
        .unwrap();
    assert_eq!(standin.issues()[0].fields[&1], KEY);
    // Even closed by a person meanwhile, it is what this run opened.
    standin.close_by_hand(1);
    let found = Try::again(&services)
        .call("redmine::open", issue.clone())
        .await
        .unwrap();
    assert_eq!(found.get("created"), Some(&Value::Bool(false)));
    let other = Try {
        key: "another",
        ..Try::again(&services)
    };
    let opened = other.call("redmine::open", issue).await.unwrap();
    assert_eq!(opened.get("created"), Some(&Value::Bool(true)));
}

#[tokio::test]
async fn without_a_marker_field_a_dedup_key_is_refused_and_everything_else_works() {
    let standin = Redmine::start().await.unwrap();
    let services = configured(&standin, API_KEY, None);
    let said = refusal(
        call(
            &services,
            "redmine::open",
            json!([{"subject": "a", "dedup_key": "k"}]),
        )
        .await,
    );
    assert!(said.contains("`dedup_key` needs `marker_field`"), "{said}");
    call(&services, "redmine::open", json!([{"subject": "a"}]))
        .await
        .unwrap();
    assert!(standin.issues()[0].fields.is_empty());
}

#[tokio::test]
async fn the_marker_field_may_be_given_by_number_and_is_found_by_an_administrator() {
    for (key, marker) in [(API_KEY, "1"), (ADMIN_KEY, "DEDUP_KEY")] {
        let standin = Redmine::start().await.unwrap();
        let services = configured(&standin, key, Some(marker));
        for _ in 0..2 {
            call(
                &services,
                "redmine::open",
                json!([{"subject": "a", "dedup_key": "k"}]),
            )
            .await
            .unwrap();
        }
        let issues = standin.issues();
        assert_eq!((issues.len(), issues[0].fields[&1].as_str()), (1, "k"));
        let writes = standin
            .requests()
            .iter()
            .filter(|seen| seen.method == "PUT")
            .count();
        assert_eq!(writes, 0, "the mark travels with the creation");
    }
}

#[tokio::test]
async fn a_marker_field_that_issues_do_not_have_is_a_refusal_that_names_the_issue() {
    let standin = Redmine::start().await.unwrap();
    let services = configured(&standin, API_KEY, Some("misspelt"));
    let said = refusal(
        call(
            &services,
            "redmine::open",
            json!([{"subject": "a", "dedup_key": "k"}]),
        )
        .await,
    );
    assert!(
        said.contains("issue 1 was opened") && said.contains("\"misspelt\""),
        "{said}"
    );
}

#[tokio::test]
async fn a_field_that_is_no_filter_is_found_out_instead_of_matching_everything() {
    let (standin, services) = start().await;
    standin.unfilter_field(1);
    call(
        &services,
        "redmine::open",
        json!([{"subject": "a", "dedup_key": "k1"}]),
    )
    .await
    .unwrap();
    let said = refusal(
        call(
            &services,
            "redmine::open",
            json!([{"subject": "b", "dedup_key": "k2"}]),
        )
        .await,
    );
    assert!(said.contains("Used as a filter"), "{said}");
}

#[tokio::test]
async fn a_long_subject_is_cut_and_stands_whole_in_the_description() {
    let (standin, services) = start().await;
    let long = "ü".repeat(300);
    call(
        &services,
        "redmine::open",
        json!([{"subject": long, "description": "more"}]),
    )
    .await
    .unwrap();
    call(
        &services,
        "redmine::open",
        json!([{"subject": "two\nlines"}]),
    )
    .await
    .unwrap();
    let issues = standin.issues();
    assert_eq!(issues[0].subject.chars().count(), 255);
    assert!(issues[0].subject.ends_with("ü…"));
    assert_eq!(issues[0].description, format!("{long}\r\n\r\nmore"));
    assert_eq!(issues[1].subject, "two lines");
}

#[tokio::test]
async fn an_unknown_project_is_called_by_its_name() {
    let (_standin, services) = start().await;
    let said = refusal(
        call(
            &services,
            "redmine::open",
            json!([{"project": "tset", "subject": "a"}]),
        )
        .await,
    );
    assert_eq!(
        said,
        "project \"tset\" does not exist or is not visible to this key"
    );
    let standin = Redmine::start().await.unwrap();
    let outside = configured(&standin, OUTSIDER_KEY, None);
    let said = refusal(call(&outside, "redmine::open", json!([{"subject": "a"}])).await);
    assert_eq!(
        said,
        "project \"test\" does not exist or is not visible to this key"
    );
}

#[tokio::test]
async fn other_refusals_show_redmines_own_sentences() {
    let (_standin, services) = start().await;
    let refused = [
        (
            json!({"subject": "a", "priority": 99}),
            "Priority cannot be blank",
        ),
        (
            json!({"subject": "a", "assignee": 99}),
            "Assignee is invalid",
        ),
        (
            json!({"subject": "a", "due_date": "soon", "priority": 99}),
            "Priority cannot be blank; Due date is not a valid date",
        ),
        (
            json!({"subject": "a", "dedup_key": "k".repeat(256)}),
            "Dedup key is too long (maximum is 255 characters)",
        ),
        (json!({"subject": " "}), "`subject` is missing or blank"),
        (
            json!({"subject": "a", "tracker": "Bgu"}),
            "there is no tracker \"Bgu\"; Redmine has: Bug, Feature, Support",
        ),
        (
            json!({"subject": "a", "priority": "Hihg"}),
            "there is no priority \"Hihg\"; Redmine has: Low, Normal, High, Urgent, Immediate",
        ),
        (
            json!({"subject": "a", "assignee": "Nobody"}),
            "there is no assignee \"Nobody\"; Redmine has: Flow Robot",
        ),
        (
            json!({"subject": "a", "prority": 1}),
            "there is no option `prority`; did you mean `priority`?",
        ),
        (
            json!({"subject": "a", "custom_fields": {"nope": 1}}),
            "no custom field \"nope\" can be seen; give its number as the name instead",
        ),
    ];
    // With an issue there, the field's number is known and its value is judged on creation.
    call(&services, "redmine::open", json!([{"subject": "first"}]))
        .await
        .unwrap();
    for (issue, sentence) in refused {
        assert_eq!(
            refusal(call(&services, "redmine::open", json!([issue])).await),
            sentence
        );
    }
}

#[tokio::test]
async fn a_wrong_key_is_found_out_although_lists_answer_with_200() {
    let standin = Redmine::start().await.unwrap();
    let services = configured(&standin, &"d".repeat(40), Some("1"));
    for (verb, arguments) in [
        ("redmine::find", json!(["k"])),
        ("redmine::open", json!([{"subject": "a", "dedup_key": "k"}])),
        ("redmine::close", json!([1])),
    ] {
        let said = refusal(call(&services, verb, arguments).await);
        assert_eq!(
            said,
            "Redmine does not know this API key; check key_file under [redmine]"
        );
    }
}

#[tokio::test]
async fn a_switched_off_rest_api_is_called_so() {
    let (standin, services) = start().await;
    standin.answer_next(1, 403);
    let said = refusal(call(&services, "redmine::find", json!(["k"])).await);
    assert!(said.contains("REST API is switched off"), "{said}");
}

#[tokio::test]
async fn trouble_is_an_absence_and_in_doubt_after_a_write() {
    let (standin, services) = start().await;
    call(&services, "redmine::open", json!([{"subject": "warm"}]))
        .await
        .unwrap();
    let locked = Reply::json(500, &json!({"status": 500, "error": "database is locked"}));
    standin.fail_next(1, Mischief::Answer(locked));
    let failure = away(call(&services, "redmine::open", json!([{"subject": "a"}])).await);
    assert!(
        failure.in_doubt && failure.message.contains("database is locked"),
        "{failure}"
    );
    standin.fail_next(1, Mischief::Silence);
    let failure = away(call(&services, "redmine::comment", json!([1, "x"])).await);
    assert!(failure.in_doubt);
    standin.answer_next(1, 503);
    assert!(
        !away(call(&services, "redmine::close", json!([1])).await).in_doubt,
        "that was a read"
    );
}

#[tokio::test]
async fn closing_picks_a_closed_status_writes_the_note_and_reads_again() {
    let (standin, services) = start().await;
    call(&services, "redmine::open", json!([{"subject": "a"}]))
        .await
        .unwrap();
    let closed = call(&services, "redmine::close", json!([1, "recovered"]))
        .await
        .unwrap();
    assert_eq!(shown(&closed)["status"], "Closed");
    assert_eq!(shown(&closed)["closed"], true);
    assert_eq!(standin.issues()[0].notes, ["recovered"]);
    call(&services, "redmine::close", json!([1, "again"]))
        .await
        .unwrap();
    assert_eq!(
        standin.issues()[0].notes,
        ["recovered"],
        "already closed is fine and says nothing more"
    );
    call(&services, "redmine::open", json!([{"subject": "b"}]))
        .await
        .unwrap();
    let rejected = call(&services, "redmine::close", json!(["2", null, "Rejected"]))
        .await
        .unwrap();
    assert_eq!(shown(&rejected)["status"], "Rejected");
}

#[tokio::test]
async fn a_status_that_the_workflow_forbids_is_a_refusal_with_the_allowed_ones() {
    let (standin, services) = start().await;
    call(&services, "redmine::open", json!([{"subject": "a"}]))
        .await
        .unwrap();
    standin.forbid_status(5);
    call(
        &services,
        "redmine::update",
        json!([1, {"status": "Feedback"}]),
    )
    .await
    .unwrap();
    let said = refusal(call(&services, "redmine::close", json!([1, null, "Closed"])).await);
    let sentence = "Redmine did not change the status of issue 1; it is still \"Feedback\"; the workflow allows New, In Progress, Resolved, Feedback, Rejected";
    assert_eq!(said, sentence);
    let said = refusal(
        call(
            &services,
            "redmine::update",
            json!([1, {"status": "Closed"}]),
        )
        .await,
    );
    assert_eq!(said, sentence);
    let other = call(&services, "redmine::close", json!([1])).await.unwrap();
    assert_eq!(
        shown(&other)["status"],
        "Rejected",
        "the first that is allowed"
    );
    standin.forbid_status(6);
    call(&services, "redmine::open", json!([{"subject": "b"}]))
        .await
        .unwrap();
    let said = refusal(call(&services, "redmine::close", json!([2])).await);
    assert!(
        said.contains("did not change the status of issue 2"),
        "{said}"
    );
}

#[tokio::test]
async fn an_open_status_does_not_close_and_an_unknown_one_is_named() {
    let (standin, services) = start().await;
    call(&services, "redmine::open", json!([{"subject": "a"}]))
        .await
        .unwrap();
    let said = refusal(call(&services, "redmine::close", json!([1, null, "Resolved"])).await);
    assert_eq!(said, "the status \"Resolved\" does not close an issue");
    let said = refusal(call(&services, "redmine::close", json!([1, null, "Clsoed"])).await);
    assert!(
        said.starts_with("there is no status \"Clsoed\"; Redmine has: New"),
        "{said}"
    );
    assert!(!standin.issues()[0].is_closed());
    assert_eq!(
        refusal(call(&services, "redmine::close", json!([7])).await),
        "issue 7 does not exist"
    );
    refusal(call(&services, "redmine::close", json!([-1])).await);
    refusal(call(&services, "redmine::close", json!([{"id": 1}])).await);
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_notes_once() {
    let (standin, services) = start().await;
    call(&services, "redmine::open", json!([{"subject": "a"}]))
        .await
        .unwrap();
    let change =
        json!([1, {"status": "In Progress", "priority": "High", "subject": "b", "note": "seen"}]);
    standin.fail_next(1, Mischief::Delay(Duration::ZERO));
    call(&services, "redmine::update", change.clone())
        .await
        .unwrap();
    Try::again(&services)
        .call("redmine::update", change)
        .await
        .unwrap();
    let issue = &standin.issues()[0];
    assert_eq!(
        (issue.status, issue.priority, issue.subject.as_str()),
        (2, 3, "b")
    );
    assert_eq!(
        issue.notes,
        ["seen"],
        "a second try does not repeat the note"
    );
}

#[tokio::test]
async fn a_comment_and_a_file_are_there_once_after_a_lost_answer() {
    let (standin, services) = start().await;
    call(&services, "redmine::open", json!([{"subject": "a"}]))
        .await
        .unwrap();
    let comment = json!([1, "still down\nat 12", {"private": true}]);
    standin.fail_next(1, Mischief::LoseAnswer);
    assert!(away(call(&services, "redmine::comment", comment.clone()).await).in_doubt);
    Try::again(&services)
        .call("redmine::comment", comment)
        .await
        .unwrap();
    assert_eq!(standin.issues()[0].notes, ["still down\nat 12"]);
    let file = json!([1, "report.txt", "hello", {"content_type": "text/plain", "description": "a report"}]);
    call(&services, "redmine::attach", file.clone())
        .await
        .unwrap();
    Try::again(&services)
        .call("redmine::attach", file)
        .await
        .unwrap();
    assert_eq!(standin.issues()[0].files, [("report.txt".to_owned(), 5)]);
    let sent = standin
        .requests()
        .iter()
        .rfind(|seen| seen.method == "PUT")
        .unwrap()
        .json();
    assert_eq!(sent["issue"]["uploads"][0]["content_type"], "text/plain");
    let big = [
        Value::Int(1),
        Value::from("big.bin"),
        Value::from(vec![0; 5_242_881]),
    ];
    let said = refusal(Try::first(&services).with("redmine::attach", &big).await);
    assert!(
        said.contains("exceeds the maximum allowed file size"),
        "{said}"
    );
    refusal(call(&services, "redmine::attach", json!([1, "a\r\nb", "x"])).await);
    refusal(call(&services, "redmine::comment", json!([1, " "])).await);
}

#[tokio::test]
async fn issues_are_found_by_key_status_and_subject() {
    let (standin, services) = start().await;
    for (subject, key) in [
        ("web01 down", "k1"),
        ("web02 down", "k2"),
        ("db slow", "k3"),
    ] {
        call(
            &services,
            "redmine::open",
            json!([{"subject": subject, "dedup_key": key}]),
        )
        .await
        .unwrap();
    }
    standin.close_by_hand(2);
    let ids = async |search: serde_json::Value| {
        let found = shown(
            &call(&services, "redmine::find", json!([search]))
                .await
                .unwrap(),
        );
        let ids: Vec<i64> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_i64().unwrap())
            .collect();
        ids
    };
    assert_eq!(ids(json!("k1")).await, [1]);
    assert_eq!(ids(json!("k2")).await, Vec::<i64>::new());
    assert_eq!(
        ids(json!({"dedup_key": "k2", "status": "closed"})).await,
        [2]
    );
    assert_eq!(ids(json!({"subject": "DOWN", "status": "*"})).await, [2, 1]);
    assert_eq!(ids(json!({"project": "test", "limit": 1})).await, [3]);
    assert_eq!(ids(json!({"project": "ops"})).await, Vec::<i64>::new());
    refusal(call(&services, "redmine::find", json!([{"project": "tset"}])).await);
}

#[tokio::test]
async fn lists_are_asked_for_once_and_again_for_an_unknown_name() {
    let (standin, services) = start().await;
    for _ in 0..3 {
        call(
            &services,
            "redmine::open",
            json!([{"subject": "a", "tracker": "Bug"}]),
        )
        .await
        .unwrap();
    }
    let asked = || {
        standin
            .requests()
            .iter()
            .filter(|seen| seen.path == "/trackers.json")
            .count()
    };
    assert_eq!(asked(), 1);
    refusal(
        call(
            &services,
            "redmine::open",
            json!([{"subject": "a", "tracker": "New one"}]),
        )
        .await,
    );
    assert_eq!(asked(), 2, "it may have been added since");
}

#[tokio::test]
async fn a_redirecting_endpoint_is_refused_with_its_target() {
    let (standin, services) = start().await;
    let moved = Reply::empty(301).with("location", "https://redmine.example/users/current.json");
    standin.fail_next(1, Mischief::Answer(moved));
    let failure = call(&services, "redmine::find", json!(["k"]))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(
        failure.message.contains("https://redmine.example"),
        "{failure}"
    );
}

#[test]
fn the_key_is_never_shown_and_wrong_settings_are_named() {
    let (folder, _) = secret(API_KEY);
    let prepare = |text: &str| {
        let settings: Settings = toml::from_str(text).map_err(|why| why.to_string())?;
        Service::prepare(settings, folder.path())
    };
    let service = prepare("key_file = \"secret\"\nmarker_field = 1\nproject = \"test\"").unwrap();
    let services = Services {
        redmine: Some(service),
        ..Services::default()
    };
    assert!(!format!("{services:?}").contains(API_KEY));
    for (text, complaint) in [
        ("", "set key_file or key_env"),
        ("key_file = \"secret\"\nkey_env = \"X\"", "not both"),
        (
            "key_file = \"secret\"\nmarker_field = true",
            "name or a number",
        ),
        ("key = \"inline\"", "unknown field"),
        ("key_file = \"secret\"\nendpoint = \"redmine\"", "http://"),
        ("key_env = \"VIGIE_TEST_NOT_SET\"", "VIGIE_TEST_NOT_SET"),
    ] {
        let said = prepare(text).map(drop).unwrap_err();
        assert!(said.contains(complaint), "{said}");
    }
}

/// The stand-in answers recorded requests with the recorded status and sentences.
#[tokio::test]
async fn the_standin_answers_as_the_recorded_redmine_did() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/redmine");
    let mut compared = 0;
    let mut different = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let recorded: serde_json::Value = serde_json::from_str(&text).unwrap();
        let (status, errors) = replay(&recorded["request"]).await;
        let name = path.file_stem().unwrap().to_string_lossy();
        let response = &recorded["response"];
        let expected = (&response["status"], &response["body_json"]["errors"]);
        if (&json!(status), &errors) != expected {
            different.push(format!("{name}: {status} {errors}, recorded {expected:?}"));
        }
        compared += 1;
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(compared > 30);
}

async fn replay(request: &serde_json::Value) -> (u16, serde_json::Value) {
    let standin = Redmine::start().await.unwrap();
    let path = request["path"].as_str().unwrap();
    let method = request["method"].as_str().unwrap();
    let mut sent = Request::new(method, format!("{}{path}", standin.url()));
    for (name, value) in request["headers"].as_object().unwrap() {
        sent.headers
            .push((name.clone(), value.as_str().unwrap().to_owned()));
    }
    sent.body = match &request["body"] {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone().into_bytes()),
        json => Some(json.to_string().into_bytes()),
    };
    sent.accept.add("4xx").unwrap();
    sent.accept.add("5xx").unwrap();
    let answer = Client::default().send(sent).await.unwrap();
    let body = answer.json().unwrap_or_default();
    (answer.status, body["errors"].clone())
}
