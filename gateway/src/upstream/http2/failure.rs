//! What an error of HTTP/2 means for the request.

use std::error::Error;

use h2::Reason;

use super::super::error::{EndpointName, SendError, Sent};

/// The error of a request that got no response, and whose body is not to blame.
pub(super) fn of(endpoint: &EndpointName, source: hyper::Error) -> SendError {
    let endpoint = endpoint.clone();
    let closed = |sent, source| SendError::Closed { endpoint: endpoint.clone(), sent, source };
    let Some(cause) = source.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        let sent = if source.is_canceled() { Sent::Nothing } else { Sent::Something };
        return closed(sent, source);
    };
    match cause.reason() {
        // Streams that the peer has begun to work on do not end in its GOAWAY.
        _ if cause.is_go_away() && cause.is_remote() => closed(Sent::Nothing, source),
        Some(Reason::REFUSED_STREAM) if cause.is_remote() => closed(Sent::Nothing, source),
        Some(reason) if cause.is_reset() && cause.is_remote() => {
            SendError::Reset { endpoint, reason: reason.into(), source }
        }
        Some(_) if cause.is_library() => SendError::Protocol { endpoint, source: Some(source) },
        _ => closed(Sent::Something, source),
    }
}
