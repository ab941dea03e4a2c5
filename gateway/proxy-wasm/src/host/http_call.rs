//! `proxy_http_call`, and the status of what a call brought.
//!
//! A request without `:method`, `:path` or `:authority`, or one whose maps do not parse, is
//! BAD_ARGUMENT, as is a server that the plugin may not reach; what is beyond a limit is
//! INTERNAL_FAILURE. SDKs turn both into errors.

use std::time::Duration;

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::memory::{ReturnSlot, return_bytes, status_of};
use super::{State, host_functions};
use crate::abi::status::Status;
use crate::calls::{CallError, CallKind, HttpCall};
use crate::environment::Environment;
use crate::limits::UPSTREAM_NAME_BYTES_MAX;
use crate::pairs::{self, Pair};

const HTTP_CALL: &str = "proxy_http_call";
/// A request is none without these.
const REQUIRED: [&[u8]; 3] = [b":method", b":path", b":authority"];

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    host_functions!(linker, restricted,
        "proxy_http_call" => http_call,
        "proxy_get_status" => get_status,
    );
}

type HttpCallArgs = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);

fn http_call<E: Environment>(caller: &mut Caller<'_, State<E>>, args: HttpCallArgs) -> Result<Status, Trap> {
    let (upstream, upstream_len, headers, headers_len, body, body_len, .., id_out) = args;
    let (.., trailers, trailers_len, timeout_ms, _) = args;
    // Written first, so that no call goes out whose id cannot be told.
    if caller.write_u32(id_out, 0).is_none() {
        return Ok(Status::InvalidMemoryAccess);
    }
    let (Some(upstream), Some(headers), Some(body), Some(trailers)) = (
        caller.read(upstream, upstream_len),
        caller.read(headers, headers_len),
        caller.read(body, body_len),
        caller.read(trailers, trailers_len),
    ) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let host = caller.state();
    let opened = read(upstream, headers, body, trailers, timeout_ms, |call| {
        host.open_call(CallKind::Http, |id, plugin, stream| host.env.http_call(id, plugin, stream, call))
    });
    match opened {
        Ok(id) => Ok(status_of(caller.write_u32(id_out, id.get()))),
        Err(error) => {
            host.call_refused(HTTP_CALL, CallKind::Http, error);
            Ok(status_for(error))
        }
    }
}

/// Reads what the guest passed and hands it to `open`.
fn read<R>(
    upstream: &[u8],
    headers: &[u8],
    body: &[u8],
    trailers: &[u8],
    timeout_ms: u32,
    open: impl FnOnce(HttpCall<'_>) -> Result<R, CallError>,
) -> Result<R, CallError> {
    if upstream.len() > UPSTREAM_NAME_BYTES_MAX {
        return Err(CallError::Upstream);
    }
    let malformed = |_| CallError::Malformed;
    let headers = pairs::decode(headers).map_err(malformed)?;
    let trailers = pairs::decode(trailers).map_err(malformed)?;
    let has = |wanted: &&[u8]| headers.iter().any(|(name, _): &Pair<'_>| name == wanted);
    if !REQUIRED.iter().all(has) {
        return Err(CallError::Malformed);
    }
    let timeout = (timeout_ms != 0).then(|| Duration::from_millis(timeout_ms.into()));
    open(HttpCall { upstream, headers: &headers, body, trailers: &trailers, timeout })
}

fn status_for(error: CallError) -> Status {
    match error {
        CallError::Upstream | CallError::Malformed => Status::BadArgument,
        CallError::TooLarge
        | CallError::TooMany
        | CallError::Full
        | CallError::Closed
        | CallError::Unavailable => Status::InternalFailure,
    }
}

/// Of the reply that the running callback brings; outside such a callback "OK, no message".
fn get_status<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (code_out, address, size): (u32, u32, u32),
) -> Result<Status, Trap> {
    let reply = caller.state().call_status();
    let (code, message) = reply.as_ref().map_or((0, &[][..]), |reply| reply.status());
    if caller.write_u32(code_out, code).is_none() {
        return Ok(Status::InvalidMemoryAccess);
    }
    return_bytes(caller, message, ReturnSlot { address, size })
}
