//! What the store wrote, after a disk had its way with it.

use vigie::store::codec::{decode_value, encode_value};

/// A value: read and written again it is the same.
pub fn value(bytes: &[u8]) {
    let Ok(value) = decode_value(bytes) else {
        return;
    };
    let written = encode_value(&value).expect("what was read can be written");
    let again = decode_value(&written).expect("what was written can be read");
    assert_eq!(format!("{value:?}"), format!("{again:?}"));
}
