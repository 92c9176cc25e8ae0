//! Bytes (and text too long for a script) as one opaque thing, outside Rhai's size counts.
//!
//! Words: `len text() base64() sub`. A body that is not JSON reaches a flow as this.

use base64::Engine as _;
use bytes::Bytes;
use rhai::{Engine, NativeCallContext};

use super::{Result, Word, Words, complain};
use crate::encoding::decode_guess;

/// Longest text that a script may hold as text of its own, in bytes; longer text stays a blob.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;

/// Immutable bytes, cheap to copy. `type_of` says "blob".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    bytes: Bytes,
    /// True if these bytes came as text and go back as text.
    is_text: bool,
}

impl Blob {
    /// Bytes that are just bytes.
    pub fn bytes(bytes: impl Into<Bytes>) -> Blob {
        Blob {
            bytes: bytes.into(),
            is_text: false,
        }
    }

    /// Text that is too long to be a Rhai string.
    pub fn long_text(text: String) -> Blob {
        Blob {
            bytes: text.into(),
            is_text: true,
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, shared with this blob.
    pub fn share(&self) -> Bytes {
        self.bytes.clone()
    }

    /// True if these bytes stand for a long text.
    pub fn is_text(&self) -> bool {
        self.is_text
    }

    /// Decoded as text: UTF-8 if it is, else as [`decode_guess`] thinks best.
    pub fn to_text(&self) -> String {
        decode_guess(&self.bytes)
    }
}

/// The theme.
pub struct Blobs;

impl Words for Blobs {
    fn words(&self) -> &'static [Word] {
        const WORDS: &[Word] = &[
            Word {
                name: "text",
                arguments: "blob",
                about: "the bytes as text, decoding UTF-8 or a Japanese or Western encoding",
                example: r#"base64_decode("5pel5pys").text() == "日本""#,
            },
            Word {
                name: "len",
                arguments: "blob",
                about: "how many bytes a blob holds; also as the property `len`",
                example: r#"base64_decode("aGVsbG8=").len() == 5"#,
            },
            Word {
                name: "sub",
                arguments: "blob, start, length",
                about: "a part of the bytes, as a blob",
                example: r#"base64_decode("aGVsbG8=").sub(1, 3).text() == "ell""#,
            },
        ];
        WORDS
    }

    fn register(&self, engine: &mut Engine) {
        engine
            .register_type_with_name::<Blob>("blob")
            .register_get("len", |blob: &mut Blob| blob.bytes.len() as i64)
            .register_fn("len", |blob: &mut Blob| blob.bytes.len() as i64)
            .register_fn("base64", |blob: &mut Blob| {
                base64::engine::general_purpose::STANDARD.encode(blob.as_bytes())
            })
            .register_fn("text", text)
            .register_fn("sub", sub)
            .register_fn("==", |one: Blob, other: Blob| one.bytes == other.bytes)
            .register_fn("!=", |one: Blob, other: Blob| one.bytes != other.bytes)
            .register_fn("to_string", |blob: &mut Blob| {
                format!("<{} bytes>", blob.bytes.len())
            })
            .register_fn("to_debug", |blob: &mut Blob| {
                format!("<{} bytes>", blob.bytes.len())
            });
    }
}

fn text(context: NativeCallContext, blob: Blob) -> Result<String> {
    let text = blob.to_text();
    if text.len() > TEXT_BYTES_MAX {
        let long = format!(
            "the text is {} bytes long and a script holds at most {TEXT_BYTES_MAX}; use `sub`",
            text.len()
        );
        return Err(complain(&context, long));
    }
    Ok(text)
}

fn sub(blob: Blob, start: i64, length: i64) -> Blob {
    let start = usize::try_from(start).unwrap_or(0).min(blob.bytes.len());
    let end = start
        .saturating_add(usize::try_from(length).unwrap_or(0))
        .min(blob.bytes.len());
    Blob {
        bytes: blob.bytes.slice(start..end),
        is_text: blob.is_text,
    }
}
