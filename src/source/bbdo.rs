//! `kind = "bbdo"`: a Centreon Broker or Engine sends its events here, as to another Broker.
//!
//! Invariant: an event is acknowledged once it is on disk; what was not is sent again by the Broker
//! when it comes back, and recognised.

pub mod again;
mod checksum;
pub mod decode;
pub mod field;
pub mod frame;
pub mod handshake;
mod insist;
mod keys;
mod legacy;
mod message;
pub mod names;
pub mod peer;
mod reader;
mod rules;
pub mod session;
pub mod squeeze;
mod table;
mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use self::handshake::Version;
use self::keys::{Place, Wish};
use self::names::Names;
use self::peer::{GREETING_MAX, Peer};
use self::reader::{House, Shared};
use self::session::Session;
use super::directory::{Directory, Found};
use super::{Block, Context, Door, Opened, Source, Trouble};
use crate::action::http;
use crate::error::Diagnostic;

/// Brokers and Engines that one source talks to at the same time.
pub const PEERS_MAX: usize = 1_000;
/// A silent connection is tried after this time, and given up if nobody answers.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// A Broker that is away is called again after this long at first, doubling …
const CALL_AGAIN_MIN: Duration = Duration::from_secs(1);
/// … up to this.
const CALL_AGAIN_MAX: Duration = Duration::from_secs(60);
/// How long a call may take.
const CALL_MAX: Duration = Duration::from_secs(10);

/// Every kind of event that `accepted_elements` may name.
pub fn elements() -> impl Iterator<Item = &'static str> {
    rules::known_elements()
}

/// The kind.
pub struct Bbdo;

impl Source for Bbdo {
    fn name(&self) -> &'static str {
        "bbdo"
    }

    fn about(&self) -> &'static str {
        "a Centreon Broker or Engine sends its events here, as to another Broker"
    }

    fn example(&self) -> &'static str {
        "listen = \"127.0.0.1:5669\"\n[source.filter]\n\
        accepted_elements = [\"host_status\", \"service_status\", \"acknowledgement\"]\n\
        hard_only = true                  # a key that is absent filters nothing"
    }

    fn read(&self, block: &Block<'_>) -> Result<Arc<dyn Door>, Diagnostic> {
        Ok(Arc::new(Receiving {
            wish: Arc::new(keys::read(block)?),
            names: OnceLock::new(),
        }))
    }
}

struct Receiving {
    wish: Arc<Wish>,
    /// What is known by name, once it was recalled; it outlives the door's failures.
    names: OnceLock<Shared>,
}

/// What scripts ask.
struct Known(Shared);

impl Directory for Known {
    fn look_up(&self, word: &str, ids: &[i64]) -> Found {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.look_up(word, ids)
    }
}

impl Door for Receiving {
    fn place(&self) -> String {
        match &self.wish.place {
            Place::Listen(address) => format!("tcp {address}"),
            Place::Connect(remote, _) => format!("to {remote}"),
        }
    }

    fn check(&self, _http: &http::Client) -> Result<(), String> {
        let acceptor = self.wish.acceptor().map(drop);
        let tls = acceptor.and_then(|()| self.wish.connector().map(drop));
        tls.map_err(|why| why.to_string())
    }

    fn notice(&self) -> Option<String> {
        let everything = "it keeps everything that its Broker says, every check of every service too; \
            `accepted_elements` under [source.filter] names what is wanted, [\"*\"] is all";
        let is_everything = self.wish.rules.names_no_elements();
        is_everything.then(|| everything.to_owned())
    }

    fn recall(&self, pieces: Vec<(String, Vec<u8>)>) -> Option<Arc<dyn Directory>> {
        Some(Arc::new(Known(self.shared(pieces))))
    }

    fn run<'a>(&'a self, context: &'a Context) -> Opened<'a> {
        match &self.wish.place {
            Place::Listen(address) => Box::pin(self.listen(context, *address)),
            Place::Connect(remote, version) => Box::pin(self.call(context, remote, *version)),
        }
    }
}

impl Receiving {
    fn house(&self, context: &Context) -> Result<House, Trouble> {
        let names = match self.names.get() {
            Some(names) => Arc::clone(names),
            None => self.shared(context.pieces()?),
        };
        let wish = Arc::clone(&self.wish);
        Ok(House { wish, names })
    }

    /// The names, recalled once.
    fn shared(&self, pieces: Vec<(String, Vec<u8>)>) -> Shared {
        let recalled = || Arc::new(Mutex::new(Names::recall(pieces)));
        Arc::clone(self.names.get_or_init(recalled))
    }

