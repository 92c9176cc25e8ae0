//! kompira.conf: an INI file as Python's configparser reads it, `%` interpolation included.
//!
//! All files found are merged key by key, later ones win; interpolation happens when a value is
//! asked for, so a mistake in a key that nobody needs does no harm (seen in kompira_sendevt).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest configuration file that is read, in bytes.
const CONF_BYTES_MAX: u64 = 1024 * 1024;
/// How deep one value may refer to another, as in Python's configparser.
const INTERPOLATION_DEPTH_MAX: usize = 10;
/// The section whose keys count in every section.
const DEFAULT_SECTION: &str = "DEFAULT";

type Section = BTreeMap<String, String>;

/// The merged content of the configuration files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conf {
    sections: BTreeMap<String, Section>,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

impl Conf {
    /// Where kompira.conf is looked for, lowest rank first.
    pub fn search_order() -> Vec<PathBuf> {
        let installed = if cfg!(windows) {
            r"C:\Kompira\kompira.conf"
        } else {
            "/opt/kompira/kompira.conf"
        };
        vec![PathBuf::from(installed), PathBuf::from("./kompira.conf")]
    }

    /// Reads `explicit` alone, or those of the search order that exist.
    ///
    /// # Errors
    /// A sentence that names the file and line: missing (if explicit), unreadable, not INI.
    pub fn find(explicit: Option<&Path>) -> Result<Conf, String> {
        match explicit {
            Some(file) => Conf::read(&[file.to_owned()]),
            None => {
                let mut files = Conf::search_order();
                files.retain(|file| file.is_file());
                Conf::read(&files)
            }
        }
    }

    /// Reads and merges `files`; later ones win.
    ///
    /// # Errors
    /// As [`Conf::find`].
    pub fn read(files: &[PathBuf]) -> Result<Conf, String> {
        let mut conf = Conf::default();
        for file in files {
            let name = file.display();
            let size = std::fs::metadata(file).map_err(|why| format!("{name}: {why}"))?;
            if size.len() > CONF_BYTES_MAX {
                return Err(format!("{name} is larger than {CONF_BYTES_MAX} bytes"));
            }
            let bytes = std::fs::read(file).map_err(|why| format!("{name}: {why}"))?;
            let text = String::from_utf8_lossy(&bytes);
            let sections = parse(text.trim_start_matches('\u{feff}'))
                .map_err(|why| format!("{name}:{why}"))?;
            for (section, keys) in sections {
                conf.sections.entry(section).or_default().extend(keys);
            }
            conf.files.push(file.clone());
        }
        Ok(conf)
    }

    /// The text of a key; `None` if it is not set.
    ///
    /// # Errors
    /// A sentence: a lone `%`, or a reference to a key that does not exist.
    pub fn text(&self, section: &str, key: &str) -> Result<Option<String>, String> {
        let Some(keys) = self.sections.get(section) else {
            return Ok(None);
        };
        let Some(raw) = self.raw(keys, key) else {
            return Ok(None);
        };
        self.interpolate(keys, raw, 0)
            .map(Some)
            .map_err(|why| format!("[{section}] {key}: {why}"))
    }

    /// A whole number.
    ///
    /// # Errors
    /// As [`Conf::text`]; or not a number. The value itself is not repeated.
    pub fn int(&self, section: &str, key: &str) -> Result<Option<i64>, String> {
        let Some(text) = self.text(section, key)? else {
            return Ok(None);
        };
        let number = text.trim().replace('_', "").parse();
        number
            .map(Some)
            .map_err(|_| format!("[{section}] {key} is no whole number"))
    }

    /// A switch: yes, on, 1, true or no, off, 0, false, in any case.
    ///
    /// # Errors
    /// As [`Conf::text`]; or none of these words.
    pub fn switch(&self, section: &str, key: &str) -> Result<Option<bool>, String> {
        let Some(text) = self.text(section, key)? else {
            return Ok(None);
        };
        match text.to_lowercase().as_str() {
            "yes" | "on" | "1" | "true" => Ok(Some(true)),
            "no" | "off" | "0" | "false" => Ok(Some(false)),
            _ => Err(format!("[{section}] {key} is neither yes nor no")),
        }
    }

    fn raw<'a>(&'a self, keys: &'a Section, key: &str) -> Option<&'a str> {
        let defaults = || self.sections.get(DEFAULT_SECTION)?.get(key);
        keys.get(key).or_else(defaults).map(String::as_str)
    }

    fn interpolate(&self, keys: &Section, raw: &str, depth: usize) -> Result<String, String> {
        if depth > INTERPOLATION_DEPTH_MAX {
            return Err("keys refer to one another without end".to_owned());
        }
        let mut text = String::new();
        let mut rest = raw;
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                text.push('%');
                rest = after;
                continue;
            }
            let (name, after) = after
                .strip_prefix('(')
                .and_then(|name| name.split_once(")s"))
                .ok_or("a lone `%`; write `%%`")?;
            let value = self
                .raw(keys, &name.to_lowercase())
                .ok_or_else(|| format!("`%({name})s` names no key"))?;
            text.push_str(&self.interpolate(keys, value, depth + 1)?);
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }
}

/// The place of the value that an indented line goes on with.
#[derive(Default)]
struct Reader {
    sections: BTreeMap<String, Section>,
    section: Option<String>,
    key: Option<String>,
    indent: usize,
}

fn parse(text: &str) -> Result<BTreeMap<String, Section>, String> {
    let mut reader = Reader::default();
    for (number, line) in text.lines().enumerate() {
        reader
            .take(line)
            .map_err(|why| format!("{}: {why}", number + 1))?;
    }
    for keys in reader.sections.values_mut() {
        for value in keys.values_mut() {
            value.truncate(value.trim_end().len());
        }
    }
    Ok(reader.sections)
}

impl Reader {
    fn take(&mut self, line: &str) -> Result<(), String> {
        let content = line.trim();
        if content.starts_with(['#', ';']) {
            return Ok(());
        }
        let indent = line.len() - line.trim_start().len();
        if content.is_empty() || indent > self.indent {
            if let Some(value) = self.value() {
                value.push('\n');
                value.push_str(content);
                return Ok(());
            }
            if content.is_empty() {
                return Ok(());
            }
        }
        self.indent = indent;
        self.begin(content)
    }

    fn value(&mut self) -> Option<&mut String> {
        let section = self.section.as_ref()?;
        self.sections.get_mut(section)?.get_mut(self.key.as_ref()?)
    }

    fn begin(&mut self, content: &str) -> Result<(), String> {
        if let Some((name, _)) = content
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            self.key = None;
            self.section = Some(name.to_owned());
            return match self.sections.insert(name.to_owned(), Section::new()) {
                Some(_) if name != DEFAULT_SECTION => {
                    Err(format!("section [{name}] stands there twice"))
                }
                _ => Ok(()),
            };
        }
        let (key, value) = content
            .split_once(['=', ':'])
            .ok_or("neither a section nor `key = value`")?;
        let key = key.trim().to_lowercase();
        let section = self.section.as_ref().ok_or("a key before any [section]")?;
        let keys = self.sections.entry(section.clone()).or_default();
        if keys.contains_key(&key) {
            return Err(format!("{key} stands there twice in [{section}]"));
        }
        keys.insert(key.clone(), value.trim().to_owned());
        self.key = Some(key);
        Ok(())
    }
}
