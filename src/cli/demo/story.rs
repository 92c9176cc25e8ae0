//! The story, scene by scene: four doors, a crash, a summary.

use super::daemon::Daemon;
use super::doors::{Doors, LINK_DOWN, LINK_UP};
use super::house::House;
use super::screen::Screen;
use super::targets::Targets;
use super::watch::Watch;
use super::{Deadline, promise};
use crate::cli::report;

/// A serious problem, as Zabbix's action sends it.
const PROBLEM: &[&str] = &[
    "hostname=web01",
    "status=PROBLEM",
    "severity=5",
    "trigger_name=HTTP is down",
    "trigger_key=web.http",
    "detail=timeout after 10 s",
];
/// Its recovery.
const RECOVERY: &[&str] = &[
    "hostname=web01",
    "status=OK",
    "severity=5",
    "trigger_name=HTTP is down",
    "trigger_key=web.http",
    "detail=up again",
];
/// The problem that the server is killed over.
const SECOND: &[&str] = &[
    "hostname=データベース01",
    "status=PROBLEM",
    "severity=5",
    "trigger_name=ディスク障害",
    "trigger_key=disk.sda",
    "detail=/dev/sda",
];
/// The run that is at work when the server is killed.
const INTERRUPTED: &str = "alert/2/open_ticket";

/// Everything that the scenes share.
struct Stage<'a> {
    screen: &'a Screen,
    house: &'a House,
    targets: &'a Targets,
    deadline: &'a Deadline,
    watch: Watch<'a>,
}

/// Tells it all; `keep` keeps the folder.
///
/// # Errors
/// A sentence: what was not as promised.
pub(super) fn tell(keep: bool) -> Result<(), String> {
    let (screen, deadline) = (Screen::new(), Deadline::new());
    let targets = Targets::start(&deadline)?;
    let house = House::build(&targets, keep)?;
    let told = perform(&screen, &deadline, (&house, &targets));
    if keep {
        screen.say("");
        screen.say(&format!("kept: {}", house.path().display()));
    }
    told
}

fn perform(
    screen: &Screen,
    deadline: &Deadline,
    (house, targets): (&House, &Targets),
) -> Result<(), String> {
    introduce(screen, targets);
    let daemon = Daemon::start(house, deadline)?;
    screen.say("");
    let pid = daemon.pid();
    screen.server(&format!(
        "`vigie serve` is ready at {}, process {pid}",
        daemon.url
    ));
    let watch = Watch::new(screen, deadline, &daemon.url)?;
    let mut stage = Stage {
        screen,
        house,
        targets,
        deadline,
        watch,
    };
    let doors = Doors::new(house, &daemon.url);
    stage.problem(&doors)?;
    stage.trap(&doors)?;
    stage.mail(&doors)?;
    stage.webhook(&doors)?;
    let daemon = stage.crash(daemon, &doors)?;
    stage.summary()?;
    daemon.stop(deadline)
}

fn introduce(screen: &Screen, targets: &Targets) {
    screen.say("vigie demo: a real server, its real doors, and stand-ins for the targets.");
    screen.say("Nothing leaves this machine.");
    screen.say("");
    let names = ["Redmine", "PagerDuty", "Canopsis", "mail relay"];
    for (name, url) in names.iter().zip(targets.urls()) {
        screen.say(&format!("  {name:<10}  STAND-IN in this process, {url}"));
    }
}

