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
use crate::server::Server;
use crate::settings::LogSettings;
use crate::state::{CannotStart, State};

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
    let _watcher = watch(&watched, changed);
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
    attend(server.state(), signals, changes).await;
    server.stop().await;
    Exit::Ok
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

/// Reloads when asked to, until told to stop.
async fn attend(state: &Arc<State>, mut signals: Signals, mut changes: mpsc::Receiver<()>) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hangup.recv() => reload(state).await,
            Some(()) = changes.recv() => {
                tokio::time::sleep(QUIET).await;
                while changes.try_recv().is_ok() {}
                reload(state).await;
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
