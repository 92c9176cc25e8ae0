//! Words on text: patterns, encodings, digests, numbers out of text.
//!
//! `replace` is Rhai's own with its result's size known before it is built: the original builds a
//! text of gigabytes first and is told off afterwards.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rhai::{Array, Dynamic, Engine, EvalAltResult, ImmutableString, NativeCallContext};
use sha2::Digest;

use super::blob::Blob;
use super::{Result, Word, Words, complain, pattern};
use crate::encoding;
use crate::hex;

/// RFC 3986 §2.3: what needs no escape anywhere in a URL.
const URL_SET: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Takes base64 with and without padding.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

/// The theme.
pub struct Text;

impl Words for Text {
    fn words(&self) -> &'static [Word] {
        WORDS
    }

    fn register(&self, engine: &mut Engine) {
        engine
            .register_fn("matches", matches)
            .register_fn("captures", captures)
            .register_fn("glob", glob)
            .register_fn("lines", lines)
            .register_fn("shorten", shorten)
            .register_fn("url_encode", |text: &str| {
                utf8_percent_encode(text, URL_SET).to_string()
            })
            .register_fn("url_decode", |text: &str| {
                encoding::decode_guess(&percent_decode_str(text).collect::<Vec<u8>>())
            });
        register_bytes(engine);
        register_numbers(engine);
        register_replace(engine);
    }
}

const WORDS: &[Word] = &[
    Word {
        name: "matches",
        arguments: "text, pattern",
        about: "true if the regular expression is found anywhere in the text (anchor with ^ and $)",
        example: r#"matches("web01.example", "^web\\d+") && !matches("db01", "^web")"#,
    },
    Word {
        name: "captures",
        arguments: "text, pattern",
        about: "the first match and its groups as a list of text, () for a group that is not there; () if nothing matches",
        example: r#"captures("CPU 97%", "(\\w+) (\\d+)%") == ["CPU 97%", "CPU", "97"]"#,
    },
    Word {
        name: "glob",
        arguments: "text, pattern",
        about: "true if the whole text matches: * any characters, ? one, [a-z] one of these, [!a-z] one of the others",
        example: r#"glob("web01.example", "web??.*") && !glob("db01", "web*")"#,
    },
    Word {
        name: "lines",
        arguments: "text",
        about: "the lines of a text as a list, without their line ends",
        example: r#"lines("one\r\ntwo\n") == ["one", "two"]"#,
    },
    Word {
        name: "shorten",
        arguments: "text, count",
        about: "the text if it has at most that many characters, else its beginning with … as the last of them",
        example: r#"shorten("disk full", 6) == "disk …" && shorten("disk", 6) == "disk""#,
    },
    Word {
        name: "url_encode",
        arguments: "text",
        about: "the text with everything escaped that is not a letter, a digit or one of - . _ ~",
        example: r#"url_encode("a b/é") == "a%20b%2F%C3%A9""#,
    },
    Word {
        name: "url_decode",
        arguments: "text",
        about: "the text with %XX undone; a + stays a +",
        example: r#"url_decode("a%20b%2F%C3%A9") == "a b/é""#,
    },
    Word {
        name: "base64",
        arguments: "text or blob",
        about: "the same as base64_encode",
        example: r#"base64("hello") == "aGVsbG8=""#,
    },
    Word {
        name: "base64_encode",
        arguments: "text or blob",
        about: "the bytes of a text (in UTF-8) or of a blob as base64 text",
        example: r#"base64_encode("hello") == "aGVsbG8=""#,
    },
    Word {
        name: "base64_decode",
        arguments: "text",
        about: "a blob of the bytes that base64 text stands for; both alphabets, padding and blanks do not matter",
        example: r#"base64_decode("aGVsbG8").text() == "hello""#,
    },
    Word {
        name: "sha256",
        arguments: "text or blob",
        about: "the SHA-256 of the bytes as 64 hexadecimal digits",
        example: r#"sha256("abc").sub_string(0, 8) == "ba7816bf""#,
    },
    Word {
        name: "md5",
        arguments: "text or blob",
        about: "the MD5 of the bytes as 32 hexadecimal digits; for keys of other systems, not for secrets",
        example: r#"md5("abc") == "900150983cd24fb0d6963f7d28e17f72""#,
    },
    Word {
        name: "to_int",
        arguments: "text, number or ()",
        about: "the whole number that a text says, a fraction cut off; () if it is no number or too large",
        example: r#"" 42 ".to_int() == 42 && "4.7".to_int() == 4 && "x".to_int() == () && ().to_int() == ()"#,
    },
    Word {
        name: "to_float",
        arguments: "text, number or ()",
        about: "the number that a text says; () if it is none",
        example: r#""0.5".to_float() == 0.5 && "x".to_float() == () && ().to_float() == ()"#,
    },
    Word {
        name: "replace",
        arguments: "text, from, to",
        about: "changes the text itself: each `from` (text or character) becomes `to`",
        example: r#"let text = "a-b-c"; text.replace("-", "+"); text == "a+b+c""#,
    },
];

fn matches(context: NativeCallContext, text: &str, pattern: &str) -> Result<bool> {
    let regex = pattern::compiled(pattern).map_err(|why| complain(&context, why))?;
    Ok(regex.is_match(text))
}

fn captures(context: NativeCallContext, text: &str, pattern: &str) -> Result {
    let regex = pattern::compiled(pattern).map_err(|why| complain(&context, why))?;
    let Some(found) = regex.captures(text) else {
        return Ok(Dynamic::UNIT);
    };
    let group = |group: Option<regex::Match<'_>>| {
        group.map_or(Dynamic::UNIT, |group| group.as_str().to_owned().into())
    };
    Ok(found.iter().map(group).collect::<Array>().into())
}

