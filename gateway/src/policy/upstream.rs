//! Upstreams: named groups of endpoints that requests are sent to.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// A named group of endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// Its name in the policy.
    pub name: Arc<str>,
    /// What they speak. Default HTTP/1.1.
    pub protocol: Protocol,
    /// At least one.
    pub endpoints: Vec<Endpoint>,
    /// TCP connect. Beyond: the next endpoint is tried, at last 504. Default 2 s.
    pub connect_timeout: Duration,
    /// From the request sent to the response headers. Beyond: 504. Default 60 s.
    pub response_timeout: Duration,
    /// Idle pooled connections are closed after this. Default 60 s.
    pub idle_timeout: Duration,
    /// Idle connections kept per worker and endpoint. Default 64.
    pub idle_connections_max: NonZeroU32,
    /// How long an endpoint that refused a connection is skipped. Default 5 s.
    pub refused_pause: Duration,
    /// Whether the client's Host is passed on (default) or the endpoint's own is set.
    pub host: HostHeader,
}

/// What an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 in the clear, by prior knowledge.
    Http2,
}

/// One address of an upstream: an IP address or a DNS name with a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Host name or IP address, without brackets.
    pub host: Arc<str>,
    /// TCP port, never 0.
    pub port: u16,
}

/// Which Host header the upstream sees.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostHeader {
    /// The client's, unchanged.
    Client,
    /// The endpoint's `host:port`.
    Endpoint,
    /// This one.
    Fixed(Arc<str>),
}
