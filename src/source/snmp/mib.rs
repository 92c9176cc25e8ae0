//! Names out of a folder of MIB files, for objects and traps that the built-in table does not know.
//!
//! No compiler of MIBs: of each definition only its name and its place in the tree are read
//! (RFC 2578 §3.5, RFC 1215 §2.1), since that is all that an event wants. A folder that cannot be
//! read costs names, never traps.

use std::collections::HashMap;
use std::path::Path;

use super::Trap;
use super::oid::{self, Oid};

/// All files of a MIB folder together; those of many vendors are some 50 MiB.
pub const MIB_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Folders inside one another that are looked at.
const FOLDERS_DEEP: usize = 16;
/// Definitions above one another, so that a circle of them comes to an end.
const ANCESTORS_DEEP: usize = 128;
/// What defines an object or a trap; other definitions have a place but give no name.
const NAMED: &[&str] = &["OBJECT-TYPE", "NOTIFICATION-TYPE", "TRAP-TYPE"];
/// What else has a place in the tree.
const PLACED: &[&str] = &["IDENTIFIER", "MODULE-IDENTITY", "OBJECT-IDENTITY"];

/// Names by number.
#[derive(Debug, Default)]
pub struct Names {
    names: HashMap<String, String>,
}

/// Where a definition stands: below another, at this path.
struct Place {
    parent: String,
    path: String,
    is_named: bool,
}

impl Names {
    /// Reads a folder. Takes a while; not for a thread that others wait for.
    ///
    /// # Errors
    /// A sentence: the folder is not there, too large, or holds nothing that is a MIB.
    pub fn load(folder: &Path) -> Result<Names, String> {
        let shown = folder.display();
        let mut places = HashMap::new();
        let mut room = MIB_BYTES_MAX;
        gather(folder, FOLDERS_DEEP, &mut |bytes| {
            let size = bytes.len() as u64;
            room = room.checked_sub(size).ok_or_else(|| {
                std::io::Error::other(format!("it holds more than {MIB_BYTES_MAX} bytes"))
            })?;
            read(&String::from_utf8_lossy(&bytes), &mut places);
            Ok(())
        })
        .map_err(|why| format!("the MIB folder {shown}: {why}"))?;
        let named = places.iter().filter(|(_, place)| place.is_named);
        let names: HashMap<String, String> = named
            .filter_map(|(name, _)| Some((number(name, &places, ANCESTORS_DEEP)?, name.clone())))
            .collect();
        match names.is_empty() {
            true => Err(format!(
                "the MIB folder {shown}: no MIB in it has an object or a trap"
            )),
            false => Ok(Names { names }),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// The name of the object that this number is, or is an instance of.
    pub fn name(&self, number: &str) -> Option<&str> {
        let mut number = number;
        loop {
            if let Some(name) = self.names.get(number) {
                return Some(name);
            }
            number = number.rsplit_once('.')?.0;
        }
    }

    /// Names what has no name yet.
    pub fn complete(&self, trap: &mut Trap) {
        let varbinds = trap.varbinds.iter_mut().map(|varbind| &mut varbind.oid);
        for Oid { number, name } in varbinds.chain(trap.oid.as_mut()) {
            if name.is_none() {
                *name = self.name(number).map(str::to_owned);
            }
        }
    }
}

/// Hands over every file of a folder.
fn gather(
    folder: &Path,
    deep: usize,
    take: &mut dyn FnMut(Vec<u8>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let about = std::fs::metadata(entry.path())?;
        match about.is_dir() {
            true if deep > 0 => gather(&entry.path(), deep - 1, take)?,
            false if about.is_file() && about.len() <= MIB_BYTES_MAX => {
                take(std::fs::read(entry.path())?)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The number of a definition, by way of those above it up to one that is known.
fn number(name: &str, places: &HashMap<String, Place>, deep: usize) -> Option<String> {
    let Some(place) = places.get(name) else {
        return oid::number_of(name).map(str::to_owned);
    };
    let parent = number(&place.parent, places, deep.checked_sub(1)?)?;
    Some(format!("{parent}{}", place.path))
}

/// Finds the definitions in a file: `name KIND … ::= { parent 1 2 }`.
fn read(text: &str, places: &mut HashMap<String, Place>) {
    let words = words(text);
    let mut open: Option<(&str, &str)> = None;
    let mut enterprise = "";
    for (at, word) in words.iter().enumerate() {
        let before = |count: usize| at.checked_sub(count).map_or("", |at| words[at]);
        match *word {
            "IDENTIFIER" if before(1) == "OBJECT" => open = Some((before(2), word)),
            kind if NAMED.contains(&kind) || PLACED[1..].contains(&kind) => {
                open = Some((before(1), kind));
            }
            "ENTERPRISE" => enterprise = words.get(at + 1).copied().unwrap_or_default(),
            "::=" => {
                let Some((name, kind)) = open.take() else {
                    continue;
                };
                let place = match kind {
                    "TRAP-TYPE" => trap_place(enterprise, &words[at + 1..]),
                    _ => place(&words[at + 1..]),
                };
                if let Some((parent, path)) = place.filter(|_| is_name(name)) {
                    let is_named = NAMED.contains(&kind);
                    places.entry(name.to_owned()).or_insert(Place {
                        parent,
                        path,
                        is_named,
                    });
                }
            }
            _ => {}
        }
    }
}

/// A name in a MIB begins with a small letter; imports and macros do not.
fn is_name(word: &str) -> bool {
    word.starts_with(|char: char| char.is_ascii_lowercase())
}

/// `{ parent 1 2 }` or `{ iso org(3) dod(6) 1 }`.
fn place(words: &[&str]) -> Option<(String, String)> {
    let (open, rest) = words.split_first()?;
    let end = rest.iter().position(|word| *word == "}")?;
    let (parent, arcs) = rest[..end].split_first().filter(|_| *open == "{")?;
    let mut path = String::new();
    let mut arcs = arcs.iter().peekable();
    while let Some(arc) = arcs.next() {
        let arc = match arcs.next_if(|next| **next == "(") {
            Some(_) => {
                let number = arcs.next()?;
                arcs.next_if(|next| **next == ")")?;
                number
            }
            None => arc,
        };
        arc.parse::<u32>().ok()?;
        path.push('.');
        path.push_str(arc);
    }
    Some(((*parent).to_owned(), path))
}

/// A trap of version 1 as version 2 names it: below its enterprise and a zero (RFC 3584 §3.1).
fn trap_place(enterprise: &str, words: &[&str]) -> Option<(String, String)> {
    let number: u32 = words.first()?.parse().ok()?;
    Some((enterprise.to_owned(), format!(".0.{number}")))
}

/// The words of a file without its comments and texts.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else {
            return words;
        };
        if rest.starts_with("--") {
            rest = after_comment(rest);
            continue;
        }
        if let Some(inside) = rest.strip_prefix('"') {
            rest = inside.split_once('"').map_or("", |(_, after)| after);
            continue;
        }
        let is_part = |char: char| char.is_alphanumeric() || matches!(char, '-' | '_');
        let length = match is_part(first) {
            true => rest.find(|char| !is_part(char)).unwrap_or(rest.len()),
            false if rest.starts_with("::=") => 3,
            false => first.len_utf8(),
        };
        words.push(&rest[..length]);
        rest = &rest[length..];
    }
}

/// A comment ends with its line, or with two further hyphens.
fn after_comment(text: &str) -> &str {
    let inside = &text[2..];
    let line = inside.find('\n').unwrap_or(inside.len());
    let hyphens = inside.find("--").map_or(line, |at| at + 2);
    &inside[line.min(hyphens)..]
}
