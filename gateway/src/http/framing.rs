//! Message framing that a proxy must not pass on: RFC 9112 §6 and §11.2.
//!
//! hyper parses heads and bodies; `framing/tests.rs` holds, against a real hyper server and
//! client, what it refuses by itself (400 and a closed connection): differing or malformed
//! Content-Length, Transfer-Encoding whose last coding is not `chunked` or on HTTP/1.0, bare CR,
//! folded lines, white space in or after a field name, malformed chunk sizes.
//!
//! It repairs two things silently, both as the RFC allows: equal Content-Length fields become one,
//! and Content-Length beside `Transfer-Encoding: chunked` is removed and the connection closed
//! after the answer (§6.1). The upstream never sees either, since every forwarded message gets
//! fresh framing.
//!
//! What is left is here: codings under `chunked`, methods that have no meaning at a gateway, and
//! responses with two framings.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method};

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Transfer-Encoding is more than one `chunked`: nobody undoes the other codings. Answer: 501
    /// (RFC 9112 §6.1).
    #[error("transfer coding other than chunked")]
    TransferCoding,
    /// CONNECT asks for a tunnel, which a gateway does not make. Answer: 501.
    #[error("CONNECT is not supported")]
    Connect,
}

/// Checks a request before its hop-by-hop fields are taken off.
///
/// # Errors
/// [`FramingError`].
pub fn check_request(method: &Method, headers: &HeaderMap) -> Result<(), FramingError> {
    if method == Method::CONNECT {
        return Err(FramingError::Connect);
    }
    check_transfer_encoding(headers)
}

/// Removes what a response must not carry on: Content-Length beside Transfer-Encoding, which the
/// latter overrides (RFC 9112 §6.3). To be called before Transfer-Encoding is taken off, else the
/// client would get the decoded body under a length that the upstream made up.
///
/// # Errors
/// [`FramingError::TransferCoding`]: the answer is 502, as the body's codings cannot be undone.
pub fn repair_response(headers: &mut HeaderMap) -> Result<(), FramingError> {
    if headers.contains_key(TRANSFER_ENCODING) {
        check_transfer_encoding(headers)?;
        headers.remove(CONTENT_LENGTH);
    }
    Ok(())
}

fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), FramingError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(FramingError::TransferCoding),
    }
}

#[cfg(test)]
mod tests;
