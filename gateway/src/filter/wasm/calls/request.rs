//! From a guest's call to a request.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRAILER};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use tollgate_proxy_wasm::{CallError, HttpCall, Pair};

use crate::http::hop;
use crate::upstream::WholeBody;

/// The request of a guest, without what concerns one connection and with the framing that its body
/// has.
///
/// # Errors
/// [`CallError::TooLarge`] beyond `bytes_max` of body, [`CallError::Malformed`] for what HTTP does not
/// allow.
pub(in crate::filter::wasm) fn http_request(
    call: &HttpCall<'_>,
    bytes_max: u64,
) -> Result<Request<WholeBody>, CallError> {
    if call.body.len() as u64 > bytes_max {
        return Err(CallError::TooLarge);
    }
    let mut head = Head::default();
    call.headers.iter().try_for_each(|pair| head.add(pair))?;
    let mut headers = head.headers;
    let trailers = fields(call.trailers)?;
    hop::strip_request(&mut headers).map_err(|_| CallError::Malformed)?;
    frame(&mut headers, &trailers, call.body.len())?;
    headers.insert(HOST, head.authority.ok_or(CallError::Malformed)?);
    let mut request = Request::new(WholeBody::new(Bytes::copy_from_slice(call.body), trailers));
    *request.method_mut() = head.method.ok_or(CallError::Malformed)?;
    *request.uri_mut() = head.target.ok_or(CallError::Malformed)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// What the guest's headers say; of a pseudo-header that is there twice, the last counts.
#[derive(Default)]
struct Head {
    method: Option<Method>,
    target: Option<Uri>,
    authority: Option<HeaderValue>,
    headers: HeaderMap,
}

impl Head {
    fn add(&mut self, (name, value): &Pair<'_>) -> Result<(), CallError> {
        match *name {
            b":method" => self.method = Some(method(value)?),
            b":path" => self.target = Some(target(value)?),
            b":authority" => self.authority = Some(authority(value)?),
            // How the upstream is reached is the policy's.
            b":scheme" => {}
            _ if name.first() == Some(&b':') => return Err(CallError::Malformed),
            // The authority says it.
            _ if name.eq_ignore_ascii_case(b"host") => {}
            _ => add_field(&mut self.headers, name, value)?,
        }
        Ok(())
    }
}

/// CONNECT would ask for a tunnel.
fn method(value: &[u8]) -> Result<Method, CallError> {
    let method = Method::from_bytes(value).map_err(|_| CallError::Malformed)?;
    if method == Method::CONNECT { Err(CallError::Malformed) } else { Ok(method) }
}

/// In origin form, or `*`.
fn target(value: &[u8]) -> Result<Uri, CallError> {
    let target = PathAndQuery::try_from(value).map_err(|_| CallError::Malformed)?;
    let is_one = target.as_str().starts_with('/') || target.as_str() == "*";
    if is_one { Ok(Uri::from(target)) } else { Err(CallError::Malformed) }
}

fn authority(value: &[u8]) -> Result<HeaderValue, CallError> {
    if value.is_empty() {
        return Err(CallError::Malformed);
    }
    HeaderValue::from_bytes(value).map_err(|_| CallError::Malformed)
}

fn fields(pairs: &[Pair<'_>]) -> Result<HeaderMap, CallError> {
    let mut fields = HeaderMap::with_capacity(pairs.len());
    pairs.iter().try_for_each(|(name, value)| add_field(&mut fields, name, value))?;
    Ok(fields)
}

pub(super) fn add_field(fields: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), CallError> {
    let name = HeaderName::from_bytes(name).map_err(|_| CallError::Malformed)?;
    let value = HeaderValue::from_bytes(value).map_err(|_| CallError::Malformed)?;
    fields.try_append(name, value).map_err(|_| CallError::TooLarge)?;
    Ok(())
}

/// Says how long the body is, or which trailers follow it.
fn frame(headers: &mut HeaderMap, trailers: &HeaderMap, length: usize) -> Result<(), CallError> {
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRAILER);
    if !trailers.is_empty() {
        let names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        let names = HeaderValue::try_from(names.join(", ")).map_err(|_| CallError::Malformed)?;
        headers.insert(TRAILER, names);
    } else if length > 0 {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [Pair<'static>; 3] = [(b":method", b"POST"), (b":path", b"/a?b=c"), (b":authority", b"h")];

    fn with(more: &[Pair<'_>], body: &[u8]) -> Result<Request<WholeBody>, CallError> {
        let headers = [&PLAIN[..], more].concat();
        http_request(&HttpCall { upstream: b"u", headers: &headers, body, trailers: &[], timeout: None }, 10)
    }

    #[test]
    fn a_request_has_its_own_framing() {
        let more: [Pair<'_>; 5] = [
            (b"X-Any", b"one"),
            (b"content-length", b"99"),
            (b"transfer-encoding", b"chunked"),
            (b"connection", b"close"),
            (b"host", b"other"),
        ];
        let request = with(&more, b"body").unwrap();
        assert_eq!((request.method(), request.uri().to_string()), (&Method::POST, "/a?b=c".to_owned()));
        let mut fields: Vec<_> =
            request.headers().iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        fields.sort_unstable();
        assert_eq!(fields, [("content-length", "4"), ("host", "h"), ("x-any", "one")]);
    }

    #[test]
    fn trailers_are_announced_and_not_measured() {
        let trailers: [Pair<'_>; 1] = [(b"x-sum", b"42")];
        let call =
            HttpCall { upstream: b"u", headers: &PLAIN, body: b"b", trailers: &trailers, timeout: None };
        let request = http_request(&call, 10).unwrap();
        assert_eq!(request.headers().get("trailer").unwrap(), "x-sum");
        assert!(!request.headers().contains_key("content-length"));
    }

    #[test]
    fn what_http_does_not_allow_is_refused() {
        let wrong: [Pair<'_>; 8] = [
            (b":method", b"CONNECT"),
            (b":method", b"GE T"),
            (b":path", b"http://elsewhere/"),
            (b":path", b"no-slash"),
            (b":authority", b""),
            (b":other", b"x"),
            (b"bad name", b"x"),
            (b"x", b"line\r\nx-forged: 1"),
        ];
        for pair in wrong {
            assert_eq!(with(&[pair], b"").unwrap_err(), CallError::Malformed, "{pair:?}");
        }
        assert_eq!(with(&[], &[0; 11]).unwrap_err(), CallError::TooLarge);
    }
}
