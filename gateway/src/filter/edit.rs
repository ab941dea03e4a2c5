//! Reading and changing header maps on a guest's behalf: pseudo-headers, and fields that are the
//! gateway's own.
//!
//! The Host field is shown as `:authority` only. Framing and connection fields (`transfer-encoding`,
//! `connection` and the like) are the gateway's: a guest's write of one is dropped, its removal has
//! nothing to remove. `content-length` may be removed or set by whoever changes the body.

use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tollgate_proxy_wasm::MapError;

use super::exchange::{RequestHead, ResponseHead};

/// Fields in a map that a guest fills.
const FIELDS_MAX: usize = 1024;

/// Whether a field says how a message is framed or what its connection does.
pub(super) fn is_framing(name: &HeaderName) -> bool {
    *name == TRANSFER_ENCODING
        || *name == CONNECTION
        || *name == UPGRADE
        || *name == TE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "content-length")
}

/// Whether a guest's write of the field is dropped.
fn is_ours(name: &HeaderName) -> bool {
    is_framing(name) && name.as_str() != "content-length"
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// In place of all values.
    Set,
    /// Beside them.
    Add,
}

/// Writes an ordinary field.
pub(super) fn write_field(
    map: &mut HeaderMap,
    how: Write,
    name: &[u8],
    value: &[u8],
) -> Result<(), MapError> {
    let name = HeaderName::from_bytes(name).map_err(|_| MapError::BadName)?;
    let value = HeaderValue::from_bytes(value).map_err(|_| MapError::BadValue)?;
    if is_ours(&name) {
        tracing::debug!(%name, "a filter's write of a framing field was dropped");
        return Ok(());
    }
    if map.len() >= FIELDS_MAX {
        return Err(MapError::TooLarge);
    }
    let done = match how {
        Write::Set => map.try_insert(name, value).map(|_| ()),
        Write::Add => map.try_append(name, value).map(|_| ()),
    };
    done.map_err(|_| MapError::TooLarge)
}

/// Writes a field or pseudo-header of a request.
pub(super) fn write_request(
    head: &mut RequestHead,
    how: Write,
    name: &[u8],
    value: &[u8],
) -> Result<(), MapError> {
    match name {
        b":method" => head.method = Method::from_bytes(value).map_err(|_| MapError::BadValue)?,
        b":path" => {
            let target = PathAndQuery::try_from(value).map_err(|_| MapError::BadValue)?;
            if !target.as_str().starts_with('/') {
                return Err(MapError::BadValue);
            }
            head.target = target;
        }
        b":authority" | b"host" => {
            let host = HeaderValue::from_bytes(value).map_err(|_| MapError::BadValue)?;
            head.headers.insert(HOST, host);
        }
        // The gateway knows how the client came; a guest's word on it changes nothing.
        b":scheme" => {}
        _ if name.first() == Some(&b':') => return Err(MapError::BadName),
        _ => return write_field(&mut head.headers, how, name, value),
    }
    Ok(())
}

/// Writes a field or pseudo-header of a response.
pub(super) fn write_response(
    head: &mut ResponseHead,
    how: Write,
    name: &[u8],
    value: &[u8],
) -> Result<(), MapError> {
    match name {
        b":status" => {
            let status = StatusCode::from_bytes(value).map_err(|_| MapError::BadValue)?;
            if status.is_informational() {
                return Err(MapError::BadValue);
            }
            head.status = status;
            Ok(())
        }
        _ if name.first() == Some(&b':') => Err(MapError::BadName),
        _ => write_field(&mut head.headers, how, name, value),
    }
}

/// Removes a field; pseudo-headers and the Host field stay.
pub(super) fn remove(map: &mut HeaderMap, name: &[u8]) -> Result<(), MapError> {
    match name {
        b"host" => Ok(()),
        _ if name.first() == Some(&b':') => Err(MapError::BadName),
        _ => {
            let name = HeaderName::from_bytes(name).map_err(|_| MapError::BadName)?;
            map.remove(name);
            Ok(())
        }
    }
}

/// A value by name, without allocating for names of any case.
pub(super) fn field<'a>(map: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    let name = std::str::from_utf8(name).ok()?;
    map.get(name).map(HeaderValue::as_bytes)
}

/// A pseudo-header of a request, by name.
pub(super) fn request_pseudo<'a>(head: &'a RequestHead, name: &[u8]) -> Option<&'a [u8]> {
    Some(match name {
        b":authority" => head.headers.get(HOST).map_or(&b""[..], HeaderValue::as_bytes),
        b":path" => head.target.as_str().as_bytes(),
        b":method" => head.method.as_str().as_bytes(),
        b":scheme" => b"http",
        _ => return None,
    })
}

/// The names of the pseudo-headers of a request, in the order that SDKs expect them.
pub(super) const REQUEST_PSEUDO: [&[u8]; 4] = [b":authority", b":path", b":method", b":scheme"];
