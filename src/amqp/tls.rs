//! TLS with a broker, or as one: whom to trust, our own certificate, who a certificate names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use asn1_rs::{Any, Class, FromDer};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, DigitallySignedStruct, ProtocolVersion, RootCertStore, ServerConfig,
    SignatureScheme,
};

/// The type of a common name (X.520, 2.5.4.3), as ASN.1 writes it.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Whose certificate a broker must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Anybody's.
    Anybody,
    /// One that this host's own authorities vouch for, with the broker's name in it.
    Host,
    /// One that the authorities in this PEM file vouch for, with the broker's name in it.
    File(PathBuf),
}

/// How a connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// Whom to trust.
    pub trust: Trust,
    /// PEM files of our own certificate and its key.
    pub own: Option<(PathBuf, PathBuf)>,
}

impl Protection {
    /// Reads the files and gets ready to connect.
    ///
    /// # Errors
    /// A sentence that names the PEM file that cannot be used.
    pub fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = self.verifier(&provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|why| why.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &self.own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let wrong = |why| format!("{} cannot be used: {why}", certificate.display());
                builder
                    .with_client_auth_cert(chain, private_key(key)?)
                    .map_err(wrong)?
            }
        };
        Ok(Arc::new(config))
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, String> {
        let file = match &self.trust {
            Trust::Anybody => return Ok(Arc::new(TrustAnybody(Arc::clone(provider)))),
            Trust::Host => {
                let host = rustls_platform_verifier::Verifier::new(Arc::clone(provider));
                return match host {
                    Ok(verifier) => Ok(Arc::new(verifier)),
                    Err(why) => Err(format!("this host's authorities cannot be used: {why}")),
                };
            }
            Trust::File(file) => file,
        };
        let roots = Arc::new(roots(file)?);
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
            .build()
            .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
            .map_err(|why| format!("{} cannot be used: {why}", file.display()))
    }
}

/// The name that a broker's certificate must carry: a host name or an address.
///
/// # Errors
/// A sentence: it is neither.
pub fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` is no host name"))
}

/// A version as OpenSSL and Python write it: `TLSv1.3`.
pub fn version_text(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    }
}

/// What a server speaks TLS with; with `authorities`, clients may show a certificate that these
/// vouch for.
///
/// # Errors
/// A sentence that names the PEM file that cannot be used.
pub fn server_config(
    certificate: &Path,
    key: &Path,
    authorities: Option<&Path>,
) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = match authorities {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(file) => {
            let roots = Arc::new(roots(file)?);
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|why| format!("{} cannot be used: {why}", file.display()))?
        }
    };
    let wrong = |why| format!("{} cannot be used: {why}", certificate.display());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(certificate)?, private_key(key)?)
        .map(Arc::new)
        .map_err(wrong)
}

/// The common name of a certificate's subject; `None` if it has none that is text.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    // Certificate, TBSCertificate (RFC 5280, 4.1); a version comes first only if it is not 1.
    let (_, whole) = Any::from_der(certificate.as_ref()).ok()?;
    let (_, inner) = Any::from_der(whole.data).ok()?;
    let mut fields = elements(inner.data);
    fields.retain(|field| field.class() == Class::Universal);
    // serial, signature, issuer, validity, subject
    let subject = fields.get(4)?;
    let names = elements(subject.data)
        .into_iter()
        .flat_map(|set| elements(set.data));
    let parts = names.map(|pair| elements(pair.data));
    let named = |pair: &Vec<Any<'_>>| pair.first().is_some_and(|name| name.data == COMMON_NAME);
    let text = parts.filter(named).find_map(|pair| {
        let text = pair.get(1)?.data;
        String::from_utf8(text.to_vec()).ok()
    });
    text.filter(|name| !name.is_empty())
}

/// What stands one after another in an ASN.1 value.
fn elements(mut bytes: &[u8]) -> Vec<Any<'_>> {
    let mut found = Vec::new();
    while let Ok((rest, element)) = Any::from_der(bytes) {
        found.push(element);
        bytes = rest;
    }
    found
}

fn roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|why| format!("{} cannot be used: {why}", file.display()))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = file.display();
    let pem = std::fs::read(file).map_err(|why| format!("cannot read {name}: {why}"))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{name} holds no certificate in PEM form")),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let name = file.display();
    let pem = std::fs::read(file).map_err(|why| format!("cannot read {name}: {why}"))?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| format!("{name} holds no private key in PEM form"))
}

/// Takes any certificate, as Kompira's senders do unless told to verify.
#[derive(Debug)]
struct TrustAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
