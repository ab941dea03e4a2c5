//! What all workers share of a generation.

use std::collections::HashMap;
use std::sync::Arc;

use tollgate_wasmedge::{Module, OptLevel};

use super::tcp::TcpShared;
use crate::limit::LimiterSet;
use crate::policy::listener::Service;
use crate::policy::{Loaded, Policy};
use crate::route::RouteTable;
use crate::telemetry::metrics::{FilterMetrics, Metrics, RouteMetrics, Sharded, UpstreamMetrics};

/// A module that can be instantiated.
#[derive(Clone)]
pub struct Compiled {
    /// Its code, shared by all workers.
    pub module: Module,
    /// How hard it was compiled; code compiled harder replaces it later.
    pub level: OptLevel,
}

/// Compiled modules, by the SHA-256 of their source.
pub type Modules = HashMap<[u8; 32], Compiled>;

/// What all workers share of a generation.
pub struct Blueprint {
    /// Its number; the first is 1.
    pub number: u64,
    /// SHA-256 over the policy's text and modules.
    pub digest: [u8; 32],
    /// The policy.
    pub policy: Policy,
    /// Its routes, to be found quickly.
    pub table: RouteTable,
    /// Its token buckets.
    pub limiters: LimiterSet,
    /// Its modules.
    pub modules: Modules,
    /// By the index of the route.
    pub(super) routes: Vec<Arc<Sharded<RouteMetrics>>>,
    pub(super) unrouted: Arc<Sharded<RouteMetrics>>,
    /// By the index of the filter.
    pub(super) filters: Vec<Arc<Sharded<FilterMetrics>>>,
    /// By the index of the upstream.
    pub(super) upstreams: Vec<Arc<Sharded<UpstreamMetrics>>>,
    /// By the name of the TCP service.
    pub(super) tcp: HashMap<Arc<str>, TcpShared>,
}

/// The metrics label of requests that no route takes; no policy can name a route so.
const UNROUTED: &str = "-";

impl Blueprint {
    /// Generation `number` of `loaded`; buckets and metrics of `old` that go on are carried over.
    pub fn new(
        number: u64,
        loaded: Loaded,
        modules: Modules,
        old: Option<&Blueprint>,
        metrics: &Metrics,
    ) -> Self {
        let policy = loaded.policy;
        Self {
            number,
            digest: loaded.digest,
            table: RouteTable::new(&policy.routes),
            limiters: LimiterSet::build(&policy.filters, old.map(|old| &old.limiters)),
            modules,
            routes: policy.routes.iter().map(|route| metrics.route(&route.name)).collect(),
            unrouted: metrics.route(UNROUTED),
            filters: policy.filters.iter().map(|filter| metrics.filter(&filter.name)).collect(),
            upstreams: policy.upstreams.iter().map(|upstream| metrics.upstream(&upstream.name)).collect(),
            tcp: tcp_services(&policy, old, metrics),
            policy,
        }
    }
}

/// Each TCP service's figures; those of `old` go on.
fn tcp_services(policy: &Policy, old: Option<&Blueprint>, metrics: &Metrics) -> HashMap<Arc<str>, TcpShared> {
    let mut all = HashMap::new();
    for listener in &policy.listeners {
        let Service::Tcp(service) = &listener.service else { continue };
        let carried = old.and_then(|old| old.tcp.get(&service.name));
        let open = carried.map(|carried| Arc::clone(&carried.open)).unwrap_or_default();
        let shared = TcpShared { metrics: metrics.tcp(&service.name), open };
        all.insert(Arc::clone(&service.name), shared);
    }
    all
}
