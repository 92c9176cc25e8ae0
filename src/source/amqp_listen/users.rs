//! Who may send to the door: users with passwords, and certificates.

use std::net::IpAddr;

use crate::secret::Secret;

/// The account that brokers have for their own host; counts only from loopback, if there are no
/// others.
const GUEST: &str = "guest";
/// Longest answer to a login that is looked at, in bytes.
const RESPONSE_BYTES_MAX: usize = 4_096;

/// One account.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Its name; a certificate's common name logs in as it.
    pub name: String,
    /// Its password; without one only a certificate logs in.
    pub password: Option<Secret>,
}

/// All accounts of a door.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Users(Vec<User>);

/// Who is at the other end, as far as the connection tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// The common name in its certificate, which one of our authorities vouches for.
    pub certificate: Option<String>,
}

impl Users {
    /// These; without any, `guest` from loopback.
    pub fn new(users: Vec<User>) -> Users {
        Users(users)
    }

    /// The mechanisms that are offered to `peer`.
    pub fn mechanisms(peer: &Peer) -> &'static str {
        match peer.certificate {
            Some(_) => "EXTERNAL PLAIN",
            None => "PLAIN",
        }
    }

    /// The name of who logs in; `None` if nobody does. It takes the same time for a wrong password
    /// whatever of it is right.
    pub fn log_in(&self, mechanism: &str, response: &[u8], peer: &Peer) -> Option<String> {
        match mechanism {
            "PLAIN" if response.len() <= RESPONSE_BYTES_MAX => self.plain(response, peer),
            "EXTERNAL" => self.external(peer),
            _ => None,
        }
    }

    /// SASL PLAIN (RFC 4616): an identity to act as, a user and a password, with NUL before the last
    /// two.
    fn plain(&self, response: &[u8], peer: &Peer) -> Option<String> {
        let text = std::str::from_utf8(response).ok()?;
        let mut parts = text.split('\0');
        let (_, name, password) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let given = Secret::new(password.to_owned());
        if self.0.is_empty() {
            let is_guest = name == GUEST && given == Secret::new(GUEST.to_owned());
            let is_here = peer.address.to_canonical().is_loopback();
            return (is_guest && is_here).then(|| name.to_owned());
        }
        let user = self.0.iter().find(|user| user.name == name)?;
        (user.password.as_ref()? == &given).then(|| name.to_owned())
    }

    fn external(&self, peer: &Peer) -> Option<String> {
        let name = peer.certificate.clone()?;
        let is_known = self.0.is_empty() || self.0.iter().any(|user| user.name == name);
        is_known.then_some(name)
    }
}
