//! Stub.
use super::{Action, Call, Performing, Verb};
/// Settings.
#[derive(Debug, Default)]
pub struct Settings {}
/// The action.
pub struct Redmine;
impl Action for Redmine {
    fn name(&self) -> &'static str {
        "redmine"
    }
    fn about(&self) -> &'static str {
        ""
    }
    fn verbs(&self) -> &'static [Verb] {
        &[]
    }
    fn perform<'a>(&'a self, _call: Call<'a>) -> Performing<'a> {
        Box::pin(async { Err(super::Failure::refused("not built")) })
    }
}

/// Stub.
#[derive(Debug)]
pub struct Service {}
