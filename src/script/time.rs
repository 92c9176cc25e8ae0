//! Stub.
use super::{Word, Words};
/// The theme.
pub struct Time;
impl Words for Time {
    fn words(&self) -> &'static [Word] {
        &[]
    }
    fn register(&self, _engine: &mut rhai::Engine) {}
}
