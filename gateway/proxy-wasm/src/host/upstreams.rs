//! Higress's calls about the endpoints of the upstream that the route leads to.
//!
//! Endpoints are pairs of an address and a JSON object whose `health_status` is `Healthy` or
//! `Unhealthy`, which is all that filters read of it.

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::memory::{ReturnSlot, return_bytes};
use super::{State, host_functions};
use crate::abi::status::Status;
use crate::environment::{Environment, Stream};
use crate::pairs;

const HEALTHY: &[u8] = br#"{"health_status":"Healthy"}"#;
const UNHEALTHY: &[u8] = br#"{"health_status":"Unhealthy"}"#;

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    host_functions!(linker, restricted,
        "proxy_get_upstream_hosts" => get_hosts,
        "proxy_set_upstream_override_host" => set_override_host,
    );
}

/// NOT_FOUND if the route leads to no upstream.
fn get_hosts<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (address, size): (u32, u32),
) -> Result<Status, Trap> {
    let host = State::<E>::clone(caller.state());
    let Some(stream) = host.stream() else { return Ok(Status::NotFound) };
    host.with_scratch(|scratch| {
        let is_there = pairs::encode(scratch, |f| {
            stream.upstream_hosts(&mut |address, is_healthy| {
                f(address, if is_healthy { HEALTHY } else { UNHEALTHY });
            })
        });
        match is_there {
            true => return_bytes(caller, scratch, ReturnSlot { address, size }),
            false => Ok(Status::NotFound),
        }
    })
}

/// BAD_ARGUMENT for an address that is not one of those; SDKs of this dialect make an error of it.
fn set_override_host<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (address, address_len): (u32, u32),
) -> Result<Status, Trap> {
    let Some(address) = caller.read(address, address_len) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let stream = caller.state().stream();
    match stream.is_some_and(|stream| stream.override_upstream_host(address)) {
        true => Ok(Status::Ok),
        false => Ok(Status::BadArgument),
    }
}
