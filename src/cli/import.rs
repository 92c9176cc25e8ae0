//! `vigie import centreon-output`

mod output;
mod parameter;
mod translate;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use self::output::Output;
use super::report;
use crate::error::Exit;

/// Bytes of a configuration that is read.
pub const CONFIGURATION_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Turn what another program was told into what vigie is told.
#[derive(Debug, Args)]
pub(super) struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    CentreonOutput(CentreonOutput),
}

/// Turn a stream connector's parameters into a [[source]] with its filter.
///
/// The source goes to standard output, Centreon's defaults written out; what could not be carried
/// over goes to standard error, and stands below the source as comments. Passwords are not copied.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vigie import centreon-output /etc/centreon-broker/central-broker.json > channels/centreon.toml\n  \
    vigie import centreon-output central-broker.json --output canopsis\n\n\
    Exit: 0 it was turned, whatever had to be left out; 1 the file cannot be read, or holds no such output; 64 which one of several is meant?"
)]
struct CentreonOutput {
    /// A Broker's configuration, one of its outputs, or the lua_parameter of one; - is standard input
    file: PathBuf,
    /// The name of the output, if there are several with a script
    #[arg(long)]
    output: Option<String>,
}

impl Import {
    pub(super) fn run(self) -> Exit {
        match self.from {
            From::CentreonOutput(import) => import.run(),
        }
    }
}

impl CentreonOutput {
    fn run(self) -> Exit {
        let outputs = match self.read().and_then(|text| output::all(&text)) {
            Ok(outputs) => outputs,
            Err(why) => {
                report::sentence(&format!("{}: {why}", self.file.display()));
                return Exit::Failed;
            }
        };
        match self.choose(outputs) {
            Ok(output) => {
                let translated = translate::translate(&output);
                report::line(translated.text.trim_end());
                for note in &translated.notes {
                    report::sentence(note);
                }
                Exit::Ok
            }
            Err((why, exit)) => {
                report::sentence(&format!("{}: {why}", self.file.display()));
                exit
            }
        }
    }

    fn read(&self) -> Result<String, String> {
        use std::io::Read;
        let mut bytes = Vec::new();
        let mut input: Box<dyn Read> = match self.file.to_str() {
            Some("-") => Box::new(std::io::stdin()),
            _ => Box::new(std::fs::File::open(&self.file).map_err(|why| why.to_string())?),
        };
        let read = input
            .by_ref()
            .take(CONFIGURATION_BYTES_MAX + 1)
            .read_to_end(&mut bytes);
        read.map_err(|why| why.to_string())?;
        if bytes.len() as u64 > CONFIGURATION_BYTES_MAX {
            return Err(format!("it is larger than {CONFIGURATION_BYTES_MAX} bytes"));
        }
        String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
    }

    /// The output that is meant.
    fn choose(&self, mut outputs: Vec<Output>) -> Result<Output, (String, Exit)> {
        let names = |outputs: &[Output]| {
            let names = outputs.iter().map(|output| output.name.as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        let all = names(&outputs);
        if let Some(name) = &self.output {
            outputs.retain(|output| output.name == *name);
        }
        match (outputs.pop(), outputs.is_empty(), &self.output) {
            (Some(output), true, _) => Ok(output),
            (Some(_), false, _) => {
                let why = format!("which output? Say --output NAME with one of: {all}");
                Err((why, Exit::Usage))
            }
            (None, _, Some(name)) => {
                let why = format!("no output with a script is called `{name}`; there are: {all}");
                Err((why, Exit::Failed))
            }
            (None, ..) => Err(("it has no output with a script".to_owned(), Exit::Failed)),
        }
    }
}