    async fn listen(&self, context: &Context, address: SocketAddr) -> Result<(), Trouble> {
        let house = self.house(context)?;
        let socket = TcpListener::bind(address).await;
        let socket = socket.map_err(|why| Trouble(format!("cannot listen on {address}: {why}")))?;
        let tls = self
            .wish
            .acceptor()
            .map_err(|why| Trouble(why.to_string()))?;
        context.up();
        let mut peers = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept(), if peers.len() < PEERS_MAX => accepted,
                Some(_) = peers.join_next() => continue,
                () = context.stopped() => break,
            };
            match accepted {
                Ok(accepted) => drop(
                    peers.spawn(
                        Answering {
                            context: context.clone(),
                            house: house.clone(),
                            tls: tls.clone(),
                        }
                        .answer(accepted),
                    ),
                ),
                Err(why) => {
                    context.trouble(&format!("cannot accept a connection: {why}"));
                    context.pause(Duration::from_millis(100)).await;
                }
            }
        }
        while peers.join_next().await.is_some() {}
        Ok(())
    }

    /// Calls a Broker that keeps events until it is called, again and again.
    async fn call(&self, context: &Context, remote: &str, version: Version) -> Result<(), Trouble> {
        let house = self.house(context)?;
        let tls = self
            .wish
            .connector()
            .map_err(|why| Trouble(why.to_string()))?;
        context.up();
        let mut wait = CALL_AGAIN_MIN;
        loop {
            let session = Session::beginning(self.wish.layers(), version);
            let reader = house.reader(remote.to_owned(), context.clock().clone());
            let mut peer = Peer::new(context, session, reader);
            match call(&mut peer, tls.as_ref()).await {
                Err(why) if !context.is_stopping() => context.trouble(&why.0),
                _ => {}
            }
            wait = match peer.session.taken() {
                0 => (wait * 2).min(CALL_AGAIN_MAX),
                _ => CALL_AGAIN_MIN,
            };
            if !context.pause(wait).await {
                return Ok(());
            }
        }
    }
}

/// What a conversation with a Broker that connected needs.
struct Answering {
    context: Context,
    house: House,
    tls: Option<TlsAcceptor>,
}

impl Answering {
    async fn answer(self, (stream, address): (TcpStream, SocketAddr)) {
        let context = &self.context;
        let session = Session::answering(self.house.wish.layers());
        let clock = context.clock().clone();
        let reader = self.house.reader(address.to_string(), clock);
        let mut peer = Peer::new(context, session, reader);
        match converse(&mut peer, stream, self.tls).await {
            Err(why) if !context.is_stopping() => context.trouble(&why.0),
            _ => tracing::debug!(%address, "a Broker left"),
        }
    }
}

async fn converse(
    peer: &mut Peer<'_>,
    mut stream: TcpStream,
    tls: Option<TlsAcceptor>,
) -> Result<(), Trouble> {
    prepare(&stream);
    peer.greet(&mut stream).await?;
    peer.context.up();
    let Some(tls) = tls else {
        return peer.hear(&mut stream).await;
    };
    match timeout(GREETING_MAX, tls.accept(stream)).await {
        Ok(Ok(mut stream)) => peer.hear(&mut stream).await,
        Ok(Err(why)) => Err(peer.trouble(&format!("TLS failed: {why}"))),
        Err(_) => Err(peer.trouble("TLS took too long")),
    }
}

async fn call(peer: &mut Peer<'_>, tls: Option<&TlsConnector>) -> Result<(), Trouble> {
    let connected = tokio::select! {
        connected = timeout(CALL_MAX, TcpStream::connect(&peer.address)) => connected,
        () = peer.context.stopped() => return Ok(()),
    };
    let mut stream = match connected {
        Ok(stream) => stream.map_err(|why| peer.trouble(&format!("cannot connect: {why}")))?,
        Err(_) => return Err(peer.trouble("cannot connect: nobody answers")),
    };
    prepare(&stream);
    peer.greet(&mut stream).await?;
    peer.context.up();
    let Some(tls) = tls else {
        return peer.hear(&mut stream).await;
    };
    let host = peer.address.rsplit_once(':').map_or("", |(host, _)| host);
    let host = host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(|why| peer.trouble(&why.to_string()))?;
    match timeout(GREETING_MAX, tls.connect(name, stream)).await {
        Ok(Ok(mut stream)) => peer.hear(&mut stream).await,
        Ok(Err(why)) => Err(peer.trouble(&format!("TLS failed: {why}"))),
        Err(_) => Err(peer.trouble("TLS took too long")),
    }
}

/// An idle conversation carries nothing, so only the network can tell that the peer is gone.
fn prepare(stream: &TcpStream) {
    use rustix::net::sockopt;
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEPALIVE);
}
