//! An answer that a filter gives instead of the upstream.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tollgate_proxy_wasm::LocalResponse;

use super::edit::is_framing;

/// An answer of a filter's own.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields, none of them framing.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Why, for the log; not sent.
    pub reason: String,
}

impl Reply {
    /// A short text.
    pub fn text(status: StatusCode, body: &'static str, reason: &str) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        Self { status, headers, body: Bytes::from_static(body.as_bytes()), reason: reason.to_owned() }
    }

    /// What a guest asked for. Fields that HTTP does not allow, and framing fields, are left out: the
    /// answer itself, a denial as a rule, must stand.
    pub(super) fn from_guest(response: &LocalResponse<'_>) -> Self {
        let mut headers = HeaderMap::with_capacity(response.headers.len() + 2);
        for (name, value) in response.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
                && !is_framing(&name)
            {
                headers.append(name, value);
            }
        }
        if let Some(status) = response.grpc_status {
            headers.insert("grpc-status", HeaderValue::from(status));
        }
        let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reason = match response.details {
            [] => format!("answered {}", status.as_str()),
            details => String::from_utf8_lossy(details).into_owned(),
        };
        Self { status, headers, body: Bytes::copy_from_slice(response.body), reason }
    }
}
