//! `vigie demo`
use crate::error::Exit;
use clap::Args;
/// Show it all.
#[derive(Debug, Args)]
pub struct Demo {}
impl Demo {
    /// Runs it.
    pub fn run(self) -> Exit {
        Exit::Bug
    }
}
