//! The spool: a folder where events wait, one file each, while the server is away.
//!
//! Anyone on the host may add (mode 3733), only its owner may list. A file is complete or not
//! there: written under another name, fsynced, renamed, and the folder fsynced before success.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{MAIL_BYTES_MAX, Post};
use crate::clock;

/// Most bytes that a sender lets a spool hold; beyond, an event is not kept.
pub const SPOOL_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Most events that a sender lets a spool hold.
pub const SPOOL_FILES_MAX: usize = 100_000;
/// Longest header line of a spooled event, in bytes.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Longest channel, id, source or media type of an event, in bytes.
const WORD_BYTES_MAX: usize = 1024;
/// Everyone may add, nobody may remove another's file, new files get the folder's group.
#[cfg(unix)]
const FOLDER_MODE: u32 = 0o3733;
/// Set explicitly, because Postfix runs pipes with umask 0077 and the server is in the group.
#[cfg(unix)]
const FILE_MODE: u32 = 0o640;
/// How complete files end; a refused one gets [`REFUSED_ENDING`] behind that.
const ENDING: &str = ".event";
/// How files end that a server has refused for good.
const REFUSED_ENDING: &str = ".refused";
/// How files begin that are still being written.
const UNFINISHED: &str = ".tmp-";

/// Why the spool could not keep or give an event.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The folder does not let us: missing and not to be made, no rights, no space.
    #[error("the spool {} cannot keep it: {why}", folder.display())]
    Folder {
        /// The spool.
        folder: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// [`SPOOL_BYTES_MAX`] or [`SPOOL_FILES_MAX`] is reached.
    #[error("the spool {} is full ({files} events, {bytes} bytes)", folder.display())]
    Full {
        /// The spool.
        folder: PathBuf,
        /// How many events wait.
        files: usize,
        /// How many bytes they have.
        bytes: u64,
    },
    /// The file is no event of ours; it is left alone.
    #[error("{} is left alone: {why}", path.display())]
    Odd {
        /// The file.
        path: PathBuf,
        /// What is odd about it.
        why: String,
    },
}

impl SpoolError {
    /// The file or folder that it is about.
    pub fn path(&self) -> &Path {
        match self {
            SpoolError::Folder { folder, .. } | SpoolError::Full { folder, .. } => folder,
            SpoolError::Odd { path, .. } => path,
        }
    }
}

/// The first line of a spooled file; the rest are the body's bytes.
#[derive(Serialize, Deserialize)]
struct Header {
    channel: String,
    source: String,
    content_type: String,
    correlation_id: String,
    received_at: String,
    #[serde(default)]
    meta: BTreeMap<String, String>,
}

/// Keeps `post` in `folder` and returns its file. On success it is on stable storage.
///
/// # Errors
/// [`SpoolError::Folder`] or [`SpoolError::Full`]; nothing is left behind then.
pub fn write(folder: &Path, post: &Post) -> Result<PathBuf, SpoolError> {
    let failed = |why| SpoolError::Folder {
        folder: folder.to_owned(),
        why,
    };
    check(post).map_err(|why| failed(io::Error::other(why)))?;
    make(folder).map_err(failed)?;
    check_room(folder, post.body.len() as u64)?;
    let id = uuid::Uuid::new_v4();
    let unfinished = folder.join(format!("{UNFINISHED}{id}"));
    let millisecond = clock::next_millisecond();
    let path = folder.join(format!("{millisecond}-{id}{ENDING}"));
    let kept = write_file(&unfinished, post)
        .and_then(|file| fs::rename(&unfinished, &path).map(|()| file))
        .and_then(|file| sync_folder(folder, &file));
    kept.map_err(|why| {
        let _ = fs::remove_file(&unfinished);
        let _ = fs::remove_file(&path);
        failed(why)
    })?;
    Ok(path)
}

/// Makes the folder with mode 3733 if it is missing; one that exists is left as it is.
///
/// # Errors
/// The system does not let us.
pub fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::create_dir(folder) {
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER_MODE))?;
    }
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn write_file(path: &Path, post: &Post) -> io::Result<File> {
    let header = Header {
        channel: post.channel.clone(),
        source: post.source.clone(),
        content_type: post.content_type.clone(),
        correlation_id: post.correlation_id.clone(),
        received_at: post.received_at.clone(),
        meta: post.meta.clone(),
    };
    let mut bytes = serde_json::to_vec(&header)?;
    bytes.push(b'\n');
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, FILE_MODE);
    let mut file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
    }
    file.write_all(&bytes)?;
    file.write_all(&post.body)?;
    file.sync_all()?;
    Ok(file)
}

/// Makes the new name durable. A folder that we may not read cannot be opened for fsync (Postfix
/// runs pipes as nobody); then the whole file system is synced through the file itself.
fn sync_folder(folder: &Path, file: &File) -> io::Result<()> {
    match File::open(folder) {
        Ok(folder) => folder.sync_all(),
        #[cfg(target_os = "linux")]
        Err(why) if why.kind() == io::ErrorKind::PermissionDenied => {
            rustix::fs::syncfs(file).map_err(io::Error::from)
        }
        Err(why) => {
            let _ = file;
            Err(why)
        }
    }
}

