//! What is counted of each upstream.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cells::{Counter, Gauge, Histogram, HistogramSum, REQUEST_BOUNDS};
use super::encode::Page;
use super::sharded::Sharded;

/// Connections and requests of one upstream, on one worker.
#[derive(Debug)]
pub struct UpstreamMetrics {
    /// Requests sent, retries included.
    pub requests: Counter,
    /// Of those, how many went again because a pooled connection turned out to be closed, or an
    /// endpoint refused.
    pub retried: Counter,
    /// Connections opened.
    pub opened: Counter,
    /// Connections that could not be opened.
    pub failed: Counter,
    /// Requests that took an idle connection from the pool.
    pub reused: Counter,
    /// Connections with a request on them.
    pub active: Gauge,
    /// Connections waiting in the pool.
    pub idle: Gauge,
    /// Endpoints that are skipped since they refused a connection.
    pub skipped: EndpointSet,
    /// From the request sent to the answer's headers.
    pub response: Histogram<17>,
}

/// Some of an upstream's endpoints, by their index in the policy; the first 64 can be in it.
#[derive(Debug, Default)]
pub struct EndpointSet(AtomicU64);

impl EndpointSet {
    /// Makes it these endpoints and no others.
    pub fn set(&self, endpoints: impl Iterator<Item = usize>) {
        let bits = endpoints.filter(|endpoint| *endpoint < 64).fold(0, |bits, endpoint| bits | 1 << endpoint);
        self.0.store(bits, Ordering::Relaxed);
    }

    /// Whether an endpoint is in it.
    pub fn contains(&self, endpoint: usize) -> bool {
        endpoint < 64 && self.0.load(Ordering::Relaxed) >> endpoint & 1 == 1
    }
}

impl Sharded<UpstreamMetrics> {
    /// Whether any worker skips an endpoint.
    pub fn is_skipped(&self, endpoint: usize) -> bool {
        self.parts().any(|part| part.skipped.contains(endpoint))
    }
}

impl Default for UpstreamMetrics {
    fn default() -> Self {
        Self {
            requests: Counter::default(),
            retried: Counter::default(),
            opened: Counter::default(),
            failed: Counter::default(),
            reused: Counter::default(),
            active: Gauge::default(),
            idle: Gauge::default(),
            skipped: EndpointSet::default(),
            response: Histogram::new(&REQUEST_BOUNDS),
        }
    }
}

/// Name, help and value of a family of counters.
type CounterFamily = (&'static str, &'static str, fn(&UpstreamMetrics) -> u64);
type Named = (Arc<str>, Arc<Sharded<UpstreamMetrics>>);

/// Writes the families of upstreams.
pub(super) fn encode(page: &mut Page<'_>, upstreams: &[Named]) -> fmt::Result {
    let counters: [CounterFamily; 5] = [
        ("upstream_requests", "Requests sent, retries included", |m| m.requests.get()),
        ("upstream_retries", "Requests sent again", |m| m.retried.get()),
        ("upstream_connections_opened", "Connections opened", |m| m.opened.get()),
        ("upstream_connections_failed", "Connections that could not be opened", |m| m.failed.get()),
        ("upstream_connections_reused", "Requests on a pooled connection", |m| m.reused.get()),
    ];
    for (name, help, value) in counters {
        page.counters(name, help, |family| {
            upstreams
                .iter()
                .try_for_each(|(upstream, all)| family.add(&[("upstream", upstream)], all.sum(value)))
        })?;
    }
    page.gauges("upstream_connections", "Connections open, by state", |family| {
        upstreams.iter().try_for_each(|(upstream, all)| {
            let labels = |state| [("upstream", &**upstream), ("state", state)];
            family.add(&labels("active"), all.sum(|part| part.active.get()))?;
            family.add(&labels("idle"), all.sum(|part| part.idle.get()))
        })
    })?;
    page.histograms("upstream_response_seconds", "From request sent to response headers", |family| {
        upstreams.iter().try_for_each(|(upstream, all)| {
            let sum = HistogramSum::of(all.parts().map(|part| &part.response));
            family.add(&[("upstream", upstream)], &sum)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_told_apart() {
        let set = EndpointSet::default();
        set.set([0, 3, 63, 64].into_iter());
        let contained: Vec<usize> = (0..130).filter(|endpoint| set.contains(*endpoint)).collect();
        assert_eq!(contained, [0, 3, 63]);
        set.set(std::iter::once(1));
        assert!(set.contains(1) && !set.contains(0));
    }
}
