//! A UDP socket with as large a receive buffer as the system grants, and the copying out of it.

use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::UdpSocket;

use super::inbox::{Head, Inbox};
use crate::clock::Clock;

/// What is asked of the system for datagrams that nobody took yet. The usual grant without
/// privileges is far less (`net.core.rmem_max`), which then is said in the log.
pub const RECEIVE_BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// Largest datagram; IPv4 carries 65,507 bytes (RFC 768), and one byte more would be cut off.
pub const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Datagrams that one reader takes before others have their turn.
const TAKEN_AT_ONCE: usize = 1_000;

/// A bound socket.
#[derive(Debug)]
pub struct Socket {
    /// The socket.
    pub udp: UdpSocket,
    /// Bytes of receive buffer that the system granted, half of which carry data.
    pub granted: usize,
    inode: u64,
}

impl Socket {
    /// Binds `address`; `::` means IPv4 too unless `only_v6`.
    ///
    /// # Errors
    /// As the system has it: the address is taken, is not ours, or needs privileges.
    pub fn bind(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, only_v6)?;
        }
        // Beyond the system's limit only with CAP_NET_ADMIN; then as much as everybody gets.
        sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES))?;
        rustix::net::bind(&socket, &address)?;
        Ok(Socket {
            granted: sockopt::socket_recv_buffer_size(&socket)?,
            inode: rustix::fs::fstat(&socket)?.st_ino,
            udp: UdpSocket::from_std(StdSocket::from(socket))?,
        })
    }

    /// How many datagrams the system dropped so far because nobody took them in time; `None` if
    /// it does not tell.
    pub fn dropped(&self) -> Option<u64> {
        let inode = self.inode.to_string();
        let find = |table: String| {
            let mut lines = table.lines().map(str::split_ascii_whitespace);
            let mut line = lines.find(|line| line.clone().nth(9) == Some(&inode))?;
            line.next_back()?.parse().ok()
        };
        let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
        tables
            .iter()
            .find_map(|table| find(std::fs::read_to_string(table).ok()?))
    }
}

/// Copies datagrams of the socket with this index into `inbox` until the system fails.
pub async fn fill(socket: Arc<Socket>, index: usize, inbox: Arc<Inbox>, clock: Clock) -> io::Error {
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        inbox.room().await;
        if let Err(why) = socket.udp.readable().await {
            return why;
        }
        let taken = take(&socket, &mut datagram, |from, datagram| {
            inbox.put(Head::new(index, from, clock.now()), datagram)
        });
        inbox.announce();
        match taken {
            Err(why) if why.kind() != io::ErrorKind::WouldBlock => return why,
            Err(_) => {}
            Ok(()) => tokio::task::yield_now().await,
        }
    }
}

/// Hands over what is there, until `put` has no more room or others are to have their turn; an
/// error says that there is no more, or what the matter is.
fn take(
    socket: &Socket,
    buffer: &mut [u8],
    mut put: impl FnMut(SocketAddr, &[u8]) -> bool,
) -> io::Result<()> {
    for _ in 0..TAKEN_AT_ONCE {
        let (count, from) = socket.udp.try_recv_from(buffer)?;
        if !put(from, &buffer[..count]) {
            break;
        }
    }
    Ok(())
}
