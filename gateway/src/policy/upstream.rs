//! Upstreams: named groups of endpoints that requests are sent to.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// Default of `connect_timeout`.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Default of `response_timeout`.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Default of `idle_timeout`.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Default of `idle_connections`.
pub const IDLE_CONNECTIONS: NonZeroU32 = NonZeroU32::new(64).unwrap();
/// Default of `refused_pause`.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(5);

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
    /// Redis; no route can forward to it, filters call it.
    Redis,
}

impl Upstream {
    /// One endpoint, and the default for everything else. `name` is for logs.
    pub fn of_one(name: &Arc<str>, endpoint: Endpoint) -> Self {
        Self {
            name: Arc::clone(name),
            protocol: Protocol::Http1,
            endpoints: vec![endpoint],
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            idle_connections_max: IDLE_CONNECTIONS,
            refused_pause: REFUSED_PAUSE,
            host: HostHeader::Client,
        }
    }
}

/// One address of an upstream: an IP address or a DNS name with a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Host name or IP address, without brackets.
    pub host: Arc<str>,
    /// TCP port, never 0.
    pub port: u16,
}

/// `host:port`, an IPv6 address in brackets.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
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
