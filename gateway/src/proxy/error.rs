//! Why a request got no answer from its upstream or its filters.

use crate::filter::FilterError;
use crate::http::framing::FramingError;
use crate::http::hop::HopError;
use crate::http::host::HostError;
use crate::http::path::PathError;
use crate::upstream::SendError;

/// Everything that can go wrong with a request. `respond` maps each to its answer.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The client's framing or method.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// The client's authority.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The client's path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The client's hop-by-hop fields.
    #[error(transparent)]
    Hop(#[from] HopError),
    /// The request body is too large.
    #[error("the request body exceeds {max} bytes")]
    BodyTooLarge {
        /// `limits.body_bytes`, or what a filter may be shown or hold back.
        max: u64,
    },
    /// A filter holds back more of the response than it may.
    #[error("a filter holds back more than {max} bytes of the response")]
    ResponseTooLarge {
        /// What a filter may be shown or hold back.
        max: usize,
    },
    /// The client's body ended early or was malformed.
    #[error("the request body failed")]
    ClientBody,
    /// No route takes the request.
    #[error("no route matches")]
    NoRoute,
    /// A filter failed or closed the stream.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The upstream did not answer.
    #[error(transparent)]
    Upstream(#[from] SendError),
    /// The upstream's answer cannot be passed on.
    #[error("the upstream's response is malformed: {0}")]
    BadResponse(&'static str),
    /// `limits.total_timeout` has passed.
    #[error("the request took too long")]
    TotalTimeout,
}

/// The connection is to be cut without an answer.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection is cut")]
pub struct Abort;
