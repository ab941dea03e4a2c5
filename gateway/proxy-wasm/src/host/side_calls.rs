//! What this host does not carry out yet: calls to other servers, queues, foreign functions.
//!
//! Each answers a status that its SDK function turns into an error rather than a panic, and is
//! reported through [`Environment::unimplemented`]. Registering a queue has no such status: the guest
//! gets OK and the id 0, which no real queue has and which every other function calls unknown.

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::memory::{ReturnSlot, return_bytes, status_of};
use super::{State, host_functions};
use crate::abi::status::Status;
use crate::environment::Environment;

/// Declares functions that report themselves and answer one status.
macro_rules! answer {
    ($linker:ident, $($name:literal, $params:ty => $status:ident;)+) => {
        $({
            fn function<E: Environment>(
                caller: &mut Caller<'_, State<E>>,
                _: $params,
            ) -> Result<Status, Trap> {
                caller.state().env.unimplemented($name);
                Ok(Status::$status)
            }
            host_functions!($linker, restricted, $name => function);
        })+
    };
}

type U3 = (u32, u32, u32);
type U4 = (u32, u32, u32, u32);
type U5 = (u32, u32, u32, u32, u32);
type U6 = (u32, u32, u32, u32, u32, u32);
type U9 = (u32, u32, u32, u32, u32, u32, u32, u32, u32);
type U10 = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);
type U12 = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    answer!(linker,
        "proxy_http_call", U10 => InternalFailure;
        "proxy_grpc_call", U12 => InternalFailure;
        "proxy_grpc_stream", U9 => InternalFailure;
        "proxy_grpc_send", U4 => NotFound;
        "proxy_grpc_cancel", u32 => NotFound;
        "proxy_grpc_close", u32 => NotFound;
        "proxy_resolve_shared_queue", U5 => NotFound;
        "proxy_enqueue_shared_queue", U3 => NotFound;
        "proxy_dequeue_shared_queue", U3 => NotFound;
        "proxy_call_foreign_function", U6 => NotFound;
        "proxy_clear_route_cache", () => Ok;
    );
    host_functions!(linker, restricted,
        "proxy_get_status" => get_status,
        "proxy_register_shared_queue" => register_queue,
    );
}

/// There was no call, so there is nothing but "OK, no message".
fn get_status<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (code_out, address, size): U3,
) -> Result<Status, Trap> {
    if caller.write_u32(code_out, 0).is_none() {
        return Ok(Status::InvalidMemoryAccess);
    }
    return_bytes(caller, &[], ReturnSlot { address, size })
}

fn register_queue<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (_name, _name_len, id_out): U3,
) -> Result<Status, Trap> {
    caller.state().env.unimplemented("proxy_register_shared_queue");
    Ok(status_of(caller.write_u32(id_out, 0)))
}
