//! What the demo promises, looked at in the stand-ins and in the server when all is over.

use super::house::House;
use super::targets::Targets;
use super::watch::Watch;

/// A sentence, and whether it is true.
pub(super) type Promise = (bool, &'static str);

/// Every promise, in the order of the story.
pub(super) fn all(house: &House, targets: &Targets, watch: &Watch<'_>) -> Vec<Promise> {
    let mut promises = tickets(targets);
    promises.extend(others(targets));
    let waiting = std::fs::read_dir(house.path().join("spool"));
    let is_empty = waiting.is_ok_and(|mut files| files.next().is_none());
    promises.push((
        watch.kept("mail") == Some(1),
        "the mail that was delivered twice is one event",
    ));
    promises.push((
        is_empty && watch.kept("alert") == Some(3),
        "the event that came while the server was down was taken in once, the spool is empty",
    ));
    promises
}

fn tickets(targets: &Targets) -> Vec<Promise> {
    let web = targets.issues("web01");
    let db = targets.issues("データベース01");
    let mail = targets.issues("印刷できません");
    vec![
        (
            web.len() == 1 && web.iter().all(|issue| issue.is_closed()),
            "web01's problem has one ticket, closed by its recovery",
        ),
        (
            db.len() == 1 && targets.creations("データベース01") == 1,
            "the ticket that was being opened when the server was killed was asked for once and is there once",
        ),
        (
            mail.len() == 1 && mail.iter().all(|issue| issue.files.len() == 1),
            "the mail has one ticket, with its attachment",
        ),
    ]
}

fn others(targets: &Targets) -> Vec<Promise> {
    let alerts = targets.pagerduty.alerts();
    let alarms = targets.canopsis.alarms();
    let state = |host: &str| {
        let mine = |alarm: &&crate::standin::canopsis::Alarm| alarm.entity.contains(host);
        alarms.iter().find(mine).map(|alarm| alarm.state)
    };
    vec![
        (
            alerts.len() == 1
                && alerts
                    .iter()
                    .all(|alert| alert.state == "resolved" && alert.triggers == 1),
            "the link was paged once and resolved",
        ),
        (
            state("web01") == Some(0) && state("データベース01") == Some(3),
            "Canopsis shows web01 recovered and データベース01 critical",
        ),
        (
            targets.smtp.mails().len() == 1,
            "whoever is on call got one mail",
        ),
    ]
}
