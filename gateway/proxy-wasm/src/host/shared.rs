//! Shared data.

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::memory::{ReturnSlot, return_bytes, status_of};
use super::{State, host_functions};
use crate::abi::status::Status;
use crate::environment::{Environment, RefusalReason};
use crate::shared_data::SetError;

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    host_functions!(linker, restricted,
        "proxy_get_shared_data" => get,
        "proxy_set_shared_data" => set,
    );
}

fn get<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (key, key_len, address, size, cas_out): (u32, u32, u32, u32, u32),
) -> Result<Status, Trap> {
    let Some(key) = caller.read(key, key_len) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let Some((value, cas)) = caller.state().shared.get(key) else {
        return Ok(Status::NotFound);
    };
    if caller.write_u32(cas_out, cas).is_none() {
        return Ok(status_of(None));
    }
    return_bytes(caller, &value, ReturnSlot { address, size })
}

fn set<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (key, key_len, value, value_len, cas): (u32, u32, u32, u32, u32),
) -> Result<Status, Trap> {
    let (Some(key), Some(value)) = (caller.read(key, key_len), caller.read(value, value_len)) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let host = caller.state();
    Ok(match host.shared.set(key, value, cas) {
        Ok(()) => Status::Ok,
        Err(SetError::CasMismatch) => Status::CasMismatch,
        Err(SetError::TooLarge) => host.refuse("proxy_set_shared_data", RefusalReason::TooLarge),
    })
}
