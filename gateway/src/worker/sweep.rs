//! What a worker looks after twice a second, so that requests need not.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tollgate_wasmedge::trim_heap;

use super::ebb::Ebb;
use super::state::Worker;
use crate::filter::wasm::VmSlot;
use crate::generation::Generation;
use crate::policy::limits::Limits;
use crate::telemetry::metrics::{UpstreamMetrics, WorkerMetrics};
use crate::upstream::{PoolId, UpstreamStats};

const EVERY: Duration = Duration::from_millis(500);

/// Sweeps as long as the worker lives.
pub(super) async fn run(worker: Rc<Worker>) {
    let mut published = Published::new();
    let mut ebb = Ebb::default();
    loop {
        tokio::time::sleep(EVERY).await;
        let generation = worker.generation();
        let all: Vec<_> = worker.generations().collect();
        let now = Instant::now();
        sweep_connections(&worker, now, &generation.blueprint.policy.limits);
        if ebb.is_out(worker.connections.borrow().len()) {
            trim_heap();
        }
        let mut seen = Published::with_capacity(published.len());
        // The one in force comes last: where both set a level, it is what is shown.
        for generation in all.iter().rev() {
            generation.upstreams.sweep();
            generation.hosts.sweep();
            generation.publish_guests();
            publish_upstreams(generation, &published, &mut seen);
        }
        published = seen;
        let shadow = worker.sweep_shadow();
        let in_shadow = shadow.as_deref().map(|shadow| &shadow.generation);
        publish_vms(all.iter().map(|generation| &**generation).chain(in_shadow), &worker.metrics);
    }
}

fn sweep_connections(worker: &Worker, now: Instant, limits: &Limits) {
    let parks = worker.parks();
    for connection in worker.connections.borrow().iter() {
        connection.sweep(now, limits, parks);
    }
    // A limit beyond the life of the machine is none.
    if let Some(before) = now.checked_sub(limits.idle_timeout) {
        worker.close_parked(Some(before));
    }
}

/// What was published of each pool: two generations may have one, or each its own.
type Published = HashMap<PoolId, UpstreamStats>;

fn publish_upstreams(generation: &Generation, published: &Published, seen: &mut Published) {
    for (name, metrics) in &generation.upstream_metrics {
        let Some((pool, stats)) = generation.upstreams.stats(name) else { continue };
        let before = seen.insert(pool, stats).or_else(|| published.get(&pool).copied()).unwrap_or_default();
        publish(metrics, &before, &stats);
        if let Some(pool) = generation.upstreams.get(name) {
            metrics.skipped.set(pool.paused());
        }
    }
}

/// VMs that several generations have count once.
fn publish_vms<'a>(all: impl Iterator<Item = &'a Generation>, worker: &WorkerMetrics) {
    let mut slots: Vec<&Rc<VmSlot>> = Vec::new();
    for slot in all.flat_map(Generation::slots) {
        if !slots.iter().any(|known| Rc::ptr_eq(known, slot)) {
            slots.push(slot);
        }
    }
    let memory: u64 = slots.iter().map(|slot| slot.memory_bytes()).sum();
    worker.wasm_memory_bytes.set(i64::try_from(memory).unwrap_or(i64::MAX));
    let vms = slots.iter().filter(|slot| slot.is_live()).count();
    worker.wasm_vms.set(i64::try_from(vms).unwrap_or(i64::MAX));
}

/// Adds what has happened since the last time.
fn publish(metrics: &UpstreamMetrics, before: &UpstreamStats, now: &UpstreamStats) {
    let grown = u64::wrapping_sub;
    metrics.opened.add(grown(now.connected, before.connected));
    metrics.reused.add(grown(now.reused, before.reused));
    metrics.failed.add(grown(now.connect_failures, before.connect_failures));
    metrics.retried.add(grown(now.stale_retries, before.stale_retries));
    metrics.idle.set(i64::try_from(now.idle).unwrap_or(i64::MAX));
}
