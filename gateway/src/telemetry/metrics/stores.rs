//! What guests of all workers keep in common, read when it is scraped.

use std::fmt;

use tollgate_proxy_wasm::{GuestMetrics, SharedData, SharedQueues};

use super::custom;
use super::encode::Page;

/// Whoever keeps what guests of all workers share.
pub trait GuestStores: fmt::Debug + Send + Sync {
    /// Shared data.
    fn shared_data(&self) -> &SharedData;

    /// Shared queues.
    fn shared_queues(&self) -> &SharedQueues;

    /// Metrics that guests define.
    fn metrics(&self) -> &GuestMetrics;
}

/// Writes their families, and the metrics that guests define behind them.
pub(super) fn encode(page: &mut Page<'_>, stores: &dyn GuestStores) -> fmt::Result {
    let (data, queues) = (stores.shared_data(), stores.shared_queues());
    let level = |level: usize| i64::try_from(level).unwrap_or(i64::MAX);
    let gauges = [
        ("shared_data_keys", "Keys of shared data of filters", data.keys()),
        ("shared_data_bytes", "Bytes of keys and values of shared data of filters", data.bytes()),
        ("shared_queues", "Shared queues of filters", queues.len()),
        ("shared_queue_items", "Items in shared queues of filters", queues.items()),
        ("shared_queue_bytes", "Bytes of items in shared queues of filters", queues.bytes()),
    ];
    for (name, help, value) in gauges {
        page.gauges(name, help, |family| family.single(level(value)))?;
    }
    custom::encode(page, stores.metrics())
}
