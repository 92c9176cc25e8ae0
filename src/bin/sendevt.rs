//! The small sender for monitored hosts: only the sending part of vigie.

use std::path::Path;
use std::process::ExitCode;

use vigie::sender::{StandardInput, sendevt};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let name = Path::new(&name)
        .file_stem()
        .map_or_else(|| "sendevt".into(), |name| name.to_string_lossy());
    sendevt::main(&name, arguments.collect(), StandardInput::new()).into()
}
