//! What is counted of each upstream.

use std::fmt;
use std::sync::Arc;

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
    /// From the request sent to the answer's headers.
    pub response: Histogram<17>,
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
