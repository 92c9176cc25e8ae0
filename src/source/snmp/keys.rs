//! Hashes of the user-based security model: keys out of passwords, and the digests of messages
//! (RFC 3414 §6 and §A.2, RFC 7860).

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

/// How many bytes of the repeated password are hashed (RFC 3414 §A.2.1).
const STRETCHED_BYTES: usize = 1024 * 1024;

/// A way to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// HMAC-MD5-96.
    Md5,
    /// HMAC-SHA-96.
    Sha,
    /// HMAC-128-SHA-224.
    Sha224,
    /// HMAC-192-SHA-256.
    Sha256,
    /// HMAC-256-SHA-384.
    Sha384,
    /// HMAC-384-SHA-512.
    Sha512,
}

impl Hash {
    /// How many bytes of the digest a message carries.
    pub fn digest_bytes(self) -> usize {
        match self {
            Hash::Md5 | Hash::Sha => 12,
            Hash::Sha224 => 16,
            Hash::Sha256 => 24,
            Hash::Sha384 => 32,
            Hash::Sha512 => 48,
        }
    }

    /// The hash of parts one behind the other.
    pub fn hash<'a>(self, parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        match self {
            Hash::Md5 => hash_by::<Md5>(parts),
            Hash::Sha => hash_by::<Sha1>(parts),
            Hash::Sha224 => hash_by::<Sha224>(parts),
            Hash::Sha256 => hash_by::<Sha256>(parts),
            Hash::Sha384 => hash_by::<Sha384>(parts),
            Hash::Sha512 => hash_by::<Sha512>(parts),
        }
    }

    /// The digest of a message that consists of these parts, as long as a message carries it.
    pub fn digest(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let mut digest = match self {
            Hash::Md5 => digest_by::<Hmac<Md5>>(key, parts),
            Hash::Sha => digest_by::<Hmac<Sha1>>(key, parts),
            Hash::Sha224 => digest_by::<Hmac<Sha224>>(key, parts),
            Hash::Sha256 => digest_by::<Hmac<Sha256>>(key, parts),
            Hash::Sha384 => digest_by::<Hmac<Sha384>>(key, parts),
            Hash::Sha512 => digest_by::<Hmac<Sha512>>(key, parts),
        };
        digest.truncate(self.digest_bytes());
        digest
    }

    /// Whether a message that consists of these parts carries the right digest, in a time that
    /// tells nothing about how much of it was right.
    pub fn is_right(self, key: &[u8], parts: &[&[u8]], digest: &[u8]) -> bool {
        self.digest(key, parts).ct_eq(digest).into()
    }

    /// The key of a password, good for every engine once it is made local.
    pub fn stretch(self, password: &str) -> Vec<u8> {
        let bytes = password.as_bytes();
        let whole = STRETCHED_BYTES / bytes.len().max(1);
        let rest = STRETCHED_BYTES % bytes.len().max(1);
        let repeated = std::iter::repeat_n(bytes, whole);
        self.hash(repeated.chain(bytes.get(..rest)))
    }

    /// The key for one engine.
    pub fn localize(self, key: &[u8], engine: &[u8]) -> Vec<u8> {
        self.hash([key, engine, key])
    }
}

fn hash_by<'a, H: Digest>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut hash = H::new();
    parts.into_iter().for_each(|part| hash.update(part));
    hash.finalize().to_vec()
}

fn digest_by<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC takes keys of every length, so there always is one.
    let Ok(mut digest) = M::new_from_slice(key) else {
        return Vec::new();
    };
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into_bytes().to_vec()
}
