//! A few short texts in one piece of memory: what a definition told.
//!
//! A large Centreon has hundreds of thousands of them, so a text costs its bytes and one more.

/// Texts, in order; each after its length, seven bits of it in a byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told(Box<[u8]>);

impl Told {
    pub(super) fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Told {
        let mut bytes = Vec::new();
        for text in texts {
            let text = text.as_ref();
            write_length(&mut bytes, text.len());
            bytes.extend(text.as_bytes());
        }
        Told(bytes.into())
    }

    /// The text at a place; `None` if fewer were told.
    pub(super) fn get(&self, place: usize) -> Option<&str> {
        self.texts().nth(place)
    }

    pub(super) fn texts(&self) -> Texts<'_> {
        Texts(&self.0)
    }

    /// The same with another text at a place; those before it that were not told are empty.
    pub(super) fn with(&self, place: usize, text: &str) -> Told {
        let mut texts: Vec<&str> = self.texts().collect();
        texts.resize(texts.len().max(place + 1), "");
        texts[place] = text;
        Told::new(texts)
    }
}

fn write_length(bytes: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        bytes.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

/// The texts, one by one.
pub(super) struct Texts<'a>(&'a [u8]);

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let mut length = 0;
        for shift in (0..usize::BITS).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            length |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}
