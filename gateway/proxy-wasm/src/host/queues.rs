//! Shared queues.
//!
//! SDKs tolerate no status for a registration that fails: the guest gets OK and the id 0, which no
//! queue has. An item that does not fit gets NOT_FOUND, the one error that SDKs hand to the guest's
//! code; a line of log tells the two apart.

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::memory::{ReturnSlot, return_bytes, status_of};
use super::{State, host_functions};
use crate::abi::LogLevel;
use crate::abi::status::Status;
use crate::environment::Environment;
use crate::shared_queue::{EnqueueError, QueueId};

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    host_functions!(linker, restricted,
        "proxy_register_shared_queue" => register,
        "proxy_resolve_shared_queue" => resolve,
        "proxy_enqueue_shared_queue" => enqueue,
        "proxy_dequeue_shared_queue" => dequeue,
    );
}

/// The plugin reads the queue, whichever of its contexts asks.
fn register<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (name, name_len, id_out): (u32, u32, u32),
) -> Result<Status, Trap> {
    let Some(name) = caller.read(name, name_len) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let host = caller.state();
    let plugin = host.plugin();
    let id = plugin
        .and_then(|plugin| host.env.shared_queues().register(&host.spec.vm_id, name, plugin.queue_reader()));
    if id.is_none() {
        host.log(LogLevel::Warn, b"a queue was not registered: its name, or the number of queues");
    }
    Ok(status_of(caller.write_u32(id_out, id.map_or(0, QueueId::get))))
}

/// An empty `vm_id` is the guest's own.
fn resolve<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (vm_id, vm_id_len, name, name_len, id_out): (u32, u32, u32, u32, u32),
) -> Result<Status, Trap> {
    let (Some(vm_id), Some(name)) = (caller.read(vm_id, vm_id_len), caller.read(name, name_len)) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let host = caller.state();
    let vm_id = match vm_id {
        [] => Some(&*host.spec.vm_id),
        other => std::str::from_utf8(other).ok(),
    };
    match vm_id.and_then(|vm_id| host.env.shared_queues().resolve(vm_id, name)) {
        Some(id) => Ok(status_of(caller.write_u32(id_out, id.get()))),
        None => Ok(Status::NotFound),
    }
}

fn enqueue<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (id, item, item_len): (u32, u32, u32),
) -> Result<Status, Trap> {
    let Some(item) = caller.read(item, item_len) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let Some(id) = QueueId::from_wire(id) else { return Ok(Status::NotFound) };
    let host = caller.state();
    match host.env.shared_queues().enqueue(id, item) {
        Ok(()) => Ok(Status::Ok),
        Err(EnqueueError::NotFound) => Ok(Status::NotFound),
        Err(error @ (EnqueueError::Full | EnqueueError::TooLarge)) => {
            host.log(LogLevel::Warn, format!("an item was not put into a queue: {error}").as_bytes());
            Ok(Status::NotFound)
        }
    }
}

fn dequeue<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (id, address, size): (u32, u32, u32),
) -> Result<Status, Trap> {
    let Some(id) = QueueId::from_wire(id) else { return Ok(Status::NotFound) };
    match caller.state().env.shared_queues().dequeue(id) {
        Ok(Some(item)) => return_bytes(caller, &item, ReturnSlot { address, size }),
        Ok(None) => Ok(Status::Empty),
        Err(_) => Ok(Status::NotFound),
    }
}
