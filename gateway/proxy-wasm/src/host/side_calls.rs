//! What this host does not carry out yet: gRPC calls.
//!
//! Each answers a status that its SDK function turns into an error rather than a panic, and is
//! reported through [`Environment::unimplemented`].

use tollgate_wasmedge::{Caller, Linker, Trap};

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

type U4 = (u32, u32, u32, u32);
type U9 = (u32, u32, u32, u32, u32, u32, u32, u32, u32);
type U12 = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    answer!(linker,
        "proxy_grpc_call", U12 => InternalFailure;
        "proxy_grpc_stream", U9 => InternalFailure;
        "proxy_grpc_send", U4 => NotFound;
        "proxy_grpc_cancel", u32 => NotFound;
        "proxy_grpc_close", u32 => NotFound;
    );
}