impl Stage<'_> {
    fn problem(&mut self, doors: &Doors<'_>) -> Result<(), String> {
        self.screen
            .scene("1. A monitor sends a problem: a ticket, and an alarm in Canopsis");
        self.screen
            .call(&format!("$ vigie send {}", shown(PROBLEM)));
        doors.send(PROBLEM)?;
        self.watch
            .follow(&["alert/1/open_ticket", "alert/1/resolve_canopsis"])
    }

    fn trap(&mut self, doors: &Doors<'_>) -> Result<(), String> {
        self.screen
            .scene("2. snmptrapd hands over a linkDown, then a linkUp: a page, and its end");
        self.screen
            .call("$ vigie trap --channel snmptrap < link_down.txt");
        doors.trap(LINK_DOWN)?;
        self.watch.follow(&["snmptrap/1/page"])?;
        self.screen
            .call("$ vigie trap --channel snmptrap < link_up.txt");
        doors.trap(LINK_UP)?;
        self.watch.follow(&["snmptrap/2/page"])
    }

    fn mail(&mut self, doors: &Doors<'_>) -> Result<(), String> {
        self.screen.scene(
            "3. A mail server's alias delivers a mail, twice: one ticket with its attachment",
        );
        for _ in 0..2 {
            self.screen.call("$ vigie mail --channel mail < mail.eml");
            doors.mail()?;
        }
        self.watch.follow(&["mail/1/open_ticket"])
    }

    fn webhook(&mut self, doors: &Doors<'_>) -> Result<(), String> {
        self.screen
            .scene("4. Alertmanager posts its webhook: a mail to whoever is on call");
        self.screen.call("POST /hooks/alertmanager/prometheus");
        doors.webhook()?;
        self.watch.follow(&["prometheus/1/tell_oncall"])
    }

    fn crash(&mut self, daemon: Daemon, doors: &Doors<'_>) -> Result<Daemon, String> {
        self.screen
            .scene("5. The server is killed while Redmine is opening a ticket");
        self.targets.slow_down();
        self.screen.call(&format!("$ vigie send {}", shown(SECOND)));
        doors.send(SECOND)?;
        self.watch.follow(&["alert/2/resolve_canopsis"])?;
        let deadline = self.deadline;
        deadline.wait_for("the second ticket", || {
            self.watch.look(&[INTERRUPTED])?;
            Ok((!self.targets.issues("データベース01").is_empty()).then_some(()))
        })?;
        self.screen
            .server("Redmine has created the ticket, but the answer is still on its way");
        let pid = daemon.pid();
        daemon.kill()?;
        self.targets.speed_up();
        self.screen
            .server(&format!("kill -9 {pid}: the server is dead"));
        self.screen
            .call(&format!("$ vigie send {}", shown(RECOVERY)));
        let said = doors.send(RECOVERY)?;
        self.screen
            .server(&said.replace(&self.house.path().display().to_string(), "…"));
        let daemon = Daemon::start(self.house, deadline)?;
        let pid = daemon.pid();
        self.screen.server(&format!(
            "started again, process {pid}: it looks before it repeats anything"
        ));
        self.watch.look_at(&daemon.url)?;
        self.watch.follow(&[
            INTERRUPTED,
            "alert/3/close_ticket",
            "alert/3/resolve_canopsis",
        ])?;
        Ok(daemon)
    }

    fn summary(&mut self) -> Result<(), String> {
        self.screen
            .scene("Summary (ms: from the sender's call to the outcome on disk)");
        let rows: Vec<Vec<String>> = self.watch.reactions.iter().map(|one| one.cells()).collect();
        report::table(
            &["event", "came by", "flow", "action", "outcome", "ms"],
            &rows,
        );
        self.screen.scene("What the stand-ins hold");
        for (name, lines) in self.targets.holdings() {
            for line in lines {
                self.screen.say(&format!("  {name:<10}  {line}"));
            }
        }
        self.screen.scene("Promised");
        let promises = promise::all(self.house, self.targets, &self.watch);
        for (is_kept, text) in &promises {
            self.screen.promise(*is_kept, text);
        }
        match promises.iter().find(|(is_kept, _)| !is_kept) {
            None => Ok(()),
            Some((_, text)) => Err(format!("it is not true that {text}")),
        }
    }
}

/// Arguments as a shell would take them.
fn shown(pairs: &[&str]) -> String {
    let quoted = |pair: &&str| match pair.contains(' ') {
        true => format!("'{pair}'"),
        false => (*pair).to_owned(),
    };
    pairs.iter().map(quoted).collect::<Vec<_>>().join(" ")
}
