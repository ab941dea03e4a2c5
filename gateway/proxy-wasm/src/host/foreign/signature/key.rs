//! Keys, and what they are good for.
//!
//! RSA signs with blinding, which keeps the key from showing in the time it takes.

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey};
use rsa::rand_core::OsRng;
use rsa::{RsaPrivateKey, RsaPublicKey};

use super::SignatureError;
use super::hash::Digest;

/// A key in DER or PEM; one of RSA with 4096 bits has 2.4 KB in DER.
const KEY_BYTES_MAX: usize = 8 << 10;
/// Bytes of an RSA modulus.
const RSA_BYTES_MAX: usize = 512;
/// Bytes of a number of each curve.
const P256_BYTES: usize = 32;
const P384_BYTES: usize = 48;

/// A key that checks signatures.
pub(super) enum PublicKey {
    Rsa(RsaPublicKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
}

impl PublicKey {
    /// A SubjectPublicKeyInfo (RFC 5280).
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        if der.len() > KEY_BYTES_MAX {
            return None;
        }
        let rsa = RsaPublicKey::from_public_key_der(der).map(Self::Rsa);
        rsa.or_else(|_| p256::ecdsa::VerifyingKey::from_public_key_der(der).map(Self::P256))
            .or_else(|_| p384::ecdsa::VerifyingKey::from_public_key_der(der).map(Self::P384))
            .ok()
    }

    /// The same as `PUBLIC KEY` in PEM.
    pub(super) fn from_pem(pem: &str) -> Option<Self> {
        if pem.len() > KEY_BYTES_MAX {
            return None;
        }
        let rsa = RsaPublicKey::from_public_key_pem(pem).map(Self::Rsa);
        rsa.or_else(|_| p256::ecdsa::VerifyingKey::from_public_key_pem(pem).map(Self::P256))
            .or_else(|_| p384::ecdsa::VerifyingKey::from_public_key_pem(pem).map(Self::P384))
            .ok()
    }

    pub(super) fn verify(&self, digest: &Digest, signature: &[u8]) -> Result<(), SignatureError> {
        match self {
            Self::Rsa(key) => key.verify(digest.padding.clone(), &digest.bytes, signature).ok(),
            Self::P256(key) => p256::ecdsa::DerSignature::try_from(signature)
                .and_then(p256::ecdsa::Signature::try_from)
                .and_then(|signature| key.verify_prehash(&digest.padded(P256_BYTES), &signature))
                .ok(),
            Self::P384(key) => p384::ecdsa::DerSignature::try_from(signature)
                .and_then(p384::ecdsa::Signature::try_from)
                .and_then(|signature| key.verify_prehash(&digest.padded(P384_BYTES), &signature))
                .ok(),
        }
        .ok_or(SignatureError::Wrong)
    }
}

/// A key that signs.
pub(super) enum PrivateKey {
    Rsa(Box<RsaPrivateKey>),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

impl PrivateKey {
    /// PKCS#8 (RFC 5958).
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        if der.len() > KEY_BYTES_MAX {
            return None;
        }
        let rsa = RsaPrivateKey::from_pkcs8_der(der).map(|key| Self::Rsa(Box::new(key)));
        rsa.or_else(|_| p256::ecdsa::SigningKey::from_pkcs8_der(der).map(Self::P256))
            .or_else(|_| p384::ecdsa::SigningKey::from_pkcs8_der(der).map(Self::P384))
            .ok()
            .filter(Self::is_of_a_fair_size)
    }

    /// `PRIVATE KEY`, or the older `RSA PRIVATE KEY` and `EC PRIVATE KEY`, in PEM.
    pub(super) fn from_pem(pem: &str) -> Option<Self> {
        if pem.len() > KEY_BYTES_MAX {
            return None;
        }
        let rsa = RsaPrivateKey::from_pkcs8_pem(pem).ok().or_else(|| RsaPrivateKey::from_pkcs1_pem(pem).ok());
        rsa.map(|key| Self::Rsa(Box::new(key)))
            .or_else(|| p256::ecdsa::SigningKey::from_pkcs8_pem(pem).ok().map(Self::P256))
            .or_else(|| p384::ecdsa::SigningKey::from_pkcs8_pem(pem).ok().map(Self::P384))
            .or_else(|| p256::SecretKey::from_sec1_pem(pem).ok().map(|key| Self::P256(key.into())))
            .or_else(|| p384::SecretKey::from_sec1_pem(pem).ok().map(|key| Self::P384(key.into())))
            .filter(Self::is_of_a_fair_size)
    }

    /// Signing takes time by the cube of the size.
    fn is_of_a_fair_size(&self) -> bool {
        match self {
            Self::Rsa(key) => rsa::traits::PublicKeyParts::size(&**key) <= RSA_BYTES_MAX,
            Self::P256(_) | Self::P384(_) => true,
        }
    }

    pub(super) fn sign(&self, digest: &Digest) -> Result<Vec<u8>, SignatureError> {
        match self {
            Self::Rsa(key) => key.sign_with_rng(&mut OsRng, digest.padding.clone(), &digest.bytes).ok(),
            Self::P256(key) => {
                let signature: Option<p256::ecdsa::Signature> =
                    key.sign_prehash(&digest.padded(P256_BYTES)).ok();
                signature.map(|signature| signature.to_der().as_bytes().to_vec())
            }
            Self::P384(key) => {
                let signature: Option<p384::ecdsa::Signature> =
                    key.sign_prehash(&digest.padded(P384_BYTES)).ok();
                signature.map(|signature| signature.to_der().as_bytes().to_vec())
            }
        }
        .ok_or(SignatureError::Key)
    }
}
