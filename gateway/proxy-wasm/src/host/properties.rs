//! Properties: attributes of the exchange, and values that filters leave for later ones.

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::memory::{Copied, ReturnSlot, return_bytes};
use super::{State, host_functions};
use crate::abi::status::Status;
use crate::environment::{Environment, PropertyError, Stream};
use crate::limits::{PROPERTY_PATH_BYTES_MAX, PROPERTY_VALUE_BYTES_MAX};
use crate::plugin::Access;

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    host_functions!(linker, restricted,
        "proxy_get_property" => get,
        "proxy_set_property" => set,
    );
}

fn get<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (path, path_len, address, size): (u32, u32, u32, u32),
) -> Result<Status, Trap> {
    if path_len as usize > PROPERTY_PATH_BYTES_MAX {
        return Ok(Status::NotFound);
    }
    let Some(path) = Copied::read(caller, path, path_len) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let slot = ReturnSlot { address, size };
    let path = normal(path.as_slice());
    let host = State::<E>::clone(caller.state());
    let plugin = host.plugin();
    let own = match (path, &plugin) {
        (b"plugin_name", Some(plugin)) => Some(&*plugin.spec().name),
        (b"plugin_root_id", Some(plugin)) => Some(&*plugin.spec().root_id),
        (b"plugin_vm_id", _) => Some(&*host.spec.vm_id),
        _ => None,
    };
    if let Some(value) = own {
        return return_bytes(caller, value.as_bytes(), slot);
    }
    let Some(stream) = host.stream() else {
        return Ok(Status::NotFound);
    };
    let found = stream.property(path, |value| return_bytes(caller, value, slot));
    found.unwrap_or(Ok(Status::NotFound))
}

fn set<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (path, path_len, value, value_len): (u32, u32, u32, u32),
) -> Result<Status, Trap> {
    let (Some(path), Some(value)) = (caller.read(path, path_len), caller.read(value, value_len)) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let plugin = caller.state().plugin();
    Ok(caller.state().write("proxy_set_property", |stream| {
        if path.len() > PROPERTY_PATH_BYTES_MAX || value.len() > PROPERTY_VALUE_BYTES_MAX {
            return Err(PropertyError::TooLarge);
        }
        let path = normal(path);
        let is_fixed = plugin.as_ref().is_some_and(|plugin| plugin.access(path) == Access::WriteOnce)
            && stream.property(path, |_| ()).is_some();
        if is_fixed {
            return Err(PropertyError::ReadOnly);
        }
        stream.set_property(path, value)
    }))
}

/// The C++ SDK ends a path with a separator, the Rust SDK does not.
fn normal(path: &[u8]) -> &[u8] {
    path.strip_suffix(&[0]).unwrap_or(path)
}
