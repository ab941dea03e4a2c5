//! Digests, by the names that Envoy knows.

use rsa::Pkcs1v15Sign;
use sha1::Sha1;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

use super::SignatureError;

/// A digest of a text, and which function made it.
pub(super) struct Digest {
    pub(super) bytes: Vec<u8>,
    /// How RSA names the function within a signature.
    pub(super) padding: Pkcs1v15Sign,
}

impl Digest {
    /// The digest by the function of this name, in any case.
    pub(super) fn of(function: &str, text: &[u8]) -> Result<Self, SignatureError> {
        Ok(match &*function.to_ascii_lowercase() {
            "sha1" => Self { bytes: Sha1::digest(text).to_vec(), padding: Pkcs1v15Sign::new::<Sha1>() },
            "sha224" => Self { bytes: Sha224::digest(text).to_vec(), padding: Pkcs1v15Sign::new::<Sha224>() },
            "sha256" => Self { bytes: Sha256::digest(text).to_vec(), padding: Pkcs1v15Sign::new::<Sha256>() },
            "sha384" => Self { bytes: Sha384::digest(text).to_vec(), padding: Pkcs1v15Sign::new::<Sha384>() },
            "sha512" => Self { bytes: Sha512::digest(text).to_vec(), padding: Pkcs1v15Sign::new::<Sha512>() },
            other => return Err(SignatureError::Hash(other.chars().take(32).collect())),
        })
    }

    /// The digest as a number of at least `len` bytes: ECDSA reads a shorter one so.
    pub(super) fn padded(&self, len: usize) -> Vec<u8> {
        let zeros = len.saturating_sub(self.bytes.len());
        [vec![0; zeros], self.bytes.clone()].concat()
    }
}
