//! Request ids: `x-request-id`, 128 bits as 32 lower-case hexadecimal digits.
//!
//! One generator per worker, without lock or system call: the upper 64 bits are random per
//! generator, the lower 64 bits count on from a random start. Ids are unique for all practical
//! purposes and are not secrets.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The field's name.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest inbound id that is taken over, in bytes.
const INBOUND_BYTES_MAX: usize = 128;

/// A worker's source of ids.
#[derive(Debug)]
pub struct RequestIds {
    high: u64,
    low: Cell<u64>,
}

/// A new id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 32]);

impl RequestIds {
    /// A source with its own random start.
    #[must_use]
    pub fn new() -> Self {
        let random = |salt: u8| RandomState::new().hash_one(salt);
        Self { high: random(0), low: Cell::new(random(1)) }
    }

    /// The next id.
    pub fn next_id(&self) -> RequestId {
        let low = self.low.get();
        self.low.set(low.wrapping_add(1));
        let mut text = [0; 32];
        write_hex(&mut text[..16], self.high);
        write_hex(&mut text[16..], low);
        RequestId(text)
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // `write_hex` writes nothing but ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<RequestId> for HeaderValue {
    fn from(id: RequestId) -> Self {
        // Hexadecimal digits are valid in a field value.
        HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&id.0)).unwrap_or(HeaderValue::from_static(""))
    }
}

/// The id that came with a request, if it is one that may be logged and forwarded: 1 to 128
/// letters, digits or `-_.:/+=`. Ask for it only if the peer is a trusted proxy.
#[must_use]
pub fn inbound(headers: &HeaderMap) -> Option<&HeaderValue> {
    let value = headers.get(&X_REQUEST_ID)?;
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    let bytes = value.as_bytes();
    (!bytes.is_empty() && bytes.len() <= INBOUND_BYTES_MAX && bytes.iter().all(allowed)).then_some(value)
}

fn write_hex(out: &mut [u8], value: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (out, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(value.to_be_bytes()) {
        *out = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_hexadecimal() {
        let ids = RequestIds { high: 0x0123_4567_89ab_cdef, low: Cell::new(u64::MAX) };
        assert_eq!(ids.next_id().as_str(), "0123456789abcdefffffffffffffffff");
        assert_eq!(ids.next_id().as_str(), "0123456789abcdef0000000000000000");
        assert_eq!(HeaderValue::from(ids.next_id()), "0123456789abcdef0000000000000001");
        assert_ne!(RequestIds::new().next_id(), RequestIds::new().next_id());
    }

    #[test]
    fn only_harmless_inbound_ids_are_taken() {
        let long = "a".repeat(129);
        for (value, taken) in
            [("f81d4fae-7dec", true), ("", false), ("a b", false), ("a\"b", false), (&long, false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_str(value).unwrap());
            assert_eq!(inbound(&headers).is_some(), taken, "{value}");
        }
        assert!(inbound(&HeaderMap::new()).is_none());
    }
}
