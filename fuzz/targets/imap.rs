//! What an IMAP server says.

use vigie::source::imap::{folder_name, understands};

/// One answer with its literals; and the same as the name of a folder.
pub fn answer(bytes: &[u8]) {
    understands(bytes);
    if let Ok(name) = std::str::from_utf8(bytes) {
        assert!(folder_name(name).is_ascii());
    }
}
