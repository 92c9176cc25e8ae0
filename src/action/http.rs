//! Stub.
use super::{Action, Call, Performing, Verb};
/// Settings.
#[derive(Debug, Default, Clone, serde::Deserialize)]
pub struct Settings {}
/// The action.
pub struct Http;
impl Action for Http {
    fn name(&self) -> &'static str {
        "http"
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
/// Client.
#[derive(Debug, Default, Clone, serde::Deserialize)]
pub struct Client {}
