//! Names out of a folder of MIB files, for objects and traps that the built-in table does not know.
//!
//! The files are compiled once when the door opens; what stays in memory is a number and a name
//! for each. A folder that cannot be read costs names, never traps.

use std::collections::HashMap;
use std::path::Path;

use mib_rs::{Loader, Node, source};

use super::Trap;
use super::oid::Oid;

/// All files of a MIB folder together; those of many vendors are some 50 MiB.
pub const MIB_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Folders inside one another that are looked at.
const FOLDERS_DEEP: usize = 16;

/// Names by number.
#[derive(Debug, Default)]
pub struct Names {
    names: HashMap<String, String>,
}

impl Names {
    /// Reads a folder. Takes a while; not for a thread that others wait for.
    ///
    /// # Errors
    /// A sentence: the folder is not there, too large, or holds nothing that is a MIB.
    pub fn load(folder: &Path) -> Result<Names, String> {
        let shown = folder.display();
        let wrong = |why: &dyn std::fmt::Display| format!("the MIB folder {shown}: {why}");
        let size = size(folder, FOLDERS_DEEP).map_err(|why| wrong(&why))?;
        if size > MIB_BYTES_MAX {
            return Err(wrong(&format!("it holds more than {MIB_BYTES_MAX} bytes")));
        }
        let files = source::dir(folder).map_err(|why| wrong(&why))?;
        let mib = Loader::new()
            .source(files)
            .load()
            .map_err(|why| wrong(&why))?;
        let is_named = |node: &Node<'_>| node.object().is_some() || node.notification().is_some();
        let nodes = mib.nodes().filter(is_named);
        let names: HashMap<String, String> = nodes
            .map(|node| (node.oid().to_string(), node.name().to_owned()))
            .collect();
        match names.is_empty() {
            true => Err(wrong(&"no MIB in it has an object or a trap")),
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

fn size(folder: &Path, deep: usize) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        sum += match about.is_dir() {
            true if deep == 0 => 0,
            true => size(&entry.path(), deep - 1)?,
            false => about.len(),
        };
    }
    Ok(sum)
}
