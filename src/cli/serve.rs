//! `vigie serve`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use notify::{RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::{Common, report};
use crate::config::House;
use crate::error::Exit;
use crate::server::{CannotStart, Server, State};
use crate::settings::LogSettings;

/// Editors write a file in several steps; changes within this time are one.
const QUIET: Duration = Duration::from_millis(300);

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
        // A wrong level or format is told with all other mistakes when the house is loaded.
        let _ = log(&settings.log);
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
        let exit = runtime.block_on(serve(common.settings.clone(), watched.unwrap_or_default()));
        runtime.shutdown_timeout(Duration::from_secs(5));
        exit
    }
}

async fn serve(settings: Option<PathBuf>, watched: Vec<PathBuf>) -> Exit {
    // Before the start: whoever reads that we listen may signal or change a file at once.
    let Ok(mut wishes) = Wishes::listen(&watched) else {
        report::sentence("cannot listen for signals");
        return Exit::Bug;
    };
    let server = match Server::start(settings).await {
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
    wishes.attend(server.state()).await;
    server.stop().await;
    Exit::Ok
}

/// What the operator asks for by signals and changed files.
struct Wishes {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    changes: mpsc::Receiver<()>,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Wishes {
    fn listen(watched: &[PathBuf]) -> std::io::Result<Wishes> {
        let (changed, changes) = mpsc::channel(1);
        Ok(Wishes {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            changes,
            _watcher: watch(watched, changed),
        })
    }

    /// Reloads when asked to, until told to stop.
    async fn attend(&mut self, state: &Arc<State>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reload(state).await,
                Some(()) = self.changes.recv() => {
                    tokio::time::sleep(QUIET).await;
                    while self.changes.try_recv().is_ok() {}
                    reload(state).await;
                }
            }
        }
    }
}

async fn reload(state: &State) {
    if let Err(mistakes) = state.reload().await {
        for mistake in &mistakes {
            tracing::error!("{mistake}");
        }
        tracing::error!("the changed files are refused; what ran before goes on");
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

/// Sets up what is logged, to standard error.
pub(super) fn log(settings: &LogSettings) -> Result<(), String> {
    let level: LevelFilter = settings.level.parse().map_err(|_| {
        format!(
            "[log] level = \"{}\" is none of error, warn, info, debug, trace",
            settings.level
        )
    })?;
    let base = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let layer = match settings.format.as_str() {
        "text" => base
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .boxed(),
        "json" => base.json().boxed(),
        other => {
            return Err(format!(
                "[log] format = \"{other}\" is neither text nor json"
            ));
        }
    };
    // Fails only if it was set before, in a test.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(level))
        .try_init();
    Ok(())
}
