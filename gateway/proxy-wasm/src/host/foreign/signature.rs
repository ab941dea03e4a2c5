//! Signatures: RSA (PKCS#1 v1.5, up to 4096 bits) and ECDSA (P-256 and P-384, signatures in DER), over
//! SHA-1, SHA-224, SHA-256, SHA-384 or SHA-512, as Envoy's functions of the same names.
//!
//! A key is given in DER or in PEM, never both. A key that cannot be read is BAD_ARGUMENT; whatever else
//! is wrong is told in the result, as the guest expects it. Private keys are a guest's own: none is kept.

mod hash;
mod key;
#[cfg(test)]
mod tests;

use prost::Message;
use tollgate_wasmedge::Caller;

use super::Outcome;
use crate::abi::status::Status;
use crate::environment::Environment;
use crate::host::State;
use hash::Digest;
use key::{PrivateKey, PublicKey};

/// What a byte to hash costs, in units of about a nanosecond.
const HASH_UNITS: u64 = 4;
const VERIFY_UNITS: u64 = 200_000;
const SIGN_UNITS: u64 = 3_000_000;

/// Envoy's message.
#[derive(Clone, PartialEq, Message)]
struct VerifySignatureArguments {
    #[prost(string, tag = "1")]
    hash_function: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
    #[prost(string, tag = "5")]
    public_key_pem: String,
}

/// Envoy's message.
#[derive(Clone, PartialEq, Message)]
struct VerifySignatureResult {
    #[prost(bool, tag = "1")]
    result: bool,
    #[prost(string, tag = "2")]
    error: String,
}

/// Envoy's message. No `Debug` of it is shown anywhere: it holds a key.
#[derive(Clone, PartialEq, Message)]
struct SignArguments {
    #[prost(string, tag = "1")]
    hash_function: String,
    #[prost(bytes = "vec", tag = "2")]
    private_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    text: Vec<u8>,
    #[prost(string, tag = "4")]
    private_key_pem: String,
}

/// Envoy's message.
#[derive(Clone, PartialEq, Message)]
struct SignResult {
    #[prost(bool, tag = "1")]
    result: bool,
    #[prost(bytes = "vec", tag = "2")]
    signature: Vec<u8>,
    #[prost(string, tag = "3")]
    error: String,
}

/// Why there is no signature, or it is not good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum SignatureError {
    #[error("{0} is not supported")]
    Hash(String),
    #[error("the signature does not fit the text and the key")]
    Wrong,
    #[error("the key cannot sign")]
    Key,
}

/// Checks a signature of a text.
pub(super) fn verify<E: Environment>(caller: &Caller<'_, State<E>>, arguments: &[u8]) -> Outcome {
    let arguments = VerifySignatureArguments::decode(arguments).map_err(|_| Status::BadArgument)?;
    let key = match (&arguments.public_key[..], &arguments.public_key_pem[..]) {
        (der, "") if !der.is_empty() => PublicKey::from_der(der),
        (&[], pem) => PublicKey::from_pem(pem),
        _ => None,
    };
    let key = key.ok_or(Status::BadArgument)?;
    caller.charge(VERIFY_UNITS + arguments.text.len() as u64 * HASH_UNITS);
    let checked = Digest::of(&arguments.hash_function, &arguments.text)
        .and_then(|digest| key.verify(&digest, &arguments.signature));
    let error = checked.err().map_or_else(String::new, |error| error.to_string());
    Ok(VerifySignatureResult { result: error.is_empty(), error }.encode_to_vec())
}

/// Signs a text.
pub(super) fn sign<E: Environment>(caller: &Caller<'_, State<E>>, arguments: &[u8]) -> Outcome {
    let arguments = SignArguments::decode(arguments).map_err(|_| Status::BadArgument)?;
    let key = match (&arguments.private_key[..], &arguments.private_key_pem[..]) {
        (der, "") if !der.is_empty() => PrivateKey::from_der(der),
        (&[], pem) => PrivateKey::from_pem(pem),
        _ => None,
    };
    let key = key.ok_or(Status::BadArgument)?;
    caller.charge(SIGN_UNITS + arguments.text.len() as u64 * HASH_UNITS);
    let signed = Digest::of(&arguments.hash_function, &arguments.text).and_then(|digest| key.sign(&digest));
    let result = match signed {
        Ok(signature) => SignResult { result: true, signature, error: String::new() },
        Err(error) => SignResult { result: false, signature: Vec::new(), error: error.to_string() },
    };
    Ok(result.encode_to_vec())
}
