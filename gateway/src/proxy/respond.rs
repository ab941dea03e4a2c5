//! Errors to HTTP answers: the one place, exhaustive.
//!
//! The client gets a short fixed text and the request's id; the log gets the cause.

use http::StatusCode;

use super::error::ProxyError;
use crate::filter::{FilterError, Reply};
use crate::http::framing::FramingError;
use crate::http::hop::HopError;
use crate::http::request_id::X_REQUEST_ID;
use crate::upstream::SendError;

/// The word for a stream that a filter closed.
pub(super) const FILTER_CLOSED: &str = "filter_closed";

/// How a failed request ends.
pub(super) struct Failure {
    /// The answer; `None`: the connection is cut.
    pub(super) status: Option<StatusCode>,
    /// The word for it in the access log.
    pub(super) word: &'static str,
}

impl Failure {
    fn answer(status: StatusCode, word: &'static str) -> Self {
        Self { status: Some(status), word }
    }
}

/// What becomes of an error.
pub(super) fn failure(error: &ProxyError) -> Failure {
    use StatusCode as S;
    match error {
        ProxyError::Framing(FramingError::TransferCoding) => {
            Failure::answer(S::NOT_IMPLEMENTED, "transfer_coding")
        }
        ProxyError::Framing(FramingError::Connect) => Failure::answer(S::NOT_IMPLEMENTED, "connect_method"),
        ProxyError::Host(_) => Failure::answer(S::BAD_REQUEST, "bad_host"),
        ProxyError::Path(_) => Failure::answer(S::BAD_REQUEST, "bad_path"),
        ProxyError::Hop(HopError::Expectation) => {
            Failure::answer(S::EXPECTATION_FAILED, "unknown_expectation")
        }
        ProxyError::Hop(HopError::ConnectionOptions) => {
            Failure::answer(S::BAD_REQUEST, "bad_connection_options")
        }
        ProxyError::BodyTooLarge { .. } => Failure::answer(S::PAYLOAD_TOO_LARGE, "body_too_large"),
        ProxyError::ResponseTooLarge { .. } => Failure::answer(S::BAD_GATEWAY, "response_too_large"),
        ProxyError::ClientBody => Failure::answer(S::BAD_REQUEST, "client_body"),
        ProxyError::NoRoute => Failure::answer(S::NOT_FOUND, "no_route"),
        ProxyError::Filter(FilterError::Failed { .. }) => {
            Failure::answer(S::SERVICE_UNAVAILABLE, "filter_failed")
        }
        ProxyError::Filter(FilterError::Closed { .. }) => Failure { status: None, word: FILTER_CLOSED },
        ProxyError::Upstream(error) => upstream(error),
        ProxyError::BadResponse(_) => Failure::answer(S::BAD_GATEWAY, "bad_response"),
        ProxyError::TotalTimeout => Failure::answer(S::GATEWAY_TIMEOUT, "total_timeout"),
    }
}

fn upstream(error: &SendError) -> Failure {
    use StatusCode as S;
    match error {
        SendError::Dns { .. } => Failure::answer(S::BAD_GATEWAY, "upstream_dns"),
        SendError::Connect { .. } => Failure::answer(S::BAD_GATEWAY, "upstream_connect"),
        SendError::ConnectTimeout { .. } => Failure::answer(S::GATEWAY_TIMEOUT, "upstream_connect_timeout"),
        SendError::ResponseTimeout { .. } => Failure::answer(S::GATEWAY_TIMEOUT, "upstream_timeout"),
        SendError::Closed { .. } => Failure::answer(S::BAD_GATEWAY, "upstream_closed"),
        SendError::Reset { .. } => Failure::answer(S::BAD_GATEWAY, "upstream_reset"),
        SendError::Protocol { .. } => Failure::answer(S::BAD_GATEWAY, "upstream_protocol"),
        SendError::RequestBody { .. } => Failure::answer(S::BAD_REQUEST, "client_body"),
    }
}

/// The answer with this status.
pub(super) fn reply(status: StatusCode, request_id: &http::HeaderValue) -> Reply {
    let text = match status {
        StatusCode::BAD_REQUEST => "Bad request.\n",
        StatusCode::NOT_FOUND => "Not found.\n",
        StatusCode::PAYLOAD_TOO_LARGE => "Request body too large.\n",
        StatusCode::EXPECTATION_FAILED => "Expectation failed.\n",
        StatusCode::NOT_IMPLEMENTED => "Not implemented.\n",
        StatusCode::BAD_GATEWAY => "Bad gateway.\n",
        StatusCode::SERVICE_UNAVAILABLE => "Refused by policy.\n",
        StatusCode::GATEWAY_TIMEOUT => "Gateway timeout.\n",
        _ => "Error.\n",
    };
    let mut reply = Reply::text(status, text, "");
    reply.headers.insert(X_REQUEST_ID, request_id.clone());
    reply
}
