//! `vigie serve`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use notify::{RecursiveMode, Watcher};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::log::Log;
use super::{Common, manager, report};
use crate::config::House;
use crate::error::Exit;
use crate::server::Server;
use crate::state::{CannotStart, State};

/// Editors write a file in several steps; changes within this time are one.
const QUIET: Duration = Duration::from_millis(300);

/// Files that may be open if the system allows it: each connection is one, and most systems begin
/// with 1,024, which a crowd at the door would use up.
const FILES_WANTED: u64 = 65_536;

/// Run the server.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie serve\n  vigie serve --settings /etc/vigie/settings.toml\n\n\
    Changed files under channels/ and flows/ are taken up while running; a broken new version is\n\
    refused loudly and the old one stays. SIGHUP takes up settings.toml too."
)]
pub(super) struct Serve {
    /// Do not watch channels/ and flows/; only SIGHUP reloads
    #[arg(long)]
    no_watch: bool,
}

impl Serve {
    pub(super) fn run(self, common: &Common) -> Exit {
        let (settings, _) = match House::settings(common.settings.as_deref()) {
            Ok(found) => found,
            Err(mistakes) => {
                report::mistakes(&mistakes);
                return Exit::Configuration;
            }
        };
        let log = Log::start(&settings.log);
        open_more_files();
        let runtime = match tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(why) => {
                report::sentence(&format!("cannot start: {why}"));
                return Exit::Bug;
            }
        };
        let watched = (!self.no_watch).then(|| vec![settings.channels, settings.flows]);
        let serving = Serving {
            settings: common.settings.clone(),
            watched: watched.unwrap_or_default(),
            log,
        };
        let exit = runtime.block_on(serving.run());
        runtime.shutdown_timeout(Duration::from_secs(5));
        exit
    }
}

/// A server from its start to its end.
struct Serving {
    settings: Option<PathBuf>,
    watched: Vec<PathBuf>,
    log: Log,
}

impl Serving {
    async fn run(self) -> Exit {
        // Before anything else: a signal that nobody listens for ends the process.
        let signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(why) => {
                report::sentence(&format!("cannot listen for signals: {why}"));
                return Exit::Bug;
            }
        };
        // What changes while the house is being read is taken up after that.
        let (changed, changes) = mpsc::channel(1);
        let _watcher = watch(&self.watched, changed);
        let server = match Server::start(self.settings.clone()).await {
            Ok(server) => server,
            Err(CannotStart { mistakes, exit }) => {
                report::mistakes(&mistakes);
                return exit;
            }
        };
        report::line(&format!(
            "vigie {} listens on {}",
            env!("CARGO_PKG_VERSION"),
            server.address
        ));
        manager::tell(manager::READY);
        self.attend(server.state(), signals, changes).await;
        manager::tell(manager::STOPPING);
        server.stop().await;
        Exit::Ok
    }

    /// Reloads when asked to, until told to stop.
    async fn attend(
        &self,
        state: &Arc<State>,
        mut signals: Signals,
        mut changes: mpsc::Receiver<()>,
    ) {
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return,
                _ = signals.interrupt.recv() => return,
                _ = signals.hangup.recv() => self.reload(state).await,
                Some(()) = changes.recv() => {
                    tokio::time::sleep(QUIET).await;
                    while changes.try_recv().is_ok() {}
                    self.reload(state).await;
                }
            }
        }
    }

    async fn reload(&self, state: &State) {
        match state.reload().await {
            Ok(()) => self.log.change(&state.house().settings.log),
            Err(mistakes) => {
                for mistake in &mistakes {
                    tracing::error!("{mistake}");
                }
                tracing::error!("the changed files are refused; what ran before goes on");
            }
        }
    }
}

/// What others tell this process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Asks for [`FILES_WANTED`], or for as many as an ordinary process may have.
fn open_more_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(FILES_WANTED).min(FILES_WANTED);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let more = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    if let Err(why) = setrlimit(Resource::Nofile, more) {
        tracing::warn!(
            "cannot have more files open than {:?}: {why}",
            limit.current
        );
    }
}

fn watch(folders: &[PathBuf], changed: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // Full means that somebody was told already.
            let _ = changed.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(tell)
        .inspect_err(|why| tracing::warn!("changed files are taken up on SIGHUP only: {why}"))
        .ok()?;
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        if let Err(why) = watcher.watch(folder, RecursiveMode::Recursive) {
            tracing::warn!(folder = %folder.display(), "cannot watch: {why}");
        }
    }
    Some(watcher)
}
