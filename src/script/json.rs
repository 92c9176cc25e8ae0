//! Stub.
use super::{Word, Words};
/// The theme.
pub struct Json;
impl Words for Json {
    fn words(&self) -> &'static [Word] {
        &[]
    }
    fn register(&self, _engine: &mut rhai::Engine) {}
}
