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
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::error::Diagnostic;
use crate::settings::HttpSettings;

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
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
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
        let cannot = |why| Diagnostic::new(format!("cannot listen on {}: {why}", settings.listen));
        let socket = TcpListener::bind(settings.listen).await.map_err(cannot)?;
        Ok(Listener { socket, tls })
    }

    /// Where it listens; the port is real even if 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// True if it speaks TLS.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves `router` until `stop` changes, then lets each connection finish its request.
    pub async fn serve(self, router: Router, mut stop: watch::Receiver<bool>) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                break;
            };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = told(&mut stop) => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection {
                        peer,
                        router: router.clone(),
                        permit,
                        stop: stop.clone(),
                    };
                    tokio::spawn(connection.begin(stream, self.tls.clone()));
                }
                // Out of file descriptors: others must end first, and trying at once would spin.
                Err(why) => {
                    tracing::warn!("cannot accept a connection: {why}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(self.socket);
        // All permits back means that all connections have ended.
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        let _ = permits.acquire_many(all).await;
    }
}

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

/// Waits until the server is told to stop.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What the settings say about TLS; `None` if they want none.
///
/// # Errors
/// Certificate or key cannot be read, or do not belong together.
pub fn tls(settings: &HttpSettings) -> Result<Option<TlsAcceptor>, Diagnostic> {
    settings.has_tls().then(|| acceptor(settings)).transpose()
}

fn acceptor(settings: &HttpSettings) -> Result<TlsAcceptor, Diagnostic> {
    let cannot = |path: &std::path::Path, why: String| {
        Diagnostic::new(format!("cannot use {} for TLS: {why}", path.display()))
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&settings.tls_cert)
        .map_err(|why| cannot(&settings.tls_cert, why.to_string()))?
        .collect();
    let certificates = certificates.map_err(|why| cannot(&settings.tls_cert, why.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&settings.tls_key)
        .map_err(|why| cannot(&settings.tls_key, why.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(certificates, key)
        })
        .map_err(|why| cannot(&settings.tls_cert, why.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
