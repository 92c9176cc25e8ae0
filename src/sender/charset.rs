//! The character set of `--encoding`: names as Python and the host's locale write them.

use encoding_rs::{Encoding, UTF_8};

use super::Caller;

/// The encoding of the host's locale: what follows the dot in LC_ALL, LC_CTYPE or LANG (the first
/// that is set); UTF-8 if that names nothing, as in Python 3.7 and later for `C` and `POSIX`.
pub fn of_locale(caller: &Caller) -> &'static Encoding {
    let set = |name: &&str| caller.text(name).is_some_and(|text| !text.is_empty());
    let name = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(set);
    let locale = name.and_then(|name| caller.text(name)).unwrap_or_default();
    let charset = locale
        .split('@')
        .next()
        .and_then(|name| name.split_once('.'));
    charset
        .and_then(|(_, charset)| by_name(charset))
        .unwrap_or(UTF_8)
}

/// The encoding called `name` in Python or in the WHATWG Encoding Standard.
pub fn by_name(name: &str) -> Option<&'static Encoding> {
    let label = name.trim().to_ascii_lowercase().replace('_', "-");
    // Python's names for which the standard has no label.
    let label = match label.as_str() {
        "cp932" | "ms-kanji" | "mskanji" => "shift_jis",
        "shift-jis" | "s-jis" => "shift_jis",
        "eucjp" | "ujis" => "euc-jp",
        "iso2022-jp" => "iso-2022-jp",
        "utf8" | "u8" | "utf" => "utf-8",
        "cp936" => "gbk",
        "cp949" => "euc-kr",
        "cp950" => "big5",
        other => other,
    };
    Encoding::for_label(label.as_bytes())
}

/// The bytes as text; `None` if one of them does not belong to the encoding.
pub fn decode(bytes: &[u8], encoding: &'static Encoding) -> Option<String> {
    let text = encoding.decode_without_bom_handling_and_without_replacement(bytes)?;
    Some(text.into_owned())
}
