//! Encoded words of RFC 2047 in header text, mended where mailers break the rules.
//!
//! Japanese mailers cut one character in two and put the halves into adjacent words, so the words
//! of a run are joined as bytes before they are decoded. What is no encoded word stays as it is.

use mail_parser::decoders::base64::base64_decode;

use super::body;

/// Text with its encoded words decoded (RFC 2047; a language after `*` as in RFC 2231 §5).
/// Blanks between two of them vanish. One that cannot be decoded stays as it was written.
pub fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut run: Vec<Word<'_>> = Vec::new();
    let mut scanner = Scanner::new(text);
    while let Some((before, found)) = scanner.next() {
        let is_gap = !run.is_empty() && before.trim_matches([' ', '\t']).is_empty();
        if !is_gap {
            flush(&mut run, &mut out);
            out.push_str(before);
        }
        let breaks = run.last().is_some_and(|last| !last.joins(&found));
        if breaks {
            flush(&mut run, &mut out);
        }
        run.push(found);
    }
    flush(&mut run, &mut out);
    out.push_str(scanner.rest());
    out
}

struct Word<'a> {
    charset: &'a str,
    is_base64: bool,
    text: &'a str,
    /// All of it, as written.
    whole: &'a str,
}

impl Word<'_> {
    fn joins(&self, next: &Word<'_>) -> bool {
        self.charset.eq_ignore_ascii_case(next.charset)
    }
}

/// Finds encoded words from left to right, each character looked at a bounded number of times.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// The place of the nearest `?=`, so that text full of openings is not searched again and
    /// again.
    end: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Scanner<'a> {
        Scanner {
            text,
            at: 0,
            end: 0,
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The text before the next encoded word, and that word.
    fn next(&mut self) -> Option<(&'a str, Word<'a>)> {
        let text = self.text;
        let start = self.at;
        let mut look = start;
        while let Some(found) = text[look..].find("=?") {
            let open = look + found;
            if let Some(word) = self.word(open) {
                self.at = open + word.whole.len();
                return Some((&text[start..open], word));
            }
            look = open + 2;
        }
        None
    }

    fn word(&mut self, open: usize) -> Option<Word<'a>> {
        let text = self.text;
        let (charset, rest) = text[open + 2..].split_once('?')?;
        let is_base64 = match rest.as_bytes() {
            [b'b' | b'B', b'?', ..] => true,
            [b'q' | b'Q', b'?', ..] => false,
            _ => return None,
        };
        let start = open + 2 + charset.len() + 3;
        if self.end < start {
            self.end = start + text[start..].find("?=").unwrap_or(text.len() - start);
        }
        let inner = text
            .get(start..self.end)
            .filter(|_| self.end < text.len())?;
        Some(Word {
            charset: charset.split('*').next().unwrap_or(charset),
            is_base64,
            text: inner,
            whole: &text[open..self.end + 2],
        })
    }
}

fn flush(run: &mut Vec<Word<'_>>, out: &mut String) {
    let Some(first) = run.first() else { return };
    let bytes: Option<Vec<Vec<u8>>> = run
        .chunk_by(|one, other| one.is_base64 && other.is_base64)
        .map(chunk_bytes)
        .collect();
    match bytes {
        Some(bytes) => out.push_str(&body::text(&bytes.concat(), Some(first.charset))),
        None => run.iter().for_each(|word| alone(word, out)),
    }
    run.clear();
}

/// The bytes of adjacent words in base64, or of one in Q.
fn chunk_bytes(words: &[Word<'_>]) -> Option<Vec<u8>> {
    let is_base64 = words.first().is_some_and(|word| word.is_base64);
    if !is_base64 {
        return Some(words.iter().flat_map(|word| q_bytes(word.text)).collect());
    }
    let joined: String = words.iter().map(|word| word.text).collect();
    base64_decode(joined.as_bytes()).filter(|bytes| !bytes.is_empty() || joined.is_empty())
}

fn alone(word: &Word<'_>, out: &mut String) {
    match chunk_bytes(std::slice::from_ref(word)) {
        Some(bytes) => out.push_str(&body::text(&bytes, Some(word.charset))),
        None => out.push_str(word.whole),
    }
}

/// The Q encoding (RFC 2047 §4.2): `_` is a space, `=XX` a byte, anything else itself.
fn q_bytes(text: &str) -> Vec<u8> {
    let spaced = text.replace('_', " ");
    body::hex_escapes(spaced.as_bytes(), b'=')
}
