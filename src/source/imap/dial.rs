//! The way to the server: TCP, and TLS around it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::keys::Wish;
use crate::amqp::tls::{self, Protection, Trust};
use crate::source::Trouble;

/// Time for the connection, and again for TLS.
const DIAL_MAX: Duration = Duration::from_secs(30);

/// A connection, with TLS or without.
pub(super) trait Link: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Link for T {}

/// Connects without TLS.
///
/// # Errors
/// The server is not there.
pub(super) async fn connect(wish: &Wish) -> Result<Box<dyn Link>, Trouble> {
    let connecting = TcpStream::connect((wish.host.as_str(), wish.port));
    let stream = in_time(connecting).await;
    let stream = stream.map_err(|why| Trouble(format!("cannot reach {}: {why}", wish.peer)))?;
    Ok(Box::new(stream))
}

/// Puts TLS around a connection; the certificate must be for the host's name.
///
/// # Errors
/// The server cannot do it, or is not who it should be.
pub(super) async fn secure(link: Box<dyn Link>, wish: &Wish) -> Result<Box<dyn Link>, Trouble> {
    let no_tls = |why: String| Trouble(format!("no TLS with {}: {why}", wish.peer));
    let authorities = wish.tls_ca.clone();
    // Read each time, because they change.
    let protection = Protection {
        trust: authorities.map_or(Trust::Host, Trust::File),
        own: None,
    };
    let config = protection.config().map_err(no_tls)?;
    let name = tls::server_name(&wish.host).map_err(no_tls)?;
    let stream = in_time(TlsConnector::from(config).connect(name, link)).await;
    let stream = stream.map_err(|why| no_tls(why.to_string()))?;
    Ok(Box::new(stream))
}

async fn in_time<T>(deed: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    timeout(DIAL_MAX, deed)
        .await
        .unwrap_or_else(|_| Err(late()))
}
