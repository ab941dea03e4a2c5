//! What this host does not carry out yet: calls to other servers.
//!
//! Each answers a status that its SDK function turns into an error rather than a panic, and is
//! reported through [`Environment::unimplemented`].

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::memory::{ReturnSlot, return_bytes};
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
    );
    host_functions!(linker, restricted,
        "proxy_get_status" => get_status,
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
