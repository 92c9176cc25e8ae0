//! What a service manager is told: ready, and stopping (systemd's `Type=notify`).
//!
//! One datagram of text to the socket that the environment names; without one nothing is told.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names the socket; `@` stands for the NUL of a name without a file.
const SOCKET: &str = "NOTIFY_SOCKET";
/// Everything is up.
pub(super) const READY: &str = "READY=1";
/// It was told to stop and drains.
pub(super) const STOPPING: &str = "STOPPING=1";

/// Tells the service manager, if there is one.
pub(super) fn tell(state: &str) {
    if let Some(Err(why)) = std::env::var_os(SOCKET).map(|name| send(name.as_bytes(), state)) {
        tracing::warn!("the service manager cannot be told {state}: {why}");
    }
}

fn send(name: &[u8], state: &str) -> io::Result<()> {
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}
