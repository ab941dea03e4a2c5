//! Why no response came: what happened, whose fault it is, and whether sending again is safe.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::upstream::Endpoint;

/// An endpoint in messages and logs: `host:port`, an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointName {
    /// Host name or IP address, without brackets.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// Both, as in logs; made once, as every request names its endpoint.
    text: Arc<str>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The endpoint's name could not be resolved and no earlier answer is known.
    #[error("cannot resolve {endpoint}")]
    Dns {
        /// Whose name.
        endpoint: EndpointName,
        /// What the resolver says.
        source: io::Error,
    },
    /// No endpoint took the connection; this is the last one tried.
    #[error("cannot connect to {endpoint}")]
    Connect {
        /// Which endpoint.
        endpoint: EndpointName,
        /// What the system says.
        source: io::Error,
    },
    /// No endpoint took the connection in time; this is the last one tried.
    #[error("no connection to {endpoint} within {after:?}")]
    ConnectTimeout {
        /// Which endpoint.
        endpoint: EndpointName,
        /// `connect_timeout`.
        after: Duration,
    },
    /// The head of the response did not come in time.
    #[error("no response from {endpoint} within {after:?}")]
    ResponseTimeout {
        /// Which endpoint.
        endpoint: EndpointName,
        /// `response_timeout`.
        after: Duration,
    },
    /// The connection ended before the head of the response was complete.
    #[error("{endpoint} closed the connection before it answered")]
    Closed {
        /// Which endpoint.
        endpoint: EndpointName,
        /// How much of the request the endpoint may have seen.
        sent: Sent,
        /// What hyper says.
        source: hyper::Error,
    },
    /// The endpoint reset the stream of this request (HTTP/2).
    #[error("{endpoint} reset the stream, reason {reason}")]
    Reset {
        /// Which endpoint.
        endpoint: EndpointName,
        /// Its error code, as in RFC 9113 §7.
        reason: u32,
        /// What hyper says.
        source: hyper::Error,
    },
    /// What came is not an HTTP response, or not one to this request.
    #[error("{endpoint} answered with something else than HTTP")]
    Protocol {
        /// Which endpoint.
        endpoint: EndpointName,
        /// What hyper says; `None`: a 101 that nobody asked for.
        source: Option<hyper::Error>,
    },
    /// The request body failed. Over HTTP/1.1 the source's source is the body's own error.
    #[error("the request body failed")]
    RequestBody {
        /// hyper's error round the body's.
        source: hyper::Error,
    },
}

/// How much of a request an endpoint may have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Nothing.
    Nothing,
    /// Some or all of it.
    Something,
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The client's (its body failed).
    Client,
    /// The upstream's, or the network's on the way to it.
    Upstream,
}

/// Whether a request that failed may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The upstream has seen nothing of it: yes.
    Safe,
    /// The upstream may have acted on it: only if the method is idempotent.
    IfIdempotent,
    /// No.
    Never,
}

impl SendError {
    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::RequestBody { .. } => Blame::Client,
            Self::Dns { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::ResponseTimeout { .. }
            | Self::Closed { .. }
            | Self::Reset { .. }
            | Self::Protocol { .. } => Blame::Upstream,
        }
    }

    /// Whether the request may be sent again, given its body is still at hand.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Dns { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Closed { sent: Sent::Nothing, .. } => Retry::Safe,
            Self::ResponseTimeout { .. }
            | Self::Reset { .. }
            | Self::Closed { sent: Sent::Something, .. } => Retry::IfIdempotent,
            Self::Protocol { .. } | Self::RequestBody { .. } => Retry::Never,
        }
    }

    /// The endpoint that failed last; `None` if it was the request's body.
    #[must_use]
    pub fn endpoint(&self) -> Option<&EndpointName> {
        match self {
            Self::Dns { endpoint, .. }
            | Self::Connect { endpoint, .. }
            | Self::ConnectTimeout { endpoint, .. }
            | Self::ResponseTimeout { endpoint, .. }
            | Self::Closed { endpoint, .. }
            | Self::Reset { endpoint, .. }
            | Self::Protocol { endpoint, .. } => Some(endpoint),
            Self::RequestBody { .. } => None,
        }
    }

    /// The request body's own error, if that is what failed.
    #[must_use]
    pub fn body_error(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::RequestBody { source } => std::error::Error::source(source),
            _ => None,
        }
    }
}

impl EndpointName {
    /// The endpoint at `port` of `host`.
    #[must_use]
    pub fn new(host: Arc<str>, port: u16) -> Self {
        let text = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        Self { host, port, text: text.into() }
    }

    /// `host:port`, an IPv6 address in brackets.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }
}

impl From<&Endpoint> for EndpointName {
    fn from(endpoint: &Endpoint) -> Self {
        Self::new(Arc::clone(&endpoint.host), endpoint.port)
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
