//! What is logged, to standard error; level and format may change while the server runs.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt, registry, reload};

use crate::printable::record;
use crate::settings::LogSettings;

/// The log that was set up; by it the settings are changed.
pub(super) struct Log(Box<dyn Fn(&LogSettings) + Send + Sync>);

impl Log {
    /// Sets it up. A level or a format that means nothing is told with all other mistakes when the
    /// house is loaded; until then the usual ones count.
    pub(super) fn start(settings: &LogSettings) -> Log {
        let (format, formats) = reload::Layer::new(formatted(settings));
        let (level, levels) = reload::Layer::new(level_of(settings));
        // Fails only if it was set before, in a test.
        let _ = registry().with(format).with(level).try_init();
        Log(Box::new(move |settings| {
            // Fails only if there is no log any more.
            let _ = levels.reload(level_of(settings));
            let _ = formats.reload(formatted(settings));
        }))
    }

    /// Takes up changed settings.
    pub(super) fn change(&self, settings: &LogSettings) {
        (self.0)(settings);
    }
}

fn level_of(settings: &LogSettings) -> LevelFilter {
    settings.level.parse().unwrap_or(LevelFilter::INFO)
}

fn formatted<S>(settings: &LogSettings) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let coloured = io::stderr().is_terminal();
    match settings.format.as_str() {
        "json" => fmt::layer()
            .with_writer(io::stderr)
            .with_target(false)
            .json()
            .boxed(),
        _ => fmt::layer()
            .with_writer(move || Records { coloured })
            .with_target(false)
            .with_ansi(coloured)
            .boxed(),
    }
}

/// Standard error, a record at a time: what an event or a target said forges none.
struct Records {
    coloured: bool,
}

impl Write for Records {
    /// The layer hands over each record whole.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let record = record(&String::from_utf8_lossy(bytes), self.coloured);
        io::stderr().write_all(record.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
