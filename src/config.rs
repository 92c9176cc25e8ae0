//! The house as its owner wrote it: settings.toml, channels/ and flows/, read into checked values.
//!
//! Invariant: a house is loaded whole or not at all, and every mistake is told, not the first only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::duration::Lasting;
use crate::error::{Diagnostic, did_you_mean};
use crate::flow::{self, Flow};
use crate::secret::Secret;
use crate::settings::Settings;
use crate::source::block::Page;
use crate::source::{Plan, plan};
use crate::thinkers::Thinkers;
use crate::{document, event};

/// The channel that holds events for channels that do not exist.
pub const UNROUTED: &str = "unrouted";
/// Channels that one house may have.
pub const CHANNELS_MAX: usize = 10_000;
/// Flows that one house may have.
pub const FLOWS_MAX: usize = 10_000;

/// Everything that the owner wrote.
#[derive(Debug)]
pub struct House {
    /// settings.toml.
    pub settings: Settings,
    /// Paths in settings count from here.
    pub base: PathBuf,
    /// By name; [`UNROUTED`] is always among them.
    pub channels: BTreeMap<String, ChannelSettings>,
    /// The doors that channels open by themselves.
    pub sources: Vec<Plan>,
    /// By `channel/name`.
    pub flows: BTreeMap<String, Arc<Flow>>,
    /// What `secret("name")` stands for.
    pub secrets: BTreeMap<String, Secret>,
}

/// `channels/<name>.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChannelSettings {
    /// One sentence for listings.
    pub about: String,
    /// Names that senders use for it.
    pub alias: Vec<String>,
    /// How long events are kept.
    pub retention: Lasting,
    /// Events that may wait.
    pub depth_max: u64,
    /// What happens to one more.
    pub on_full: OnFull,
    /// The same sender's message id within this time is kept once.
    pub dedup_window: Lasting,
    /// Doors that the channel opens by itself.
    pub source: Vec<toml::Table>,
}

impl Default for ChannelSettings {
    fn default() -> ChannelSettings {
        let seconds = |seconds| Lasting(std::time::Duration::from_secs(seconds));
        ChannelSettings {
            about: String::new(),
            alias: Vec::new(),
            retention: seconds(7 * 86_400),
            depth_max: 1_000_000,
            on_full: OnFull::Refuse,
            dedup_window: seconds(600),
            source: Vec::new(),
        }
    }
}

/// What a full channel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// The sender is told to come back.
    Refuse,
    /// The oldest waiting event leaves, counted and visible.
    DropOldest,
}

impl House {
    /// The settings file to use: `asked`, else `$VIGIE_SETTINGS`, `./settings.toml`,
    /// `/etc/vigie/settings.toml`; `None` if there is none.
    pub fn find(asked: Option<&Path>) -> Option<PathBuf> {
        let named = asked
            .map(Path::to_owned)
            .or_else(|| std::env::var_os("VIGIE_SETTINGS").map(PathBuf::from));
        let usual = || {
            ["settings.toml", "/etc/vigie/settings.toml"]
                .map(PathBuf::from)
                .into_iter()
        };
        named.or_else(|| usual().find(|path| path.exists()))
    }

    /// The settings alone, for verbs that need no flows.
    ///
    /// # Errors
    /// What is wrong in the file; a file that was named but is missing.
    pub fn settings(asked: Option<&Path>) -> Result<(Settings, PathBuf), Vec<Diagnostic>> {
        let found = House::find(asked);
        let mut settings = match &found {
            Some(path) => document::read(path, path).map_err(|mistake| vec![mistake])?,
            None => Settings::default(),
        };
        let base = found
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(Path::new(""))
            .to_owned();
        settings.resolve(&base);
        Ok((settings, base))
    }

    /// Reads the whole house.
    ///
    /// # Errors
    /// Every mistake in every file.
    pub fn load(asked: Option<&Path>, thinkers: &Thinkers) -> Result<House, Vec<Diagnostic>> {
        let (settings, base) = House::settings(asked)?;
        let mut mistakes = settings.check();
        let secrets = settings.secrets(&base).unwrap_or_else(|found| {
            mistakes.extend(found);
            BTreeMap::new()
        });
        let channels = channels(&settings.channels, &mut mistakes);
        let sources = sources(&settings.channels, &base, &channels)
            .map_err(|found| mistakes.extend(found))
            .unwrap_or_default();
        let flows = flows(&settings.flows, &channels, thinkers, &mut mistakes);
        match mistakes.is_empty() {
            true => Ok(House {
                settings,
                base,
                channels,
                sources,
                flows,
                secrets,
            }),
            false => Err(mistakes),
        }
    }

    /// The flows under a channel.
    pub fn flows_of<'a>(&'a self, channel: &'a str) -> impl Iterator<Item = &'a Arc<Flow>> {
        self.flows
            .values()
            .filter(move |flow| flow.channel == channel)
    }
}

