//! What this host does not carry out yet: gRPC calls.
//!
//! Each answers a status that its SDK function turns into an error rather than a panic, and is
//! reported through [`Environment::unimplemented`].

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::{State, host_functions};
use crate::abi::status::Status;
use crate::environment::Environment;

type U4 = (u32, u32, u32, u32);
type U9 = (u32, u32, u32, u32, u32, u32, u32, u32, u32);
type U12 = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);

/// Declares functions that report themselves and answer one status, and the list of them.
macro_rules! refused {
    ($($name:literal, $params:ty => $status:ident;)+) => {
        /// What resolves and is not carried out.
        pub(super) const REFUSED: &[&str] = &[$($name),+];

        pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
            $({
                fn function<E: Environment>(
                    caller: &mut Caller<'_, State<E>>,
                    _: $params,
                ) -> Result<Status, Trap> {
                    caller.state().env.unimplemented($name);
                    Ok(Status::$status)
                }
                host_functions!(linker, restricted, $name => function);
            })+
        }
    };
}

refused! {
    "proxy_grpc_call", U12 => InternalFailure;
    "proxy_grpc_stream", U9 => InternalFailure;
    "proxy_grpc_send", U4 => NotFound;
    "proxy_grpc_cancel", u32 => NotFound;
    "proxy_grpc_close", u32 => NotFound;
}
