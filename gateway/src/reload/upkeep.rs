//! What has to be swept away now and then.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::generation::blueprint::Blueprint;
use crate::generation::modules::wasm_filters;
use crate::worker::Shared;

/// Drops refilled buckets, shared data that has expired, queues that nobody reads, and shared data of
/// VMs that no generation has any more, on a blocking thread. While an old generation serves its last requests its shared data is kept.
pub(super) fn run(current: &Arc<Blueprint>, is_alone: bool, shared: &Arc<Shared>) {
    let (current, shared) = (Arc::clone(current), Arc::clone(shared));
    spawn_blocking(move || {
        current.limiters.sweep();
        shared.guests.data.sweep();
        shared.guests.queues.sweep();
        if is_alone {
            let kept: HashSet<&str> = wasm_filters(&current.policy).map(|(_, wasm)| &*wasm.vm_id).collect();
            shared.guests.data.retain(|vm_id| kept.contains(vm_id));
        }
    });
}
