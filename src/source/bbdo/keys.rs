//! The keys of a `bbdo` block, checked.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::handshake::{Layers, Version};
use super::rules::Rules;
use crate::error::Diagnostic;
use crate::source::Block;
use crate::tls::{self, Identity};

/// The port at which Brokers expect a central one, for those on the same host.
const LISTEN_DEFAULT: &str = "127.0.0.1:5669";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    listen: Option<String>,
    connect: Option<String>,
    version: Option<String>,
    #[serde(default = "yes")]
    compression: bool,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_client_ca: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
    #[serde(default)]
    plaintext: bool,
    #[serde(default)]
    filter: Rules,
}

fn yes() -> bool {
    true
}

/// What a block asks for.
pub(super) struct Wish {
    pub(super) place: Place,
    pub(super) rules: Rules,
    compression: bool,
    tls: Option<Tls>,
}

/// Who begins.
pub(super) enum Place {
    /// Brokers connect to this address.
    Listen(SocketAddr),
    /// A Broker that keeps events for us listens at `host:port` and speaks this version.
    Connect(String, Version),
}

struct Tls {
    /// Certificate and key.
    identity: Option<(PathBuf, PathBuf)>,
    authority: Option<PathBuf>,
}

/// Reads and checks a block.
pub(super) fn read(block: &Block<'_>) -> Result<Wish, Diagnostic> {
    let keys: Keys = block.keys()?;
    Ok(Wish {
        place: place(block, &keys)?,
        compression: keys.compression,
        tls: tls(block, &keys)?,
        rules: keys.filter,
    })
}

fn place(block: &Block<'_>, keys: &Keys) -> Result<Place, Diagnostic> {
    let Some(remote) = &keys.connect else {
        if keys.version.is_some() {
            let why = "`version` goes with `connect`; who connects to us says its own";
            return Err(block.wrong("version", why));
        }
        return address(block, keys).map(Place::Listen);
    };
    if keys.listen.is_some() {
        return Err(block.wrong("connect", "give `listen` or `connect`, not both"));
    }
    let port = remote.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(_))) {
        let why = format!("`connect` is \"{remote}\", which is no host and port");
        return Err(block
            .wrong("connect", why)
            .help("for example central.example:5669"));
    }
    let version = keys
        .version
        .as_deref()
        .map_or(Ok(Version::YOUNGEST), version);
    let version = version.map_err(|why| block.wrong("version", why))?;
    Ok(Place::Connect(remote.clone(), version))
}

fn address(block: &Block<'_>, keys: &Keys) -> Result<SocketAddr, Diagnostic> {
    let listen = keys.listen.as_deref().unwrap_or(LISTEN_DEFAULT);
    let address: SocketAddr = listen.parse().map_err(|_| {
        let why = format!("`listen` is \"{listen}\", which is no address and port");
        block.wrong("listen", why).help("for example [::]:5669")
    })?;
    if address.ip().to_canonical().is_loopback() || keys.plaintext {
        return Ok(address);
    }
    let (why, help) = match (&keys.tls_cert, &keys.tls_client_ca) {
        (None, _) => (
            "others can read along and pretend",
            "`tls_cert` and `tls_key`",
        ),
        (_, None) => ("anybody can pretend to be a broker", "`tls_client_ca`"),
        _ => return Ok(address),
    };
    let wrong = block.wrong("listen", format!("`listen` is {address}, where {why}"));
    Err(wrong.help(format!(
        "set {help}, or `plaintext = true` if the network sees to it"
    )))
}

fn version(text: &str) -> Result<Version, String> {
    let parts: Result<Vec<u16>, _> = text.split('.').map(str::parse).collect();
    match parts.as_deref() {
        Ok([major @ (2 | 3), minor, patch]) => Ok(Version {
            major: *major,
            minor: *minor,
            patch: *patch,
        }),
        _ => Err(format!(
            "`version` is \"{text}\"; it is 2.0.0, 3.0.0 or 3.0.1"
        )),
    }
}

fn tls(block: &Block<'_>, keys: &Keys) -> Result<Option<Tls>, Diagnostic> {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| block.path(path));
    let identity = match (path(&keys.tls_cert), path(&keys.tls_key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return Err(block.wrong("tls_cert", "`tls_cert` needs `tls_key`")),
        (None, Some(_)) => return Err(block.wrong("tls_key", "`tls_key` needs `tls_cert`")),
    };
    let wrong = |key: &str, why: &str| Err(block.wrong(key, why));
    let authority = match (keys.connect.is_some(), &keys.tls_ca, &keys.tls_client_ca) {
        (true, _, Some(_)) => return wrong("tls_client_ca", "`tls_client_ca` goes with `listen`"),
        (false, Some(_), _) => return wrong("tls_ca", "`tls_ca` goes with `connect`"),
        (true, None, _) if identity.is_some() => {
            return wrong("tls_cert", "with `connect` TLS needs `tls_ca`");
        }
        (false, _, Some(_)) if identity.is_none() => {
            return wrong(
                "tls_client_ca",
                "`tls_client_ca` needs `tls_cert` and `tls_key`",
            );
        }
        (_, server, client) => path(server).or_else(|| path(client)),
    };
    let has_tls = identity.is_some() || authority.is_some();
    Ok(has_tls.then_some(Tls {
        identity,
        authority,
    }))
}

impl Wish {
    /// The layers that this side can do, TLS being what it insists on.
    pub(super) fn layers(&self) -> Layers {
        Layers {
            tls: self.tls.is_some(),
            compression: self.compression,
        }
    }

    /// TLS for those who connect to us.
    pub(super) fn acceptor(&self) -> Result<Option<TlsAcceptor>, Diagnostic> {
        let Some(tls) = &self.tls else {
            return Ok(None);
        };
        let identity = tls.identity();
        let accept = |identity| tls::acceptor(identity, tls.authority.as_deref());
        identity.map(accept).transpose()
    }

    /// TLS for when we connect.
    pub(super) fn connector(&self) -> Result<Option<TlsConnector>, Diagnostic> {
        let Some(tls) = &self.tls else {
            return Ok(None);
        };
        let connect = |authority| tls::connector(tls.identity(), authority);
        tls.authority.as_deref().map(connect).transpose()
    }
}

impl Tls {
    fn identity(&self) -> Option<Identity<'_>> {
        let (certificate, key) = self.identity.as_ref()?;
        Some(Identity { certificate, key })
    }
}
