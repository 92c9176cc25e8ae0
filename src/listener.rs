//! Listens for HTTP and speaks it, so that slow or silent callers hold nothing for long.
//!
//! hyper's http1 server by hand: the ready-made one has no time limit for headers, and six hundred
//! callers that send a byte now and then kept it busy for as long as they liked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::{Request, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::error::Diagnostic;
use crate::settings::HttpSettings;
use crate::stop::told;
use crate::tls::Identity;

/// Connections at the same time.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Time to send all headers, and to finish a TLS handshake.
pub const HEADER_SECONDS_MAX: Duration = Duration::from_secs(5);
/// Bytes of all headers together.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Number of headers.
pub const HEADERS_MAX: usize = 64;

/// A bound socket, with TLS if the settings say so.
pub struct Listener {
    open: Open,
    places: usize,
    changer: mpsc::Sender<Change>,
    changes: mpsc::Receiver<Change>,
}

/// What new connections meet.
struct Open {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    /// Tells the connections of this socket to end.
    close: watch::Sender<bool>,
}

/// What a listener that serves changes to.
pub struct Change {
    /// Another address, bound already.
    socket: Option<TcpListener>,
    tls: Option<TlsAcceptor>,
}

impl Change {
    /// From `old` settings to `new` ones: the certificate is read again, and an address that was
    /// changed is bound.
    ///
    /// # Errors
    /// The certificate cannot be used, or the address is not to be had.
    pub async fn prepare(old: &HttpSettings, new: &HttpSettings) -> Result<Change, Diagnostic> {
        let tls = tls(new)?;
        let socket = match old.listen == new.listen {
            true => None,
            false => Some(bind(new.listen).await?),
        };
        Ok(Change { socket, tls })
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Diagnostic> {
    TcpListener::bind(address).await.map_err(|why| {
        let cannot = Diagnostic::new(format!("cannot listen on {address}: {why}"));
        match why.kind() {
            std::io::ErrorKind::AddrInUse => {
                cannot.help("if this server holds the port by another address, restart it")
            }
            _ => cannot,
        }
    })
}

impl Listener {
    /// Binds the address of the settings, to speak TLS if it is given.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn bind(
        settings: &HttpSettings,
        tls: Option<TlsAcceptor>,
    ) -> Result<Listener, Diagnostic> {
        let socket = bind(settings.listen).await?;
        let (changer, changes) = mpsc::channel(1);
        Ok(Listener {
            open: Open::new(socket, tls),
            places: CONNECTIONS_MAX,
            changer,
            changes,
        })
    }

    /// For so many connections at the same time, in place of [`CONNECTIONS_MAX`].
    pub fn with_places(mut self, places: usize) -> Listener {
        self.places = places;
        self
    }

    /// Where it listens; the port is real even if 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.open.socket.local_addr().ok()
    }

    /// Where changes go while it serves.
    pub fn changer(&self) -> mpsc::Sender<Change> {
        self.changer.clone()
    }

    /// Serves `router` until `stop` changes, then lets each connection finish its request.
    pub async fn serve(mut self, router: Router, mut stop: watch::Receiver<bool>) {
        let permits = Arc::new(Semaphore::new(self.places));
        loop {
            tokio::select! {
                accepted = self.open.accept(&permits) => {
                    if let Some(accepted) = accepted {
                        self.open.begin(accepted, router.clone());
                    }
                }
                Some(change) = self.changes.recv() => self.open.change(change),
                () = told(&mut stop) => break,
            }
        }
        self.open.close.send_replace(true);
        drop(self.open.socket);
        // All permits back means that all connections have ended.
        let all = u32::try_from(self.places).unwrap_or(u32::MAX);
        let _ = permits.acquire_many(all).await;
    }
}

impl Open {
    fn new(socket: TcpListener, tls: Option<TlsAcceptor>) -> Open {
        let (close, _) = watch::channel(false);
        Open { socket, tls, close }
    }

    /// The next connection, once there is room for one.
    async fn accept(&self, permits: &Arc<Semaphore>) -> Option<Accepted> {
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        match self.socket.accept().await {
            Ok((stream, peer)) => Some((stream, peer, permit)),
            // Out of file descriptors: others must end first, and trying at once would spin.
            Err(why) => {
                tracing::warn!("cannot accept a connection: {why}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                None
            }
        }
    }

    fn begin(&self, (stream, peer, permit): Accepted, router: Router) {
        let connection = Connection {
            peer,
            router,
            permit,
            stop: self.close.subscribe(),
        };
        tokio::spawn(connection.begin(stream, self.tls.clone()));
    }

    /// New connections meet the new address and certificate; those of an address that is left end
    /// with the request they are at.
    fn change(&mut self, change: Change) {
        let Some(socket) = change.socket else {
            self.tls = change.tls;
            return;
        };
        self.close.send_replace(true);
        *self = Open::new(socket, change.tls);
        if let Ok(address) = self.socket.local_addr() {
            tracing::info!(%address, "listens on another address");
        }
    }
}

/// A connection, who is at its other end, and its place among those that may be open.
type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

struct Connection {
    peer: SocketAddr,
    router: Router,
    permit: OwnedSemaphorePermit,
    stop: watch::Receiver<bool>,
}

impl Connection {
    async fn begin(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Answers are small; waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        match tls {
            None => self.speak(stream).await,
            Some(tls) => match tokio::time::timeout(HEADER_SECONDS_MAX, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.speak(stream).await,
                Ok(Err(why)) => tracing::debug!(peer = %self.peer, "TLS failed: {why}"),
                Err(_) => tracing::debug!(peer = %self.peer, "TLS took too long"),
            },
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let Connection {
            peer,
            router,
            permit,
            mut stop,
        } = self;
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEADER_SECONDS_MAX)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEADER_BYTES_MAX)
            .max_buf_size(HEADER_BYTES_MAX);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = told(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(why) = ended {
            tracing::debug!(%peer, "connection ended: {why}");
        }
        drop(permit);
    }
}

/// What the settings say about TLS; `None` if they want none.
///
/// # Errors
/// Certificate or key cannot be read, or do not belong together.
pub fn tls(settings: &HttpSettings) -> Result<Option<TlsAcceptor>, Diagnostic> {
    let identity = Identity {
        certificate: &settings.tls_cert,
        key: &settings.tls_key,
    };
    let acceptor = || crate::tls::acceptor(identity, None);
    settings.has_tls().then(acceptor).transpose()
}