fn glob(context: NativeCallContext, text: &str, pattern: &str) -> Result<bool> {
    let regex = pattern::glob(pattern).map_err(|why| complain(&context, why))?;
    Ok(regex.is_match(text))
}

fn lines(text: &str) -> Array {
    text.lines().map(|line| line.to_owned().into()).collect()
}

fn shorten(text: ImmutableString, count: i64) -> ImmutableString {
    let count = usize::try_from(count).unwrap_or(0);
    if text.chars().count() <= count {
        return text;
    }
    let kept = text.chars().take(count.saturating_sub(1));
    let mut short: String = kept.collect();
    short.extend((count > 0).then_some('…'));
    short.into()
}

fn register_bytes(engine: &mut Engine) {
    engine
        .register_fn("base64", base64_encode)
        .register_fn("base64_encode", base64_encode)
        .register_fn("base64_decode", base64_decode)
        .register_fn("sha256", |context: NativeCallContext, value: Dynamic| {
            with_bytes(&context, &value, |bytes| {
                hex::encode(&sha2::Sha256::digest(bytes))
            })
        })
        .register_fn("md5", |context: NativeCallContext, value: Dynamic| {
            with_bytes(&context, &value, |bytes| {
                hex::encode(&md5::Md5::digest(bytes))
            })
        });
}

fn base64_encode(context: NativeCallContext, value: Dynamic) -> Result<String> {
    with_bytes(&context, &value, |bytes| {
        base64::engine::general_purpose::STANDARD.encode(bytes)
    })
}

fn base64_decode(context: NativeCallContext, text: &str) -> Result<Blob> {
    let is_url_safe = text.contains(['-', '_']);
    let alphabet = if is_url_safe { &URL_SAFE } else { &STANDARD };
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    GeneralPurpose::new(alphabet, LENIENT)
        .decode(digits)
        .map(Blob::bytes)
        .map_err(|error| complain(&context, format!("this is no base64: {error}")))
}

/// What `work` makes of the bytes of a text or a blob.
pub(super) fn with_bytes<T>(
    context: &NativeCallContext,
    value: &Dynamic,
    work: impl FnOnce(&[u8]) -> T,
) -> Result<T> {
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return Ok(work(text.as_bytes()));
    }
    if let Some(blob) = value.read_lock::<Blob>() {
        return Ok(work(blob.as_bytes()));
    }
    if let Some(bytes) = value.read_lock::<rhai::Blob>() {
        return Ok(work(&bytes));
    }
    let name = context.fn_name();
    let kind = value.type_name();
    Err(complain(
        context,
        format!("`{name}` takes text or a blob, not {kind}"),
    ))
}

fn register_numbers(engine: &mut Engine) {
    engine
        .register_fn("to_int", |text: &str| whole(text))
        .register_fn("to_int", |(): ()| ())
        .register_fn("to_int", |number: i64| number)
        .register_fn("to_float", |text: &str| {
            float(text).map_or(Dynamic::UNIT, Dynamic::from_float)
        })
        .register_fn("to_float", |(): ()| ())
        .register_fn("to_float", |number: f64| number);
}

fn whole(text: &str) -> Dynamic {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    // digits alone that do not fit stay no number: a float would change them
    let has_fraction = text.contains(['.', 'e', 'E']);
    let limit = 2f64.powi(63);
    float(text)
        .filter(|number| has_fraction && (-limit..limit).contains(number))
        .map_or(Dynamic::UNIT, |number| Dynamic::from_int(number as i64))
}

/// Decimal notation alone: `inf` and `nan` are words, not numbers.
fn float(text: &str) -> Option<f64> {
    let text = text.trim();
    let is_decimal = text.contains(|char: char| char.is_ascii_digit());
    let number = text.parse::<f64>().ok().filter(|_| is_decimal)?;
    number.is_finite().then_some(number)
}

fn register_replace(engine: &mut Engine) {
    type Place<'a> = &'a mut ImmutableString;
    engine
        .register_fn(
            "replace",
            |context: NativeCallContext, text: Place<'_>, from: &str, to: &str| {
                replace(&context, text, (from, to))
            },
        )
        .register_fn(
            "replace",
            |context: NativeCallContext, text: Place<'_>, from: &str, to: char| {
                replace(&context, text, (from, to.encode_utf8(&mut [0; 4])))
            },
        )
        .register_fn(
            "replace",
            |context: NativeCallContext, text: Place<'_>, from: char, to: &str| {
                replace(&context, text, (from.encode_utf8(&mut [0; 4]), to))
            },
        )
        .register_fn(
            "replace",
            |context: NativeCallContext, text: Place<'_>, from: char, to: char| {
                let (from, to) = (from.to_string(), to.to_string());
                replace(&context, text, (&from, &to))
            },
        );
}

fn replace(
    context: &NativeCallContext,
    text: &mut ImmutableString,
    change: (&str, &str),
) -> Result<()> {
    let (from, to) = change;
    let count = text.matches(from).count();
    let removed = text.len() - count * from.len();
    let size = count.saturating_mul(to.len()).saturating_add(removed);
    let limit = context.engine().max_string_size();
    if limit > 0 && size > limit {
        return Err(Box::new(EvalAltResult::ErrorDataTooLarge(
            "Length of string".to_owned(),
            context.call_position(),
        )));
    }
    if count > 0 {
        *text = text.replace(from, to).into();
    }
    Ok(())
}