/// Refuses if the spool is full. Who may not list the folder cannot count; the disk's own limits
/// hold then.
fn check_room(folder: &Path, more: u64) -> Result<(), SpoolError> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    let (mut files, mut bytes) = (0, 0);
    for entry in entries.flatten() {
        files += 1;
        bytes += entry.metadata().map_or(0, |metadata| metadata.len());
    }
    if files < SPOOL_FILES_MAX && bytes + more <= SPOOL_BYTES_MAX {
        return Ok(());
    }
    Err(SpoolError::Full {
        folder: folder.to_owned(),
        files,
        bytes,
    })
}

/// What a spool holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// Events, oldest first.
    pub events: Vec<PathBuf>,
    /// Files that are no events, with the reason; say so once and leave them alone. Unfinished
    /// and refused files are not among them.
    pub odd: Vec<SpoolError>,
}

/// Lists a spool; a folder that does not exist is empty.
///
/// # Errors
/// The folder cannot be listed: its mode lets only its owner do that.
pub fn list(folder: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut events = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(listing),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        match millisecond(&name) {
            Some(millisecond) if is_file => events.push((millisecond, entry.path())),
            Some(_) => listing.odd.push(odd(&entry.path(), "not a plain file")),
            None if name.starts_with(UNFINISHED) || name.ends_with(REFUSED_ENDING) => {}
            None => listing.odd.push(odd(&entry.path(), "not an event's name")),
        }
    }
    events.sort();
    listing.events = events.into_iter().map(|(_, path)| path).collect();
    Ok(listing)
}

/// The time in the name `<unix ms>-<uuid>.event`.
fn millisecond(name: &str) -> Option<u64> {
    let (millisecond, id) = name.strip_suffix(ENDING)?.split_once('-')?;
    uuid::Uuid::try_parse(id).ok()?;
    millisecond.parse().ok()
}

fn odd(path: &Path, why: impl Into<String>) -> SpoolError {
    SpoolError::Odd {
        path: path.to_owned(),
        why: why.into(),
    }
}

/// An event read from the spool.
#[derive(Debug)]
pub struct Spooled {
    /// Its file.
    pub path: PathBuf,
    /// The event, as its sender left it; its correlation id is the message id to push it with.
    pub post: Post,
    file: File,
}

impl Spooled {
    /// When the sender had it.
    pub fn received_at(&self) -> Timestamp {
        // Checked when it was read.
        self.post
            .received_at
            .parse()
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// True if nobody else forwards this event now; holds until this value is dropped.
    pub fn lock(&self) -> bool {
        self.file.try_lock().is_ok() && self.path.exists()
    }
}

/// Reads one event.
///
/// # Errors
/// [`SpoolError::Odd`]: unreadable, a link, too large, or not in our form. Anyone may write into
/// the folder, so nothing in it is trusted.
pub fn read(path: &Path) -> Result<Spooled, SpoolError> {
    let said = |why: io::Error| odd(path, why.to_string());
    let file = open(path).map_err(said)?;
    let metadata = file.metadata().map_err(said)?;
    let bytes_max = (MAIL_BYTES_MAX + HEADER_BYTES_MAX) as u64;
    if !metadata.is_file() || links(&metadata) > 1 {
        return Err(odd(path, "not a plain file with one name"));
    }
    if metadata.len() > bytes_max {
        return Err(odd(path, format!("larger than {bytes_max} bytes")));
    }
    let mut bytes = Vec::new();
    (&file)
        .take(bytes_max)
        .read_to_end(&mut bytes)
        .map_err(said)?;
    let post = parse(&bytes).map_err(|why| odd(path, why))?;
    Ok(Spooled {
        path: path.to_owned(),
        post,
        file,
    })
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        // A link could name any file, a pipe would block.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
    }
    options.open(path)
}

#[cfg(unix)]
fn links(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
fn links(_metadata: &fs::Metadata) -> u64 {
    1
}

fn parse(bytes: &[u8]) -> Result<Post, String> {
    let head = &bytes[..bytes.len().min(HEADER_BYTES_MAX)];
    let end = head.iter().position(|byte| *byte == b'\n');
    let (head, body) = bytes.split_at(end.ok_or("it has no header line")?);
    let header: Header =
        serde_json::from_slice(head).map_err(|why| format!("its header is wrong: {why}"))?;
    let post = Post {
        channel: header.channel,
        source: header.source,
        content_type: header.content_type,
        correlation_id: header.correlation_id,
        received_at: header.received_at,
        meta: header.meta,
        body: body[1..].to_vec(),
    };
    check(&post)?;
    Ok(post)
}

/// What cannot stand in a request would block forwarding for ever, so it is never kept.
fn check(post: &Post) -> Result<(), &'static str> {
    let fits = |text: &str| (1..=WORD_BYTES_MAX).contains(&text.len());
    let is_word = |text: &str| fits(text) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !fits(&post.channel) {
        return Err("its channel is empty or too long");
    }
    if !is_word(&post.correlation_id) {
        return Err("its correlation id is wrong");
    }
    if !is_word(&post.source) || !is_word(&post.content_type) {
        return Err("its source or media type is wrong");
    }
    if post.site_id().is_some_and(|site| !is_word(site)) {
        return Err("its site id is wrong");
    }
    if !is_word(&post.received_at) || post.received_at.parse::<Timestamp>().is_err() {
        return Err("its time is wrong");
    }
    Ok(())
}

/// Removes an event that was taken in; one that is gone already is no error.
///
/// # Errors
/// The folder does not let us.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Sets an event aside that a server has refused for good: it stays, visible, under the name
/// `….event.refused`, and is not tried again.
///
/// # Errors
/// The folder does not let us.
pub fn set_aside(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(REFUSED_ENDING);
    fs::rename(path, name)
}
