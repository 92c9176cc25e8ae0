//! The stand-ins of the demo, in this process, and what they have to tell.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::Deadline;
use crate::standin::redmine::Issue;
use crate::standin::{Canopsis, Mischief, PagerDuty, Redmine, Smtp, canopsis, redmine};

/// Any well-formed key is somebody's.
const ROUTING_KEY: &str = "0123456789abcdef0123456789abcdef";
/// How long the slow Redmine takes to look, and then to answer that it has created an issue.
const SLOW_LOOK: Duration = Duration::from_millis(100);
const SLOW_ANSWER: Duration = Duration::from_secs(5);
/// More requests than a run makes before it is killed.
const SLOW_ANSWERS: usize = 8;

/// All stand-ins, on free ports of loopback.
pub(super) struct Targets {
    pub(super) redmine: Redmine,
    pub(super) pagerduty: PagerDuty,
    pub(super) canopsis: Canopsis,
    pub(super) smtp: Smtp,
    // The last field, so that it is dropped after those that live in it.
    _runtime: Runtime,
}

impl Targets {
    /// Starts them, and listens for signals beside them.
    ///
    /// # Errors
    /// A sentence: no port or no thread can be had.
    pub(super) fn start(deadline: &Deadline) -> Result<Targets, String> {
        let begin = || {
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            runtime.spawn(deadline.clone().heed_signals());
            Ok(Targets {
                redmine: runtime.block_on(Redmine::start())?,
                pagerduty: runtime.block_on(PagerDuty::start())?,
                canopsis: runtime.block_on(Canopsis::start())?,
                smtp: runtime.block_on(Smtp::start())?,
                _runtime: runtime,
            })
        };
        begin().map_err(|why: std::io::Error| format!("cannot start the stand-ins: {why}"))
    }

    /// Redmine's, PagerDuty's, Canopsis' and the relay's address.
    pub(super) fn urls(&self) -> [String; 4] {
        [
            self.redmine.url(),
            self.pagerduty.url(),
            self.canopsis.url(),
            self.smtp.url(),
        ]
    }

    /// Files with the keys that the stand-ins know.
    pub(super) fn secrets(&self) -> [(&'static str, &'static str); 3] {
        [
            ("secrets/redmine", redmine::KEY),
            ("secrets/pagerduty", ROUTING_KEY),
            ("secrets/canopsis", canopsis::AUTHKEY),
        ]
    }

    /// From now on Redmine does what it is asked, but is slow to say so.
    pub(super) fn slow_down(&self) {
        self.redmine.fail_next(1, Mischief::Delay(SLOW_LOOK));
        let slow = Mischief::Delay(SLOW_ANSWER);
        self.redmine.fail_next(SLOW_ANSWERS, slow);
    }

    /// And no longer.
    pub(super) fn speed_up(&self) {
        self.redmine.behave();
    }

    /// The issues about a host, or whatever else stands in a subject.
    pub(super) fn issues(&self, subject: &str) -> Vec<Issue> {
        let mut issues = self.redmine.issues();
        issues.retain(|issue| issue.subject.contains(subject));
        issues
    }

    /// How often Redmine was asked to create an issue with this in its subject.
    pub(super) fn creations(&self, subject: &str) -> usize {
        let requests = self.redmine.requests();
        let is_one = |subject: &str, text: &serde_json::Value| {
            text["issue"]["subject"]
                .as_str()
                .is_some_and(|text| text.contains(subject))
        };
        let creations = requests
            .iter()
            .filter(|seen| seen.method == "POST" && seen.path == "/issues.json");
        creations
            .filter(|seen| is_one(subject, &seen.json()))
            .count()
    }

    /// What each of them holds now, as lines for people.
    pub(super) fn holdings(&self) -> Vec<(&'static str, Vec<String>)> {
        let issue = |issue: &Issue| {
            let state = if issue.is_closed() { "closed" } else { "open" };
            let files: Vec<String> = issue
                .files
                .iter()
                .map(|(name, size)| format!(", with {name} ({size} bytes)"))
                .collect();
            format!(
                "issue #{} {state}: {}{}",
                issue.id,
                issue.subject,
                files.concat()
            )
        };
        let page = |alert: &crate::standin::pagerduty::Alert| {
            let summary = alert.payload["summary"].as_str().unwrap_or("");
            format!("alert {}: {summary}", alert.state)
        };
        let alarm = |alarm: &canopsis::Alarm| {
            let words = ["ok", "minor", "major", "critical"];
            let state = usize::try_from(alarm.state).unwrap_or(0);
            let state = words.get(state).unwrap_or(&"?");
            format!("alarm {} {state}: {}", alarm.entity, alarm.output)
        };
        let mail =
            |mail: &crate::standin::smtp::Delivered| format!("mail to {}", mail.to.join(", "));
        vec![
            ("Redmine", self.redmine.issues().iter().map(issue).collect()),
            (
                "PagerDuty",
                self.pagerduty.alerts().iter().map(page).collect(),
            ),
            (
                "Canopsis",
                self.canopsis.alarms().iter().map(alarm).collect(),
            ),
            ("Mail relay", self.smtp.mails().iter().map(mail).collect()),
        ]
    }
}
