//! Contexts and the course of an exchange: done, effective context, resume, close, local response,
//! tick.
//!
//! All of these are recorded; what follows from them happens when the callback has returned.

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::{Active, State, host_functions};
use crate::abi::LogLevel;
use crate::abi::status::Status;
use crate::abi::types::{StreamSide, StreamType};
use crate::environment::{Environment, LocalResponse, RefusalReason, Stream, StreamKind};
use crate::limits::DETAILS_BYTES_MAX;
use crate::pairs;

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    host_functions!(linker, restricted,
        "proxy_done" => done,
        "proxy_set_effective_context" => set_effective_context,
        "proxy_set_tick_period_milliseconds" => set_tick_period,
        "proxy_continue_stream" => continue_stream,
        "proxy_continue_request" => continue_request,
        "proxy_continue_response" => continue_response,
        "proxy_close_stream" => close_stream,
        "proxy_send_local_response" => send_local_response,
    );
}

/// OK even if nothing is pending: the Rust and Go SDKs panic on NOT_FOUND.
fn done<E: Environment>(caller: &mut Caller<'_, State<E>>, (): ()) -> Result<Status, Trap> {
    let host = caller.state();
    let context = host.context();
    if host.contexts.borrow_mut().mark_done(context) {
        host.done.borrow_mut().push(context);
    }
    Ok(Status::Ok)
}

/// Any context of this VM will do: its guests share their memory anyway.
fn set_effective_context<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    context: u32,
) -> Result<Status, Trap> {
    let host = caller.state();
    let contexts = host.contexts.borrow();
    let Some(entry) = contexts.get(context) else {
        return Ok(Status::BadArgument);
    };
    host.set_active(Active { context, ..entry.active() });
    // For this callback only: the next one begins with its own.
    caller.split();
    Ok(Status::Ok)
}

/// The timer belongs to the plugin, whichever of its contexts asks. A plugin whose end has begun gets
/// none: nothing would stop it.
fn set_tick_period<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    period_ms: u32,
) -> Result<Status, Trap> {
    let host = caller.state();
    if let Some(plugin) = host.plugin().filter(|plugin| host.contexts.borrow().is_running(plugin.id().get()))
    {
        let period = (period_ms != 0).then(|| std::time::Duration::from_millis(period_ms.into()));
        host.env.set_tick(plugin.id(), period);
    }
    Ok(Status::Ok)
}

fn continue_stream<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    stream_type: u32,
) -> Result<Status, Trap> {
    Ok(match StreamType::from_wire(stream_type) {
        Some(StreamType::HttpRequest) => resume(caller, StreamKind::Http, StreamSide::Request),
        Some(StreamType::HttpResponse) => resume(caller, StreamKind::Http, StreamSide::Response),
        Some(StreamType::Downstream) => resume(caller, StreamKind::Tcp, StreamSide::Request),
        Some(StreamType::Upstream) => resume(caller, StreamKind::Tcp, StreamSide::Response),
        None => Status::BadArgument,
    })
}

/// ABI 0.1.0.
fn continue_request<E: Environment>(caller: &mut Caller<'_, State<E>>, (): ()) -> Result<Status, Trap> {
    Ok(resume(caller, StreamKind::Http, StreamSide::Request))
}

/// ABI 0.1.0.
fn continue_response<E: Environment>(caller: &mut Caller<'_, State<E>>, (): ()) -> Result<Status, Trap> {
    Ok(resume(caller, StreamKind::Http, StreamSide::Response))
}

/// Without a stream of this kind there is nothing to resume, which is what the guest wanted.
fn resume<E: Environment>(caller: &Caller<'_, State<E>>, kind: StreamKind, side: StreamSide) -> Status {
    if let Some(stream) = caller.state().stream().filter(|stream| stream.kind() == kind) {
        stream.resume(side);
    }
    Status::Ok
}

fn close_stream<E: Environment>(caller: &mut Caller<'_, State<E>>, stream_type: u32) -> Result<Status, Trap> {
    let host = caller.state();
    let side = match StreamType::from_wire(stream_type) {
        Some(StreamType::HttpRequest | StreamType::Downstream) => StreamSide::Request,
        Some(StreamType::HttpResponse | StreamType::Upstream) => StreamSide::Response,
        None => return Ok(Status::BadArgument),
    };
    if let Some(stream) = host.stream() {
        stream.close(side);
        host.stop();
    }
    Ok(Status::Ok)
}

type LocalResponseArgs = (u32, u32, u32, u32, u32, u32, u32, i32);

fn send_local_response<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (status, details, details_len, body, body_len, headers, headers_len, grpc_status): LocalResponseArgs,
) -> Result<Status, Trap> {
    let (Some(details), Some(body), Some(headers)) =
        (caller.read(details, details_len), caller.read(body, body_len), caller.read(headers, headers_len))
    else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let host = caller.state();
    let Some(stream) = host.stream() else {
        return Ok(host.refuse("proxy_send_local_response", RefusalReason::Unavailable));
    };
    // A guest that denies a request must not fail to: what cannot be said is left out.
    let headers = pairs::decode(headers).unwrap_or_else(|error| {
        host.log(LogLevel::Warn, format!("local response without its headers: {error}").as_bytes());
        Vec::new()
    });
    stream.local_response(LocalResponse {
        status: final_status(status),
        details: &details[..details.len().min(DETAILS_BYTES_MAX)],
        body,
        headers: &headers,
        grpc_status: (grpc_status != -1).then_some(grpc_status),
    });
    host.stop();
    Ok(Status::Ok)
}

fn final_status(status: u32) -> u16 {
    u16::try_from(status).ok().filter(|status| (200..=599).contains(status)).unwrap_or(500)
}
