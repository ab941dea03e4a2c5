//! What a gRPC call brings, one by one, as the guest reads it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tollgate_proxy_wasm::{CallMap, CallReply};

use super::super::Outcome;
use super::status::GrpcStatus;

/// One thing that a call or a stream brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::filter::wasm) enum GrpcReply {
    /// The headers of the answer, without `:status`.
    Initial(HeaderMap),
    /// A message.
    Message(Bytes),
    /// The trailers, the status among them.
    Trailing(HeaderMap),
    /// The end.
    Closed(GrpcStatus),
}

impl GrpcReply {
    /// Its name, for the log.
    pub(in crate::filter::wasm) fn word(&self) -> &'static str {
        match self {
            Self::Initial(_) => "initial metadata",
            Self::Message(_) => "message",
            Self::Trailing(_) => "trailing metadata",
            Self::Closed(_) => "closed",
        }
    }

    /// How the call ended with it, for metrics.
    pub(in crate::filter::wasm) fn outcome(&self) -> Outcome {
        match self {
            Self::Closed(status) => status.outcome,
            Self::Initial(_) | Self::Message(_) | Self::Trailing(_) => Outcome::Answered,
        }
    }

    fn map(&self, map: CallMap) -> Option<&HeaderMap> {
        match (self, map) {
            (Self::Initial(metadata), CallMap::GrpcInitialMetadata)
            | (Self::Trailing(metadata), CallMap::GrpcTrailingMetadata) => Some(metadata),
            _ => None,
        }
    }
}

impl CallReply for GrpcReply {
    fn map_len(&self, map: CallMap) -> usize {
        self.map(map).map_or(0, HeaderMap::len)
    }

    fn map_pairs(&self, map: CallMap, f: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in self.map(map).into_iter().flatten() {
            f(name.as_str().as_bytes(), value.as_bytes());
        }
    }

    fn map_get(&self, map: CallMap, name: &[u8]) -> Option<&[u8]> {
        self.map(map)?.get(std::str::from_utf8(name).ok()?).map(HeaderValue::as_bytes)
    }

    fn body(&self) -> &[u8] {
        match self {
            Self::Message(message) => message,
            Self::Initial(_) | Self::Trailing(_) | Self::Closed(_) => b"",
        }
    }

    fn status(&self) -> (u32, &[u8]) {
        match self {
            Self::Closed(status) => (status.code, status.message.as_bytes()),
            Self::Initial(_) | Self::Message(_) | Self::Trailing(_) => (0, b""),
        }
    }
}
