//! The signatures of `fixtures/signatures.txt` were made by OpenSSL 3 with keys that are not kept.

use p256::ecdsa::SigningKey as P256;
use p384::ecdsa::SigningKey as P384;
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::rand_core::OsRng;

use super::SignatureError;
use super::hash::Digest;
use super::key::{PrivateKey, PublicKey};

const TEXT: &[u8] = b"the text";
const HASHES: [&str; 5] = ["sha1", "sha224", "sha256", "sha384", "sha512"];

fn pem(key: &str) -> &'static str {
    match key {
        "rsa" => include_str!("fixtures/rsa.pem"),
        "p256" => include_str!("fixtures/p256.pem"),
        "p384" => include_str!("fixtures/p384.pem"),
        other => panic!("no key {other}"),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// DER of a PEM document.
fn der(pem: &str) -> Vec<u8> {
    let (_, document) = rsa::pkcs8::Document::from_pem(pem).unwrap();
    document.as_bytes().to_vec()
}

#[test]
fn signatures_of_openssl_are_verified() {
    let lines = include_str!("fixtures/signatures.txt").lines();
    let mut count = 0;
    for line in lines {
        let [key_name, hash, signature] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let signature = unhex(signature);
        let digest = Digest::of(hash, TEXT).unwrap();
        let keys = [PublicKey::from_pem(pem(key_name)), PublicKey::from_der(&der(pem(key_name)))];
        for key in keys.map(Option::unwrap) {
            assert_eq!(key.verify(&digest, &signature), Ok(()), "{key_name} {hash}");
            let other = Digest::of(hash, b"another text").unwrap();
            assert_eq!(key.verify(&other, &signature), Err(SignatureError::Wrong), "{key_name} {hash}");
            let mut damaged = signature.clone();
            *damaged.last_mut().unwrap() ^= 1;
            assert_eq!(key.verify(&digest, &damaged), Err(SignatureError::Wrong), "{key_name} {hash}");
            assert_eq!(key.verify(&digest, b""), Err(SignatureError::Wrong));
        }
        count += 1;
    }
    assert_eq!(count, 3 * HASHES.len());
}

#[test]
fn what_is_signed_is_verified() {
    let rsa = RsaPrivateKey::new(&mut OsRng, 1024).unwrap();
    let (p256, p384) = (P256::random(&mut OsRng), P384::random(&mut OsRng));
    let public = [
        rsa.to_public_key().to_public_key_der().unwrap(),
        p256.verifying_key().to_public_key_der().unwrap(),
        p384.verifying_key().to_public_key_der().unwrap(),
    ];
    let private = [
        PrivateKey::from_der(rsa.to_pkcs8_der().unwrap().as_bytes()),
        PrivateKey::from_der(p256.to_pkcs8_der().unwrap().as_bytes()),
        PrivateKey::from_pem(&p384.to_pkcs8_pem(LineEnding::LF).unwrap()),
    ];
    for (public, private) in public.iter().zip(private) {
        let (public, private) = (PublicKey::from_der(public.as_bytes()).unwrap(), private.unwrap());
        for hash in HASHES {
            let digest = Digest::of(&hash.to_uppercase(), TEXT).unwrap();
            let signature = private.sign(&digest).unwrap();
            assert_eq!(public.verify(&digest, &signature), Ok(()), "{hash}");
        }
    }
    let older = [
        rsa.to_pkcs1_pem(LineEnding::LF).unwrap(),
        p256::SecretKey::from(&p256).to_sec1_pem(LineEnding::LF).unwrap(),
        p384::SecretKey::from(&p384).to_sec1_pem(LineEnding::LF).unwrap(),
    ];
    assert!(older.iter().all(|pem| PrivateKey::from_pem(pem).is_some()));
}

#[test]
fn what_is_no_key_is_refused() {
    assert!(PublicKey::from_der(b"no key").is_none());
    assert!(PublicKey::from_pem("-----BEGIN PUBLIC KEY-----\n").is_none());
    assert!(PrivateKey::from_der(&der(pem("rsa"))).is_none(), "a public one");
    assert!(PrivateKey::from_pem(pem("p256")).is_none());
    let error = Digest::of("md5", TEXT).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "md5 is not supported");
}
