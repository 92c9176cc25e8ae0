//! The way to the server: TCP, and TLS around it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::keys::Wish;
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
    let roots = roots(wish.tls_ca.as_deref()).map_err(no_tls)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|why| no_tls(why.to_string()))?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(wish.host.clone()).map_err(|why| no_tls(why.to_string()))?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = in_time(connector.connect(name, link)).await;
    let stream = stream.map_err(|why| no_tls(why.to_string()))?;
    Ok(Box::new(stream))
}

/// The authorities of a file, else the system's; read each time, because they change.
fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let wrong = |why: String| format!("{}: {why}", file.display());
    let found = CertificateDer::pem_file_iter(file).map_err(|why| wrong(why.to_string()))?;
    for certificate in found {
        let certificate = certificate.map_err(|why| wrong(why.to_string()))?;
        roots
            .add(certificate)
            .map_err(|why| wrong(why.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(wrong("no certificate in it".to_owned())),
        false => Ok(roots),
    }
}

async fn in_time<T>(deed: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    timeout(DIAL_MAX, deed)
        .await
        .unwrap_or_else(|_| Err(late()))
}
