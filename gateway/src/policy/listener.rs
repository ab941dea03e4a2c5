//! Sockets: where clients and operators connect.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::filter::Filter;
use super::upstream::Upstream;

/// A TCP address where clients connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listener {
    /// Address and port; port 0 lets the system choose (tests).
    pub address: SocketAddr,
    /// What is served there. May change at a reload, for connections that come then.
    pub service: Service,
}

/// What a listener serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Service {
    /// HTTP, by the routes of the policy.
    Http,
    /// Bytes: each connection goes through a chain of network filters to one upstream.
    Tcp(Arc<TcpService>),
}

/// A TCP proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TcpService {
    /// Its name, unique among TCP services; a metric label and log field. Default `tcp-1`, `tcp-2`, … by
    /// the place of its listener in the list.
    pub name: Arc<str>,
    /// Wasm filters, at most 64. The client's bytes meet them in this order, the upstream's in reverse.
    pub filters: Vec<Arc<Filter>>,
    /// Where connections go. Of its settings only the endpoints, `connect_timeout` and `refused_pause`
    /// count here.
    pub upstream: Arc<Upstream>,
    /// A connection on which nothing has moved for so long is closed. `None`: no limit. Default 10 min.
    pub idle_timeout: Option<Duration>,
    /// Connections open at once over all workers, within `limits.connections`. Beyond: closed at accept.
    /// `None`: no limit of its own.
    pub connections_max: Option<NonZeroU32>,
    /// Bytes that a paused filter may hold back in one direction. Beyond: the connection is reset.
    /// Default `limits.buffer_bytes`.
    pub buffer_bytes_max: NonZeroUsize,
}

/// What a listener is known by from one policy to the next: its address, and its number among those of
/// the same address, which only port 0 allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId {
    /// The address as the policy has it.
    pub address: SocketAddr,
    /// From 0.
    pub number: usize,
}

impl ListenerId {
    /// The ids of `listeners`, in their order.
    #[must_use]
    pub fn all(listeners: &[Listener]) -> Vec<Self> {
        let id = |(index, listener): (usize, &Listener)| Self {
            address: listener.address,
            number: listeners[..index].iter().filter(|other| other.address == listener.address).count(),
        };
        listeners.iter().enumerate().map(id).collect()
    }
}

/// Where the admin API listens: at least one of these.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AdminListener {
    /// Address and port. Other than loopback only with `admin.allow_remote: true`.
    pub address: Option<SocketAddr>,
    /// The absolute path of a Unix socket, which the gateway's user alone may connect to.
    pub unix: Option<PathBuf>,
}