/// The files with an extension in a folder, by stem, sorted; a missing folder has none.
fn files(folder: &Path, extension: &str, mistakes: &mut Vec<Diagnostic>) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .map(str::to_owned);
        let fits = path.extension().is_some_and(|found| found == extension) && path.is_file();
        match stem {
            Some(stem) if fits => found.push((stem, path)),
            None => mistakes.push(Diagnostic::new(format!("{} is not UTF-8", path.display()))),
            _ => {}
        }
    }
    found.sort();
    found
}

fn channels(folder: &Path, mistakes: &mut Vec<Diagnostic>) -> BTreeMap<String, ChannelSettings> {
    let mut channels = BTreeMap::new();
    for (name, path) in files(folder, "toml", mistakes)
        .into_iter()
        .take(CHANNELS_MAX)
    {
        if !event::is_name(&name) {
            let message = format!(
                "{}: a channel's name has only letters, digits, _ and -",
                path.display()
            );
            mistakes.push(Diagnostic::new(message));
            continue;
        }
        match document::read::<ChannelSettings>(&path, &path) {
            Ok(settings) => drop(channels.insert(name, settings)),
            Err(mistake) => {
                mistakes.push(mistake);
                // It exists; its flows are not a mistake of their own.
                channels.insert(name, ChannelSettings::default());
            }
        }
    }
    aliases(&channels, mistakes);
    channels
        .entry(UNROUTED.to_owned())
        .or_insert_with(|| ChannelSettings {
            about: "Events for channels that do not exist".to_owned(),
            ..ChannelSettings::default()
        });
    channels
}

fn aliases(channels: &BTreeMap<String, ChannelSettings>, mistakes: &mut Vec<Diagnostic>) {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, settings) in channels {
        for alias in &settings.alias {
            if let Some(other) = owners.insert(alias, name) {
                let message =
                    format!("channels `{other}` and `{name}` both have the alias `{alias}`");
                mistakes.push(Diagnostic::new(message));
            }
        }
    }
}

/// The `[[source]]` blocks of all channels.
fn sources(
    folder: &Path,
    base: &Path,
    channels: &BTreeMap<String, ChannelSettings>,
) -> Result<Vec<Plan>, Vec<Diagnostic>> {
    let (mut plans, mut mistakes) = (Vec::new(), Vec::new());
    let with_sources = |(_, settings): &(_, &ChannelSettings)| !settings.source.is_empty();
    for (channel, settings) in channels.iter().filter(with_sources) {
        let shown = folder.join(format!("{channel}.toml"));
        let read = document::text(&shown, &shown).map_err(|mistake| vec![mistake]);
        let read = read.and_then(|text| {
            let (text, shown) = (text.as_str(), shown.as_path());
            let page = Page {
                channel,
                text,
                shown,
                base,
            };
            plan::read(page, &settings.source)
        });
        match read {
            Ok(found) => plans.extend(found),
            Err(found) => mistakes.extend(found),
        }
    }
    if plans.len() > plan::SOURCES_MAX {
        let message = format!("there are more than {} sources", plan::SOURCES_MAX);
        mistakes.push(Diagnostic::new(message));
    }
    match mistakes.is_empty() {
        true => Ok(plans),
        false => Err(mistakes),
    }
}

fn flows(
    folder: &Path,
    channels: &BTreeMap<String, ChannelSettings>,
    thinkers: &Thinkers,
    mistakes: &mut Vec<Diagnostic>,
) -> BTreeMap<String, Arc<Flow>> {
    let mut paths = Vec::new();
    for channel in subfolders(folder) {
        let inside = files(&folder.join(&channel), "rhai", mistakes);
        let names = inside
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| !name.starts_with('_'));
        let names: Vec<String> = names.collect();
        if !names.is_empty() && !channels.contains_key(&channel) {
            mistakes.push(no_channel(folder, &channel, channels));
            continue;
        }
        for name in names {
            match event::is_name(&name) {
                true => paths.push(format!("{channel}/{name}")),
                false => mistakes.push(Diagnostic::new(format!(
                    "flow `{name}`: a name has only letters, digits, _ and -"
                ))),
            }
        }
    }
    paths.truncate(FLOWS_MAX);
    let root = folder.to_owned();
    let loaded = thinkers.call(move |engine| {
        let load = |path: String| (path.clone(), flow::load(engine, &root, &root, &path));
        paths.into_iter().map(load).collect::<Vec<_>>()
    });
    let mut flows = BTreeMap::new();
    for (path, result) in loaded.unwrap_or_default() {
        match result {
            Ok(flow) => drop(flows.insert(path, Arc::new(flow))),
            Err(found) => mistakes.extend(found),
        }
    }
    flows
}

fn subfolders(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.retain(|name| !name.starts_with(['_', '.']));
    names.sort();
    names
}

fn no_channel(
    folder: &Path,
    channel: &str,
    channels: &BTreeMap<String, ChannelSettings>,
) -> Diagnostic {
    let message = format!(
        "{} holds flows of a channel that does not exist",
        folder.join(channel).display()
    );
    match did_you_mean(channel, channels.keys().map(String::as_str)) {
        Some(right) => Diagnostic::new(message).help(format!("did you mean `{right}`?")),
        None => {
            Diagnostic::new(message).help(format!("add channels/{channel}.toml; it may be empty"))
        }
    }
}
