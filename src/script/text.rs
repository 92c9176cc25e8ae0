//! Stub.
use super::{Word, Words};
/// The theme.
pub struct Text;
impl Words for Text {
    fn words(&self) -> &'static [Word] {
        &[]
    }
    fn register(&self, _engine: &mut rhai::Engine) {}
}
/// Decodes.
pub fn decode_guess(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
