//! `kind = "amqp_listen"`: a small AMQP 0-9-1 door, so that senders need no broker.
//!
//! It takes what senders do and refuses the rest with the protocol's own codes. Invariant: it says
//! "closed" or "confirmed" only after the events before that are on disk.

mod connection;
mod declared;
mod greeting;
mod lane;
mod refusal;
mod session;
mod users;
mod work;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use rustls::ServerConfig;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub use connection::{BODIES_BYTES_MAX, OPEN_SECONDS_MAX, SILENT_SECONDS_MAX};
pub use declared::{DECLARED_MAX, Declared};
pub use lane::{MESSAGE_BYTES_MAX, Publication};
pub use refusal::Refusal;
pub use session::{Effect, House, LANES_MAX, Session};
pub use users::{Peer, User, Users};

use self::connection::{Connection, Wiring};
use super::{Block, Context, Door, Opened, Source, Trouble};
use crate::amqp::tls;
use crate::error::Diagnostic;

/// Connections that one door has at the same time; further ones wait.
pub const CLIENTS_MAX: usize = 1_000;
/// Accounts that one door knows.
pub const USERS_MAX: usize = 1_000;

/// The kind.
pub struct AmqpListen;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    listen: SocketAddr,
    #[serde(default)]
    plaintext: bool,
    #[serde(default = "usual_hosts")]
    virtual_hosts: Vec<String>,
    #[serde(default)]
    user: Vec<UserKeys>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_client_ca: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserKeys {
    name: String,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
}

fn usual_hosts() -> Vec<String> {
    vec!["/".to_owned()]
}

impl Source for AmqpListen {
    fn name(&self) -> &'static str {
        "amqp_listen"
    }

    fn about(&self) -> &'static str {
        "takes what AMQP 0-9-1 senders publish, so that they need no broker"
    }

    fn example(&self) -> &'static str {
        "listen = \"127.0.0.1:5672\""
    }

    fn read(&self, block: &Block<'_>) -> Result<Arc<dyn Door>, Diagnostic> {
        let keys: Keys = block.keys()?;
        check(&keys, block)?;
        let user = |user: &UserKeys| {
            let password = block.secret("password", &user.password_file, &user.password_env)?;
            Ok(User {
                name: user.name.clone(),
                password,
            })
        };
        let users: Result<Vec<User>, Diagnostic> = keys.user.iter().map(user).collect();
        let path = |path: Option<PathBuf>| path.map(|path| block.path(&path));
        Ok(Arc::new(Listening {
            listen: keys.listen,
            certificate: path(keys.tls_cert).zip(path(keys.tls_key)),
            authorities: path(keys.tls_client_ca),
            house: Arc::new(House {
                users: Users::new(users?),
                virtual_hosts: keys.virtual_hosts,
                declared: std::sync::Mutex::default(),
            }),
        }))
    }
}

/// Beyond loopback nobody gets in without an account, and no password travels in the clear unless
/// somebody said so.
fn check(keys: &Keys, block: &Block<'_>) -> Result<(), Diagnostic> {
    let is_here = keys.listen.ip().to_canonical().is_loopback();
    let has_tls = keys.tls_cert.is_some();
    if keys.tls_cert.is_some() != keys.tls_key.is_some() {
        return Err(block.wrong("tls_cert", "`tls_cert` and `tls_key` go together"));
    }
    if keys.tls_client_ca.is_some() && !has_tls {
        let why = "`tls_client_ca` needs `tls_cert` and `tls_key`";
        return Err(block.wrong("tls_client_ca", why));
    }
    if !is_here && keys.user.is_empty() && keys.tls_client_ca.is_none() {
        let why = "beyond loopback nobody may send without an account";
        return Err(block
            .wrong("listen", why)
            .help("add [[source.user]] with `name` and `password_file`, or `tls_client_ca`"));
    }
    if !is_here && !has_tls && !keys.plaintext {
        let why = "beyond loopback passwords and events would travel in the clear";
        return Err(block
            .wrong("listen", why)
            .help("set `tls_cert` and `tls_key`, or `plaintext = true`"));
    }
    if keys.user.len() > USERS_MAX {
        return Err(block.wrong("user", format!("more than {USERS_MAX} users")));
    }
    Ok(())
}

struct Listening {
    listen: SocketAddr,
    certificate: Option<(PathBuf, PathBuf)>,
    authorities: Option<PathBuf>,
    house: Arc<House>,
}

impl Door for Listening {
    fn place(&self) -> String {
        let scheme = match self.certificate {
            Some(_) => "amqps",
            None => "amqp",
        };
        format!("{scheme}://{}", self.listen)
    }

    fn run<'a>(&'a self, context: &'a Context) -> Opened<'a> {
        Box::pin(self.listen(context))
    }
}

impl Listening {
    async fn listen(&self, context: &Context) -> Result<(), Trouble> {
        let tls = self.tls()?;
        let cannot = |why| Trouble(format!("cannot listen on {}: {why}", self.listen));
        let socket = TcpListener::bind(self.listen).await.map_err(cannot)?;
        context.up();
        let mut clients = JoinSet::new();
        let held = Arc::new(AtomicUsize::new(0));
        loop {
            tokio::select! {
                () = context.stopped() => break,
                Some(_) = clients.join_next() => {}
                accepted = socket.accept(), if clients.len() < CLIENTS_MAX => match accepted {
                    Ok((stream, address)) => {
                        let wiring = Wiring {
                            context: context.clone(),
                            house: Arc::clone(&self.house),
                            held: Arc::clone(&held),
                            address,
                        };
                        clients.spawn(attend(stream, wiring, tls.clone()));
                    }
                    Err(why) => {
                        // Out of file descriptors: trying at once would spin.
                        context.trouble(&format!("cannot accept a connection: {why}"));
                        context.pause(connection::ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        drop(socket);
        while clients.join_next().await.is_some() {}
        Ok(())
    }

    fn tls(&self) -> Result<Option<Arc<ServerConfig>>, Trouble> {
        let Some((certificate, key)) = &self.certificate else {
            return Ok(None);
        };
        tls::server_config(certificate, key, self.authorities.as_deref())
            .map(Some)
            .map_err(Trouble)
    }
}

async fn attend(stream: TcpStream, wiring: Wiring, tls: Option<Arc<ServerConfig>>) {
    // Answers are small; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return Connection::new(stream, wiring, None).run().await;
    };
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    match tokio::time::timeout(OPEN_SECONDS_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates();
            let name = shown.and_then(|chain| tls::common_name(chain.first()?));
            Connection::new(stream, wiring, name).run().await;
        }
        Ok(Err(why)) => tracing::debug!(peer = %wiring.address, "TLS failed: {why}"),
        Err(_) => tracing::debug!(peer = %wiring.address, "TLS took too long"),
    }
}
