//! What a call brought, as the guest reads it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tollgate_proxy_wasm::calls::BROKEN_CONNECTION;
use tollgate_proxy_wasm::{CallMap, CallReply};

/// How a call ended; a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::filter::wasm) enum Outcome {
    /// With a response, whatever its status.
    Answered,
    /// No connection could be made.
    Connect,
    /// The connection ended early, or what came is not HTTP.
    Reset,
    /// The time was up.
    Timeout,
    /// The response is larger than the filter may take.
    TooLarge,
}

impl Outcome {
    /// Its name, for guests, logs and metrics.
    pub(in crate::filter::wasm) fn word(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
        }
    }
}

/// The response to a call, or how the call failed.
pub(in crate::filter::wasm) struct HttpReply {
    outcome: Outcome,
    status: StatusCode,
    /// Empty if the call failed.
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl HttpReply {
    pub(super) fn arrived(status: StatusCode, headers: HeaderMap, body: Bytes, trailers: HeaderMap) -> Self {
        Self { outcome: Outcome::Answered, status, headers, body, trailers }
    }

    pub(super) fn failed(outcome: Outcome) -> Self {
        Self {
            outcome,
            status: StatusCode::BAD_GATEWAY,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            trailers: HeaderMap::new(),
        }
    }

    /// How the call ended.
    pub(in crate::filter::wasm) fn outcome(&self) -> Outcome {
        self.outcome
    }

    fn map(&self, map: CallMap) -> Option<&HeaderMap> {
        match map {
            CallMap::HttpResponseHeaders => Some(&self.headers),
            CallMap::HttpResponseTrailers => Some(&self.trailers),
            CallMap::GrpcInitialMetadata | CallMap::GrpcTrailingMetadata => None,
        }
    }

    /// `:status`, which only the headers of a response have.
    fn pseudo(&self, map: CallMap) -> Option<&[u8]> {
        let has_status = map == CallMap::HttpResponseHeaders && self.outcome == Outcome::Answered;
        has_status.then(|| self.status.as_str().as_bytes())
    }
}

impl CallReply for HttpReply {
    fn map_len(&self, map: CallMap) -> usize {
        usize::from(self.pseudo(map).is_some()) + self.map(map).map_or(0, HeaderMap::len)
    }

    fn map_pairs(&self, map: CallMap, f: &mut dyn FnMut(&[u8], &[u8])) {
        if let Some(status) = self.pseudo(map) {
            f(b":status", status);
        }
        for (name, value) in self.map(map).into_iter().flatten() {
            f(name.as_str().as_bytes(), value.as_bytes());
        }
    }

    fn map_get(&self, map: CallMap, name: &[u8]) -> Option<&[u8]> {
        if name == b":status" {
            return self.pseudo(map);
        }
        self.map(map)?.get(std::str::from_utf8(name).ok()?).map(HeaderValue::as_bytes)
    }

    fn body(&self) -> &[u8] {
        &self.body
    }

    fn status(&self) -> (u32, &[u8]) {
        match self.outcome {
            Outcome::Answered => (0, b""),
            failed => (BROKEN_CONNECTION, failed.word().as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_has_its_status_and_a_failure_has_nothing() {
        let headers = HeaderMap::from_iter([(http::header::SERVER, HeaderValue::from_static("s"))]);
        let reply =
            HttpReply::arrived(StatusCode::CREATED, headers, Bytes::from_static(b"b"), HeaderMap::new());
        let map = CallMap::HttpResponseHeaders;
        assert_eq!((reply.map_len(map), reply.map_get(map, b":status")), (2, Some(&b"201"[..])));
        assert_eq!(reply.map_get(map, b"Server"), Some(&b"s"[..]));
        assert_eq!(reply.map_len(CallMap::HttpResponseTrailers), 0);
        assert_eq!(reply.map_get(CallMap::HttpResponseTrailers, b":status"), None);

        let failed = HttpReply::failed(Outcome::Timeout);
        assert_eq!((failed.map_len(map), failed.map_get(map, b":status")), (0, None));
        assert_eq!(failed.status(), (BROKEN_CONNECTION, &b"timeout"[..]));
    }
}
