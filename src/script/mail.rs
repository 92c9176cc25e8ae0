//! Stub.
use super::{Word, Words};
/// The theme.
pub struct Mail;
impl Words for Mail {
    fn words(&self) -> &'static [Word] {
        &[]
    }
    fn register(&self, _engine: &mut rhai::Engine) {}
}
