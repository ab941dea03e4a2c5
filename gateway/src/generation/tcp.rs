//! A TCP service on one worker.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::blueprint::Blueprint;
use super::build::BuildError;
use crate::filter::{Chain, FilterInstance};
use crate::policy::listener::{ListenerId, Service, TcpService};
use crate::proxy::Outgoing;
use crate::telemetry::metrics::{Handle, TcpMetrics, UpstreamMetrics};
use crate::upstream::{UpstreamPool, Upstreams};

/// What a listener serves on one worker.
pub enum Serves {
    /// HTTP, by the routes.
    Http,
    /// TCP.
    Tcp(Rc<TcpRuntime>),
}

/// A TCP service on one worker.
pub struct TcpRuntime {
    /// The service.
    pub service: Arc<TcpService>,
    /// Its filters.
    pub chain: Rc<Chain>,
    /// Where its connections go.
    pub pool: Rc<UpstreamPool<Outgoing>>,
    /// Where those are counted.
    pub upstream_metrics: Handle<UpstreamMetrics>,
    /// Where it is counted.
    pub metrics: Handle<TcpMetrics>,
    /// Connections open now, over all workers and generations.
    open: Arc<AtomicU32>,
}

/// What workers share of a TCP service, carried over by its name.
pub(super) struct TcpShared {
    pub(super) metrics: Arc<crate::telemetry::metrics::Sharded<TcpMetrics>>,
    pub(super) open: Arc<AtomicU32>,
}

impl TcpRuntime {
    /// Counts a connection in, or refuses it when there are too many.
    pub fn admit(&self) -> bool {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        if self.service.connections_max.is_some_and(|max| open >= max.get()) {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.metrics.refuse();
            return false;
        }
        self.metrics.active.inc();
        true
    }

    /// Counts a connection out.
    pub fn release(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.metrics.active.dec();
    }
}

/// What each listener of the policy serves.
pub(super) fn build(
    blueprint: &Blueprint,
    worker: usize,
    filters: &HashMap<Arc<str>, Rc<FilterInstance>>,
    upstreams: &Upstreams<Outgoing>,
    upstream_metrics: &HashMap<Arc<str>, Handle<UpstreamMetrics>>,
) -> Result<Vec<(ListenerId, Serves)>, BuildError> {
    let listeners = &blueprint.policy.listeners;
    let mut all = Vec::with_capacity(listeners.len());
    for (id, listener) in ListenerId::all(listeners).into_iter().zip(listeners) {
        let Service::Tcp(service) = &listener.service else {
            all.push((id, Serves::Http));
            continue;
        };
        let missing = |what, name: &Arc<str>| BuildError::Incomplete { what, name: Arc::clone(name) };
        let find = |filter: &Arc<crate::policy::filter::Filter>| {
            filters.get(&filter.name).cloned().ok_or_else(|| missing("filter", &filter.name))
        };
        let chain: Result<_, _> = service.filters.iter().map(find).collect();
        let upstream = &service.upstream.name;
        let shared = blueprint.tcp.get(&service.name).ok_or_else(|| missing("service", &service.name))?;
        all.push((
            id,
            Serves::Tcp(Rc::new(TcpRuntime {
                service: Arc::clone(service),
                chain: Rc::new(Chain::new(chain?)),
                pool: Rc::clone(upstreams.get(upstream).ok_or_else(|| missing("upstream", upstream))?),
                upstream_metrics: upstream_metrics
                    .get(upstream)
                    .cloned()
                    .ok_or_else(|| missing("upstream", upstream))?,
                metrics: shared.metrics.worker(worker),
                open: Arc::clone(&shared.open),
            })),
        ));
    }
    Ok(all)
}
