//! Foreign functions: what hosts offer beyond the ABI, called by name.
//!
//! Names, arguments and results are Envoy's and Higress's where those have the function; the others
//! begin with `tollgate_`. A name that is not known is NOT_FOUND, arguments that do not parse are
//! BAD_ARGUMENT, and the work that a function does for the guest is charged to its CPU budget.
//!
//! | name | arguments | result |
//! |---|---|---|
//! | `compress` | bytes, 1 MiB at most | the same as a zlib stream |
//! | `uncompress` | a zlib stream, 1 MiB at most | its content, 8 MiB at most |
//! | `verify_signature` | `VerifySignatureArguments` | `VerifySignatureResult` |
//! | `sign` | `SignArguments` | `SignResult` |
//! | `declare_property` | `DeclarePropertyArguments` | nothing |
//! | `set_envoy_filter_state` | `SetEnvoyFilterStateArguments` | nothing |
//! | `clear_route_cache` | nothing | nothing |
//! | `get_log_level` | nothing | the level, `u32` |
//! | `tollgate_fail` | a `u8`, 0 for an error, 1 for too little CPU time; the reason | nothing |
//! | `tollgate_shared_data_delete` | the key | nothing |
//! | `tollgate_shared_data_set_ttl` | milliseconds, `u64`; the key | nothing |
//! | `tollgate_shared_data_increment` | delta, `i64`; milliseconds to live, `u64`; the key | the sum, `i64` |
//!
//! Numbers are little-endian. Messages are protocol buffers, as in Envoy's `source/extensions/common/
//! wasm/ext`. Zero milliseconds are for ever.
//!
//! CEL (`expr_create`, `expr_evaluate`, `expr_delete`) is not here: the parser of the one kept-up crate is
//! recursive and may overflow the stack of a worker on a text that a guest chose, and what it evaluates
//! could not be stopped by the guest's budget.
//!
//! This host calls no `proxy_on_foreign_function`: nothing in a gateway would.

mod fault;
mod shared_data;
mod signature;
mod state;
mod zlib;

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::memory::{ReturnSlot, return_bytes};
use super::{State, host_functions};
use crate::abi::status::Status;
use crate::capabilities::Capabilities;
use crate::environment::Environment;

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    host_functions!(linker, restricted,
        "proxy_call_foreign_function" => call,
        "proxy_clear_route_cache" => clear_route_cache,
    );
}

/// The bytes that a function gives, or a status that SDKs tolerate from this call.
type Outcome = Result<Vec<u8>, Status>;

fn call<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (name, name_len, arguments, arguments_len, address, size): (u32, u32, u32, u32, u32, u32),
) -> Result<Status, Trap> {
    let (Some(name), Some(arguments)) = (caller.read(name, name_len), caller.read(arguments, arguments_len))
    else {
        return Ok(Status::InvalidMemoryAccess);
    };
    match run(caller, name, arguments) {
        // Guests that want no result may pass no place for it.
        Ok(result) if result.is_empty() && (address, size) == (0, 0) => Ok(Status::Ok),
        Ok(result) => return_bytes(caller, &result, ReturnSlot { address, size }),
        Err(status) => Ok(status),
    }
}

fn run<E: Environment>(caller: &Caller<'_, State<E>>, name: &[u8], arguments: &[u8]) -> Outcome {
    let host = &**caller.state();
    if let Some(needed) = refusal(host.spec.capabilities, name) {
        host.log_refusal(needed);
        return Err(Status::NotFound);
    }
    match name {
        b"compress" => zlib::compress(caller, arguments),
        b"uncompress" => zlib::uncompress(caller, arguments),
        b"verify_signature" => signature::verify(caller, arguments),
        b"sign" => signature::sign(caller, arguments),
        b"declare_property" => state::declare_property(host, arguments),
        b"set_envoy_filter_state" => state::set_filter_state(host, arguments),
        b"clear_route_cache" => {
            state::clear_route_cache(host);
            Ok(Vec::new())
        }
        b"get_log_level" => Ok(host.env.log_level().wire().to_le_bytes().to_vec()),
        b"tollgate_fail" => fault::fail(host, arguments),
        b"tollgate_shared_data_delete" => shared_data::delete(host, arguments),
        b"tollgate_shared_data_set_ttl" => shared_data::set_ttl(host, arguments),
        b"tollgate_shared_data_increment" => shared_data::increment(host, arguments),
        _ => Err(Status::NotFound),
    }
}

/// The capability that a function needs and the guest lacks: what is refused by one name is not to be
/// had by another.
fn refusal(allowed: Capabilities, name: &[u8]) -> Option<&'static str> {
    let needed = match name {
        b"compress" => "compress",
        b"uncompress" => "uncompress",
        b"verify_signature" => "verify_signature",
        b"sign" => "sign",
        b"declare_property" | b"set_envoy_filter_state" => "proxy_set_property",
        b"clear_route_cache" => "proxy_clear_route_cache",
        _ if name.starts_with(b"tollgate_shared_data_") => "proxy_set_shared_data",
        _ => return None,
    };
    (!allowed.allow(needed)).then_some(needed)
}

/// ABI 0.1.0.
fn clear_route_cache<E: Environment>(caller: &mut Caller<'_, State<E>>, (): ()) -> Result<Status, Trap> {
    state::clear_route_cache(caller.state());
    Ok(Status::Ok)
}
