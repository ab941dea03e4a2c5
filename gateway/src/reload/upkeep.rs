//! What has to be swept away now and then.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::generation::blueprint::Blueprint;
use crate::generation::modules::wasm_filters;
use crate::worker::Shared;

/// Of the generations that are `live`: drops refilled buckets, shared data that has expired, queues that nobody reads, and shared data of
/// VMs that no generation has any more, on a blocking thread. While an old generation serves its last requests its shared data is kept.
pub(super) fn run(live: Vec<Arc<Blueprint>>, is_alone: bool, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    spawn_blocking(move || {
        live.iter().for_each(|blueprint| blueprint.limiters.sweep());
        shared.guests.data.sweep();
        shared.guests.queues.sweep();
        if is_alone {
            let filters = live.iter().flat_map(|blueprint| wasm_filters(&blueprint.policy));
            let kept: HashSet<&str> = filters.map(|(_, wasm)| &*wasm.vm_id).collect();
            shared.guests.data.retain(|vm_id| kept.contains(vm_id));
        }
    });
}
