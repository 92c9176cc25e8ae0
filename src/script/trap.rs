//! Stub.
use super::{Word, Words};
/// The theme.
pub struct Trap;
impl Words for Trap {
    fn words(&self) -> &'static [Word] {
        &[]
    }
    fn register(&self, _engine: &mut rhai::Engine) {}
}
