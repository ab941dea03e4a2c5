//! What a worker looks after twice a second, so that requests need not.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::Worker;
use crate::telemetry::metrics::UpstreamMetrics;
use crate::upstream::UpstreamStats;

const EVERY: Duration = Duration::from_millis(500);

/// Sweeps as long as the worker lives.
pub(super) async fn run(worker: Rc<Worker>) {
    let mut published: HashMap<Arc<str>, UpstreamStats> = HashMap::new();
    loop {
        tokio::time::sleep(EVERY).await;
        let generation = worker.generation();
        let now = Instant::now();
        for connection in worker.connections.borrow().iter() {
            connection.sweep(now, &generation.blueprint.policy.limits);
        }
        generation.upstreams.sweep();
        generation.hosts.sweep();
        generation.publish_guests(&worker.metrics);
        for (name, metrics) in &generation.upstream_metrics {
            let Some(stats) = generation.upstreams.stats(name) else { continue };
            let before = published.insert(Arc::clone(name), stats).unwrap_or_default();
            publish(metrics, &before, &stats);
            if let Some(pool) = generation.upstreams.get(name) {
                metrics.skipped.set(pool.paused());
            }
        }
        published.retain(|name, _| generation.upstreams.stats(name).is_some());
    }
}

/// Adds what has happened since the last time. A pool that was replaced starts from nothing.
fn publish(metrics: &UpstreamMetrics, before: &UpstreamStats, now: &UpstreamStats) {
    let grown = |now: u64, before: u64| if now >= before { now - before } else { now };
    metrics.opened.add(grown(now.connected, before.connected));
    metrics.reused.add(grown(now.reused, before.reused));
    metrics.failed.add(grown(now.connect_failures, before.connect_failures));
    metrics.retried.add(grown(now.stale_retries, before.stale_retries));
    metrics.idle.set(i64::try_from(now.idle).unwrap_or(i64::MAX));
}
