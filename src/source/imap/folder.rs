//! The name of a folder as it travels: modified UTF-7 (RFC 3501 §5.1.3).

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

const BASE64: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

/// `障害` as `&lpxbsw-`. Printable ASCII stands for itself, but `&`, which becomes `&-`.
pub fn encode(name: &str) -> String {
    let mut encoded = String::new();
    let mut rest = name;
    while !rest.is_empty() {
        let plain = rest.find(|char| !is_plain(char)).unwrap_or(rest.len());
        encoded.push_str(&rest[..plain].replace('&', "&-"));
        rest = &rest[plain..];
        let other = rest.find(is_plain).unwrap_or(rest.len());
        if other > 0 {
            let units = rest[..other].encode_utf16().flat_map(u16::to_be_bytes);
            let units: Vec<u8> = units.collect();
            encoded.push_str(&format!("&{}-", BASE64.encode(units)));
        }
        rest = &rest[other..];
    }
    encoded
}

fn is_plain(char: char) -> bool {
    matches!(char, ' '..='~')
}
