//! argv in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    vigie::cli::main(std::env::args_os().collect()).into()
}
