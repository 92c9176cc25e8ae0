//! Which broker, as whom, and how protected: Kompira's rules (facts of sendevt 1.6.11's runs).
//!
//! The broker on the own host is spoken to in the clear as guest, any other over TLS as kompira,
//! unless something says otherwise.

use std::path::{Path, PathBuf};

use super::effective::Effective;
use crate::amqp::tls::{Protection, Trust};
use crate::amqp::{Broker, Login, PORT, Place, TLS_PORT};
use crate::secret::Secret;

/// Where Kompira's installer puts certificates; used if they are there.
const CERTIFICATES: &str = if cfg!(windows) {
    r"C:\Kompira\ssl\certs"
} else {
    "/opt/kompira/ssl/certs"
};
const AUTHORITIES: &str = "kompira-bundle-ca.crt";
const OWN_CERTIFICATE: &str = "amqp-client-kompira.crt";
const OWN_KEY: &str = "amqp-client-kompira.key";
/// The account on the own host, and elsewhere; each is its own password.
const USER_HERE: &str = "guest";
const USER_ELSEWHERE: &str = "kompira";

/// Kompira's one virtual host; there is no option for another.
const VIRTUAL_HOST: &str = "/";

/// Reads a server's name such as `mq.example`, `127.0.0.1`, `mq.example:5671`, `[::1]:5672` or
/// `amqps://mq.example` with the other values in force.
///
/// # Errors
/// A sentence that never repeats the name if it holds a password.
pub fn broker(name: &str, effective: &Effective) -> Result<Broker, String> {
    let place = Place::read(name)?;
    let is_here = place.is_here();
    let is_tls = place.is_tls.or(effective.ssl).unwrap_or(!is_here);
    let usual = if is_tls { TLS_PORT } else { PORT };
    let protection = is_tls.then(|| protection(effective));
    let has_certificate = protection.as_ref().is_some_and(|tls| tls.own.is_some());
    let login = if has_certificate {
        Login::External
    } else {
        plain(effective, is_here)
    };
    Ok(Broker {
        port: place.port.or(effective.port).unwrap_or(usual),
        host: place.host,
        virtual_host: VIRTUAL_HOST.to_owned(),
        protection,
        login,
    })
}

fn plain(effective: &Effective, is_here: bool) -> Login {
    let usual = if is_here { USER_HERE } else { USER_ELSEWHERE };
    let user = effective.user.clone().unwrap_or_else(|| usual.to_owned());
    let password = effective.password.clone();
    Login::Plain {
        password: password.unwrap_or_else(|| Secret::new(user.clone())),
        user,
    }
}

/// Certificates are verified, the name included, only if that is asked for; a certificate of our
/// own that is named is shown in any case.
fn protection(effective: &Effective) -> Protection {
    let verify = effective.ssl_verify;
    let installed = |name: &str| {
        let file = Path::new(CERTIFICATES).join(name);
        (verify && file.is_file()).then_some(file)
    };
    let file = |given: &Option<String>, name: &str| match given {
        Some(given) => Some(PathBuf::from(given)),
        None => installed(name),
    };
    let trust = match (verify, file(&effective.ssl_cacertfile, AUTHORITIES)) {
        (false, _) => Trust::Anybody,
        (true, Some(authorities)) => Trust::File(authorities),
        (true, None) => Trust::Host,
    };
    let certificate = file(&effective.ssl_certfile, OWN_CERTIFICATE);
    let key = file(&effective.ssl_keyfile, OWN_KEY);
    // A certificate without a key is both in one file, as in Python's ssl module.
    let own = certificate.map(|file| (file.clone(), key.unwrap_or(file)));
    Protection { trust, own }
}
