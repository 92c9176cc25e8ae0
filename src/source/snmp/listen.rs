//! `kind = "snmp"`: traps and informs from the wire, over UDP.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::access::Access;
use super::engine::Engine;
use super::mib::Names;
use super::receive::Receiver;
use super::socket::Socket;
use super::user::{USERS_MAX, User, UserKeys};
use crate::error::Diagnostic;
use crate::source::{Block, Context, Door, Opened, Source, Trouble};

/// The port that traps are sent to unless somebody says otherwise (RFC 3417 §3.2).
const TRAP_PORT: u16 = 162;

/// The kind.
pub struct Snmp;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    listen: OneOrMore,
    #[serde(default)]
    communities: Option<Vec<String>>,
    #[serde(default)]
    mibs: Option<PathBuf>,
    #[serde(default)]
    user: Vec<UserKeys>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Source for Snmp {
    fn name(&self) -> &'static str {
        "snmp"
    }

    fn about(&self) -> &'static str {
        "traps and informs of SNMP versions 1, 2c and 3 over UDP, without snmptrapd"
    }

    fn example(&self) -> &'static str {
        "listen = [\"0.0.0.0:162\", \"[::]:162\"]\ncommunities = [\"public\"]"
    }

    fn read(&self, block: &Block<'_>) -> Result<Arc<dyn Door>, Diagnostic> {
        let keys: Keys = block.keys()?;
        let written = match keys.listen {
            OneOrMore::One(address) => vec![address],
            OneOrMore::More(addresses) => addresses,
        };
        let addresses: Option<Vec<SocketAddr>> = written.iter().map(|text| address(text)).collect();
        let Some(addresses) = addresses.filter(|addresses| !addresses.is_empty()) else {
            let wrong = block.wrong(
                "listen",
                "`listen` must be addresses, with a port or without",
            );
            return Err(wrong.help("write \"0.0.0.0:162\", \"[::]:162\", or a list of such"));
        };
        if keys.communities.is_none() {
            held_to_loopback(block, &addresses)?;
        }
        Ok(Arc::new(Listening {
            addresses,
            access: Access {
                communities: keys.communities,
                users: users(keys.user, block)?,
            },
            mibs: keys.mibs.map(|folder| block.path(&folder)),
        }))
    }
}

/// Who names no community takes every one; that is for this host alone.
fn held_to_loopback(block: &Block<'_>, addresses: &[SocketAddr]) -> Result<(), Diagnostic> {
    let is_beyond = |to: &&SocketAddr| !to.ip().to_canonical().is_loopback();
    let Some(beyond) = addresses.iter().find(is_beyond) else {
        return Ok(());
    };
    let why = format!("`listen` is {beyond}, where anybody could send traps of any community");
    let wrong = block.wrong("listen", why);
    Err(wrong
        .help("name the ones to take: `communities = [\"public\"]`; `[]` takes version 3 alone"))
}

fn users(keys: Vec<UserKeys>, block: &Block<'_>) -> Result<Vec<User>, Diagnostic> {
    if keys.len() > USERS_MAX {
        let why = format!("a source has at most {USERS_MAX} users");
        return Err(block.wrong("user", why));
    }
    let mut users: Vec<User> = Vec::new();
    for keys in keys {
        let user = keys.read(block)?;
        if users.iter().any(|other| other.name == user.name) {
            let why = format!("there are two users `{}`", user.name);
            return Err(block.wrong("user", why));
        }
        users.push(user);
    }
    Ok(users)
}

fn address(text: &str) -> Option<SocketAddr> {
    let with_port = text.parse().ok();
    with_port.or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, TRAP_PORT)))
}

struct Listening {
    addresses: Vec<SocketAddr>,
    access: Access,
    mibs: Option<PathBuf>,
}

impl Door for Listening {
    fn place(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        format!("udp {}", addresses.join(" "))
    }

    fn run<'a>(&'a self, context: &'a Context) -> Opened<'a> {
        Box::pin(self.receive(context))
    }
}

impl Listening {
    async fn receive(&self, context: &Context) -> Result<(), Trouble> {
        let sockets: Result<Vec<_>, Trouble> =
            self.addresses.iter().map(|to| self.bind(*to)).collect();
        let receiver = Receiver {
            context,
            access: &self.access,
            sockets: sockets?,
            engine: self.engine(context).await?,
            names: self.names(context).await,
        };
        receiver.run().await
    }

    /// What the MIB folder has; without it traps have the built-in names.
    async fn names(&self, context: &Context) -> Option<Names> {
        let folder = self.mibs.clone()?;
        let loading = tokio::task::spawn_blocking(move || Names::load(&folder));
        let loaded = loading.await.unwrap_or_else(|why| Err(why.to_string()));
        let loaded = loaded.inspect_err(|why| context.trouble(why)).ok()?;
        tracing::info!("{} names come from the MIB folder", loaded.count());
        Some(loaded)
    }

    /// Our engine, started once more, which is remembered before anybody hears of it.
    async fn engine(&self, context: &Context) -> Result<Engine, Trouble> {
        if self.access.users.is_empty() {
            return Ok(Engine::start(None));
        }
        let engine = Engine::start(context.memory()?.as_deref());
        let memory = engine.memory();
        context.push_and_remember(Vec::new(), memory).await?;
        Ok(engine)
    }

    fn bind(&self, address: SocketAddr) -> Result<Arc<Socket>, Trouble> {
        let has_v4 = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
        let only_v6 = self.addresses.iter().any(has_v4);
        let socket = Socket::bind(address, only_v6)
            .map_err(|why| Trouble(format!("cannot listen on udp {address}: {why}")))?;
        let granted = socket.granted;
        tracing::info!("udp {address} takes traps, with a receive buffer of {granted} bytes");
        Ok(Arc::new(socket))
    }
}
