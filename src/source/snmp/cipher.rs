//! Ciphers of the user-based security model: DES (RFC 3414 §8), AES (RFC 3826), and AES with longer
//! keys as Net-SNMP and most agents have it (draft-blumenthal-aes-usm-04).

use aes::cipher::{Block, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use serde::Deserialize;

use super::keys::Hash;

/// Bytes of a block of DES, and of the salt that a message carries.
pub const SALT_BYTES: usize = 8;

/// A way to encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cipher {
    /// CBC-DES.
    Des,
    /// CFB128-AES-128.
    Aes,
    /// CFB128-AES-192.
    Aes192,
    /// CFB128-AES-256.
    Aes256,
}

/// What one message's encryption depends on beside the key.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    /// The boots of the engine that the message is secured for.
    pub boots: u32,
    /// Its time.
    pub time: u32,
    /// The salt that the message carries.
    pub salt: &'a [u8],
}

impl Occasion<'_> {
    fn aes_vector(&self) -> [u8; 16] {
        let mut vector = [0; 16];
        vector[..4].copy_from_slice(&self.boots.to_be_bytes());
        vector[4..8].copy_from_slice(&self.time.to_be_bytes());
        for (place, byte) in vector[8..].iter_mut().zip(self.salt) {
            *place = *byte;
        }
        vector
    }

    fn des_vector(&self, key: &[u8]) -> Vec<u8> {
        let pairs = key[SALT_BYTES..].iter().zip(self.salt);
        pairs.map(|(key, salt)| key ^ salt).collect()
    }
}

impl Cipher {
    /// Bytes of its key; that of DES is a key and a vector.
    fn key_bytes(self) -> usize {
        match self {
            Cipher::Des | Cipher::Aes => 16,
            Cipher::Aes192 => 24,
            Cipher::Aes256 => 32,
        }
    }

    /// The key out of what `hash` made of the password for one engine, made longer where needed.
    pub fn key(self, hash: Hash, mut local: Vec<u8>) -> Vec<u8> {
        while local.len() < self.key_bytes() {
            let more = hash.hash([local.as_slice()]);
            local.extend(more);
        }
        local.truncate(self.key_bytes());
        local
    }

    /// Decrypts in place; `None` if key, salt or length are not what the cipher needs.
    pub fn decrypt(self, key: &[u8], occasion: Occasion<'_>, data: &mut [u8]) -> Option<()> {
        if occasion.salt.len() != SALT_BYTES || key.len() != self.key_bytes() {
            return None;
        }
        let vector = &occasion.aes_vector();
        match self {
            Cipher::Des => {
                let (key, vector) = (&key[..SALT_BYTES], occasion.des_vector(key));
                let mut mode = cbc::Decryptor::<des::Des>::new_from_slices(key, &vector).ok()?;
                return in_blocks(data, |block| mode.decrypt_block(block));
            }
            Cipher::Aes => cfb_mode::Decryptor::<aes::Aes128>::new_from_slices(key, vector)
                .ok()?
                .decrypt(data),
            Cipher::Aes192 => cfb_mode::Decryptor::<aes::Aes192>::new_from_slices(key, vector)
                .ok()?
                .decrypt(data),
            Cipher::Aes256 => cfb_mode::Decryptor::<aes::Aes256>::new_from_slices(key, vector)
                .ok()?
                .decrypt(data),
        }
        Some(())
    }

    /// Encrypts; `None` if key or salt are not what the cipher needs.
    pub fn encrypt(self, key: &[u8], occasion: Occasion<'_>, mut data: Vec<u8>) -> Option<Vec<u8>> {
        if occasion.salt.len() != SALT_BYTES || key.len() != self.key_bytes() {
            return None;
        }
        let vector = &occasion.aes_vector();
        match self {
            Cipher::Des => {
                // What is inside has its own length, so anything may follow it.
                data.resize(data.len().next_multiple_of(SALT_BYTES), 0);
                let (key, vector) = (&key[..SALT_BYTES], occasion.des_vector(key));
                let mut mode = cbc::Encryptor::<des::Des>::new_from_slices(key, &vector).ok()?;
                in_blocks(&mut data, |block| mode.encrypt_block(block))?;
            }
            Cipher::Aes => cfb_mode::Encryptor::<aes::Aes128>::new_from_slices(key, vector)
                .ok()?
                .encrypt(&mut data),
            Cipher::Aes192 => cfb_mode::Encryptor::<aes::Aes192>::new_from_slices(key, vector)
                .ok()?
                .encrypt(&mut data),
            Cipher::Aes256 => cfb_mode::Encryptor::<aes::Aes256>::new_from_slices(key, vector)
                .ok()?
                .encrypt(&mut data),
        }
        Some(data)
    }
}

/// Does something to one block after the other; `None` if they are not whole.
fn in_blocks(data: &mut [u8], mut change: impl FnMut(&mut Block<des::Des>)) -> Option<()> {
    let mut blocks = data.chunks_exact_mut(SALT_BYTES);
    for bytes in &mut blocks {
        let mut block = Block::<des::Des>::try_from(&*bytes).ok()?;
        change(&mut block);
        bytes.copy_from_slice(&block);
    }
    blocks.into_remainder().is_empty().then_some(())
}
