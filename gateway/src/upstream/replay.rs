//! Reads a request back from the bytes that were written for it.

use http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::wire::RequestBody;

/// Fields that a request may have to be read back.
const FIELDS_MAX: usize = 256;

/// The request, without a body, that `record` holds: what hyper wrote and `wire` remembered.
/// `None` if it is not complete, which means that the connection broke while it was written, or
/// has more than 256 fields.
pub(super) fn request<B>(record: &[u8]) -> Option<Request<RequestBody<B>>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    if parsed.parse(record).ok()?.is_partial() {
        return None;
    }
    let mut request = Request::new(RequestBody::empty());
    *request.method_mut() = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    *request.uri_mut() = parsed.path?.parse::<Uri>().ok()?;
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let record = b"DELETE /a%20b?q=1 HTTP/1.1\r\nhost: a\r\nx: 1\r\nx: \xff2\r\n\r\n";
        let request: Request<RequestBody<()>> = request(record).unwrap();
        assert_eq!(request.method(), Method::DELETE);
        assert_eq!(request.uri(), "/a%20b?q=1");
        let fields: Vec<_> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(fields, [("host", &b"a"[..]), ("x", b"1"), ("x", b"\xff2")]);
    }

    #[test]
    fn half_a_request_is_none() {
        assert!(request::<()>(b"GET / HTTP/1.1\r\nhost: a\r\n").is_none());
        assert!(request::<()>(b"").is_none());
    }
}
