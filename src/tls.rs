//! TLS from files, for whoever listens or connects: a certificate with its key, and an authority.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::error::Diagnostic;

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate, its issuers behind it.
    pub certificate: &'a Path,
    /// Its private key.
    pub key: &'a Path,
}

type Loaded = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// For a listener; with an `authority` only those get in whose certificate is signed by it.
///
/// # Errors
/// A file cannot be read, or certificate and key do not belong together.
pub fn acceptor(
    identity: Identity<'_>,
    authority: Option<&Path>,
) -> Result<TlsAcceptor, Diagnostic> {
    let (certificates, key) = identity.load()?;
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|why| cannot(identity.certificate, &why))?;
    let builder = match authority {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|why| cannot(path, &why))?)
        }
    };
    let config = builder.with_single_cert(certificates, key);
    let config = config.map_err(|why| cannot(identity.certificate, &why))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// For whoever connects to a server whose certificate is signed by `authority`.
///
/// # Errors
/// As [`acceptor`].
pub fn connector(
    identity: Option<Identity<'_>>,
    authority: &Path,
) -> Result<TlsConnector, Diagnostic> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|why| cannot(authority, &why))?
        .with_root_certificates(roots(authority)?);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (certificates, key) = identity.load()?;
            let config = builder.with_client_auth_cert(certificates, key);
            config.map_err(|why| cannot(identity.certificate, &why))?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Identity<'_> {
    fn load(self) -> Result<Loaded, Diagnostic> {
        let certificates = certificates(self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(self.key).map_err(|why| cannot(self.key, &why))?;
        Ok((certificates, key))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Diagnostic> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|why| cannot(path, &why))
}

fn roots(path: &Path) -> Result<RootCertStore, Diagnostic> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|why| cannot(path, &why))?;
    }
    match roots.is_empty() {
        true => Err(cannot(path, &"there is no certificate in it")),
        false => Ok(roots),
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn cannot(path: &Path, why: &dyn std::fmt::Display) -> Diagnostic {
    Diagnostic::new(format!("cannot use {} for TLS: {why}", path.display()))
}
