//! How a gRPC call ended: its status, from whatever told it.

use std::borrow::Cow;
use std::error::Error;

use h2::Reason;
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode;

use super::super::Outcome;
use super::frame::FrameError;
use crate::upstream::SendError;

/// The codes that this side gives.
pub(super) mod code {
    pub(in super::super) const OK: u32 = 0;
    pub(in super::super) const CANCELLED: u32 = 1;
    pub(in super::super) const UNKNOWN: u32 = 2;
    pub(in super::super) const DEADLINE_EXCEEDED: u32 = 4;
    pub(in super::super) const PERMISSION_DENIED: u32 = 7;
    pub(in super::super) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(in super::super) const UNIMPLEMENTED: u32 = 12;
    pub(in super::super) const INTERNAL: u32 = 13;
    pub(in super::super) const UNAVAILABLE: u32 = 14;
    pub(in super::super) const UNAUTHENTICATED: u32 = 16;
}

/// A status: the server's, or what this side makes of how the call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::filter::wasm) struct GrpcStatus {
    /// 0 is success; servers may send numbers that gRPC does not name.
    pub(super) code: u32,
    /// In UTF-8, for the Rust SDK takes nothing else.
    pub(super) message: Cow<'static, str>,
    /// How the call ended, for metrics.
    pub(super) outcome: Outcome,
}

impl GrpcStatus {
    pub(super) const fn new(outcome: Outcome, code: u32, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message), outcome }
    }

    /// What a server says in its trailers, or in the headers of an answer that has nothing else. A
    /// number that is none is UNKNOWN.
    pub(super) fn told(fields: &HeaderMap) -> Option<Self> {
        let status = fields.get("grpc-status")?;
        let code = status.to_str().ok().and_then(|status| status.parse().ok()).unwrap_or(code::UNKNOWN);
        let message = fields
            .get("grpc-message")
            .map(|message| percent_decode(message.as_bytes()).decode_utf8_lossy().into_owned());
        let message = message.unwrap_or_default().into();
        Some(Self { code, message, outcome: Outcome::Answered })
    }

    /// Of an answer that is not gRPC's, by gRPC's table.
    pub(super) fn of_http(status: StatusCode) -> Self {
        let code = match status.as_u16() {
            400 => code::INTERNAL,
            401 => code::UNAUTHENTICATED,
            403 => code::PERMISSION_DENIED,
            404 => code::UNIMPLEMENTED,
            429 | 502 | 503 | 504 => code::UNAVAILABLE,
            _ => code::UNKNOWN,
        };
        let message = format!("the server answered with HTTP status {}", status.as_u16()).into();
        Self { code, message, outcome: Outcome::Answered }
    }

    /// Of a call that got no answer.
    pub(super) fn of_failure(error: &SendError) -> Self {
        tracing::debug!(%error, "a gRPC call of a filter failed");
        match error {
            SendError::Dns { .. } | SendError::Connect { .. } | SendError::ConnectTimeout { .. } => {
                Self::new(Outcome::Connect, code::UNAVAILABLE, "no connection to the server")
            }
            SendError::Closed { .. } => {
                Self::new(Outcome::Reset, code::UNAVAILABLE, "the connection was closed")
            }
            SendError::Protocol { .. } => {
                Self::new(Outcome::Reset, code::UNAVAILABLE, "the server does not speak HTTP/2")
            }
            SendError::Reset { reason, .. } => Self::of_reset(Reason::from(*reason)),
            SendError::ResponseTimeout { .. } => Self::timeout(),
            SendError::RequestBody { .. } => {
                Self::new(Outcome::Reset, code::CANCELLED, "the call was given up")
            }
        }
    }

    /// Of an answer that broke off.
    pub(super) fn of_break(error: &hyper::Error) -> Self {
        tracing::debug!(%error, "the answer to a gRPC call of a filter broke off");
        let cause = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
        match cause.filter(|cause| cause.is_reset() && cause.is_remote()).and_then(h2::Error::reason) {
            Some(reason) => Self::of_reset(reason),
            None => Self::new(Outcome::Reset, code::UNAVAILABLE, "the connection was closed"),
        }
    }

    /// Of a stream that the server reset, by gRPC's table.
    fn of_reset(reason: Reason) -> Self {
        let code = match reason {
            Reason::REFUSED_STREAM => code::UNAVAILABLE,
            Reason::CANCEL => code::CANCELLED,
            Reason::ENHANCE_YOUR_CALM => code::RESOURCE_EXHAUSTED,
            Reason::INADEQUATE_SECURITY => code::PERMISSION_DENIED,
            _ => code::INTERNAL,
        };
        Self::new(Outcome::Reset, code, "the server reset the stream")
    }

    pub(super) const fn timeout() -> Self {
        Self::new(Outcome::Timeout, code::DEADLINE_EXCEEDED, "no answer in time")
    }
}

impl From<FrameError> for GrpcStatus {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLarge => {
                Self::new(Outcome::TooLarge, code::RESOURCE_EXHAUSTED, "the message is too large")
            }
            FrameError::Compressed => Self::new(Outcome::Reset, code::INTERNAL, "the message is compressed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(fields: &[(&'static str, &'static str)]) -> Option<(u32, String)> {
        let fields =
            fields.iter().map(|(name, value)| (name.parse().unwrap(), http::HeaderValue::from_static(value)));
        GrpcStatus::told(&fields.collect()).map(|status| (status.code, status.message.into_owned()))
    }

    #[test]
    fn what_servers_tell() {
        assert_eq!(told(&[("grpc-message", "alone")]), None);
        assert_eq!(told(&[("grpc-status", "0")]), Some((0, String::new())));
        let message = ("grpc-message", "not%20here%3A %e2%82%AC %zz %ff");
        assert_eq!(
            told(&[("grpc-status", "5"), message]),
            Some((5, "not here: \u{20ac} %zz \u{fffd}".to_owned()))
        );
        assert_eq!(told(&[("grpc-status", "99")]), Some((99, String::new())));
        for nonsense in ["", "x", "-1", "99999999999"] {
            assert_eq!(told(&[("grpc-status", nonsense)]), Some((2, String::new())), "{nonsense}");
        }
    }

    #[test]
    fn what_http_tells() {
        for (status, code) in
            [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (503, 14), (500, 2), (200, 2)]
        {
            assert_eq!(GrpcStatus::of_http(StatusCode::from_u16(status).unwrap()).code, code, "{status}");
        }
    }
}
