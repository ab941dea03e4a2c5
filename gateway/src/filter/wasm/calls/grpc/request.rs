//! From a guest's gRPC call to a request.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use tollgate_proxy_wasm::{CallError, GrpcCall, Pair};

use super::super::request::add_field;
use crate::http::hop;
use crate::upstream::FedBody;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// The largest number that `grpc-timeout` takes.
const TIMEOUT_MAX: u128 = 99_999_999;

/// The request of a call or a stream. `timeout` is told to the server.
///
/// # Errors
/// [`CallError::Malformed`] for what gRPC or HTTP does not allow.
pub(in crate::filter::wasm) fn grpc_request(
    call: &GrpcCall<'_>,
    timeout: Option<Duration>,
    body: FedBody,
) -> Result<Request<FedBody>, CallError> {
    let mut headers = metadata(call.metadata)?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    if let Some(timeout) = timeout {
        headers.insert(GRPC_TIMEOUT, timeout_value(timeout)?);
    }
    if let Some(authority) = call.upstream.authority() {
        headers.insert(HOST, HeaderValue::from_bytes(authority).map_err(|_| CallError::Malformed)?);
    }
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path(call.service, call.method)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// What the guest sends of its own; what concerns the connection is taken out.
fn metadata(pairs: &[Pair<'_>]) -> Result<HeaderMap, CallError> {
    let mut headers = HeaderMap::with_capacity(pairs.len() + 4);
    pairs.iter().try_for_each(|(name, value)| add_field(&mut headers, name, value))?;
    hop::strip_request(&mut headers).map_err(|_| CallError::Malformed)?;
    headers.remove(CONTENT_LENGTH);
    headers.remove(HOST);
    Ok(headers)
}

/// `/service/method`.
fn path(service: &[u8], method: &[u8]) -> Result<Uri, CallError> {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
    if !service.iter().chain(method).all(is_plain) || method.contains(&b'/') {
        return Err(CallError::Malformed);
    }
    let path = [b"/", service, b"/", method].concat();
    PathAndQuery::try_from(path).map(Uri::from).map_err(|_| CallError::Malformed)
}

/// In milliseconds, or in seconds if that makes too many digits.
fn timeout_value(timeout: Duration) -> Result<HeaderValue, CallError> {
    let millis = timeout.as_millis().max(1);
    let value = match millis <= TIMEOUT_MAX {
        true => format!("{millis}m"),
        false => format!("{}S", u128::from(timeout.as_secs()).min(TIMEOUT_MAX)),
    };
    HeaderValue::try_from(value).map_err(|_| CallError::Malformed)
}

#[cfg(test)]
mod tests {
    use tollgate_proxy_wasm::{GrpcKind, GrpcUpstream};

    use super::*;
    use crate::upstream::feed;

    fn request(
        metadata: &[Pair<'_>],
        service: &[u8],
        method: &[u8],
        timeout: Option<Duration>,
    ) -> Result<Request<FedBody>, CallError> {
        let upstream = GrpcUpstream::read(b"u");
        let call = GrpcCall { upstream, service, method, metadata, kind: GrpcKind::Stream };
        grpc_request(&call, timeout, feed(0).1)
    }

    #[test]
    fn a_request_is_grpc_whatever_the_metadata_say() {
        let metadata: [Pair<'_>; 6] = [
            (b"X-Key", b"one"),
            (b"x-key", b"two"),
            (b"content-type", b"text/plain"),
            (b"connection", b"close"),
            (b"host", b"other"),
            (b"content-length", b"9"),
        ];
        let request = request(&metadata, b"a.B", b"Call", Some(Duration::from_millis(1500))).unwrap();
        assert_eq!((request.method(), request.uri().to_string()), (&Method::POST, "/a.B/Call".to_owned()));
        let mut fields: Vec<_> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        fields.sort_unstable();
        let expected = [
            ("content-type", "application/grpc"),
            ("grpc-timeout", "1500m"),
            ("te", "trailers"),
            ("x-key", "one"),
            ("x-key", "two"),
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_grpc_does_not_allow_is_refused() {
        let wrong: [Pair<'_>; 3] = [(b":path", b"/x"), (b"bad name", b"x"), (b"x", b"a\r\nb: c")];
        for pair in wrong {
            assert_eq!(request(&[pair], b"s", b"m", None).unwrap_err(), CallError::Malformed, "{pair:?}");
        }
        for (service, method) in [("s ", "m"), ("s?", "m"), ("s", "m#"), ("s", "a/b"), ("s", "\u{e9}")] {
            let error = request(&[], service.as_bytes(), method.as_bytes(), None).unwrap_err();
            assert_eq!(error, CallError::Malformed, "{service} {method}");
        }
    }

    #[test]
    fn a_timeout_has_at_most_eight_digits() {
        for (millis, value) in
            [(0, "1m"), (99_999_999, "99999999m"), (100_000_000, "100000S"), (u64::MAX, "99999999S")]
        {
            assert_eq!(timeout_value(Duration::from_millis(millis)).unwrap(), value);
        }
    }
}
