//! gRPC calls.
//!
//! A server that the plugin may not reach, or metadata that gRPC does not allow, is PARSE_FAILURE, as
//! SDKs know no other status for a wrong argument here; what is beyond a limit is INTERNAL_FAILURE. A
//! message that a stream has no room for is BAD_ARGUMENT. A call that is over is NOT_FOUND.

use std::time::Duration;

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::memory::status_of;
use super::{State, host_functions};
use crate::abi::LogLevel;
use crate::abi::status::Status;
use crate::calls::{CallError, CallKind};
use crate::environment::Environment;
use crate::grpc::{GrpcCall, GrpcKind, GrpcUpstream, MessageEnd};
use crate::limits::{GRPC_NAME_BYTES_MAX, UPSTREAM_NAME_BYTES_MAX};
use crate::pairs;

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    host_functions!(linker, restricted,
        "proxy_grpc_call" => call,
        "proxy_grpc_stream" => stream,
        "proxy_grpc_send" => send,
        "proxy_grpc_cancel" => cancel,
        "proxy_grpc_close" => close,
    );
}

/// Address and length.
type Span = (u32, u32);

/// What both ways to open a call have in common.
struct Target {
    upstream: Span,
    service: Span,
    method: Span,
    metadata: Span,
    id_out: u32,
}

type CallArgs = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);
type StreamArgs = (u32, u32, u32, u32, u32, u32, u32, u32, u32);

fn call<E: Environment>(caller: &mut Caller<'_, State<E>>, args: CallArgs) -> Result<Status, Trap> {
    let (a, b, c, d, e, f, g, h, message, message_len, timeout_ms, id_out) = args;
    let target = Target { upstream: (a, b), service: (c, d), method: (e, f), metadata: (g, h), id_out };
    let timeout = (timeout_ms != 0).then(|| Duration::from_millis(timeout_ms.into()));
    let message = Message::One((message, message_len), timeout);
    open(caller, "proxy_grpc_call", CallKind::GrpcCall, &target, &message)
}

fn stream<E: Environment>(caller: &mut Caller<'_, State<E>>, args: StreamArgs) -> Result<Status, Trap> {
    let (a, b, c, d, e, f, g, h, id_out) = args;
    let target = Target { upstream: (a, b), service: (c, d), method: (e, f), metadata: (g, h), id_out };
    open(caller, "proxy_grpc_stream", CallKind::GrpcStream, &target, &Message::Many)
}

/// What is sent: one message, or a stream of them.
enum Message {
    One(Span, Option<Duration>),
    Many,
}

fn open<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    function: &str,
    kind: CallKind,
    target: &Target,
    message: &Message,
) -> Result<Status, Trap> {
    // Written first, so that no call goes out whose id cannot be told.
    if caller.write_u32(target.id_out, 0).is_none() {
        return Ok(Status::InvalidMemoryAccess);
    }
    let read = |(address, len): Span| caller.read(address, len);
    let sent = match *message {
        Message::One(span, timeout) => read(span).map(|message| GrpcKind::Unary { message, timeout }),
        Message::Many => Some(GrpcKind::Stream),
    };
    let (Some(upstream), Some(service), Some(method), Some(metadata), Some(sent)) =
        (read(target.upstream), read(target.service), read(target.method), read(target.metadata), sent)
    else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let host = caller.state();
    let opened = parse(upstream, service, method, metadata, sent, |call| {
        host.open_call(kind, |id, plugin, _| host.env.grpc_open(id, plugin, call))
    });
    match opened {
        Ok(id) => Ok(status_of(caller.write_u32(target.id_out, id.get()))),
        Err(error) => {
            host.call_refused(function, kind, error);
            Ok(match error {
                CallError::Upstream | CallError::Malformed => Status::ParseFailure,
                CallError::TooLarge
                | CallError::TooMany
                | CallError::Full
                | CallError::Closed
                | CallError::Unavailable => Status::InternalFailure,
            })
        }
    }
}

/// Reads what the guest passed and hands it to `open`.
fn parse<R>(
    upstream: &[u8],
    service: &[u8],
    method: &[u8],
    metadata: &[u8],
    kind: GrpcKind<'_>,
    open: impl FnOnce(GrpcCall<'_>) -> Result<R, CallError>,
) -> Result<R, CallError> {
    if upstream.len() > UPSTREAM_NAME_BYTES_MAX {
        return Err(CallError::Upstream);
    }
    if service.is_empty() || method.is_empty() || service.len().max(method.len()) > GRPC_NAME_BYTES_MAX {
        return Err(CallError::Malformed);
    }
    let metadata = pairs::decode(metadata).map_err(|_| CallError::Malformed)?;
    open(GrpcCall { upstream: GrpcUpstream::read(upstream), service, method, metadata: &metadata, kind })
}

fn send<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (id, message, message_len, end): (u32, u32, u32, u32),
) -> Result<Status, Trap> {
    let Some(message) = caller.read(message, message_len) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let host = caller.state();
    let end = if end == 0 { MessageEnd::More } else { MessageEnd::Last };
    let id = match host.own_call(id) {
        Some((id, CallKind::GrpcStream)) => id,
        Some((_, CallKind::GrpcCall)) => return Ok(Status::BadArgument),
        Some((_, CallKind::Http | CallKind::Redis)) | None => return Ok(Status::NotFound),
    };
    match host.env.grpc_send(id, message, end) {
        Ok(()) => Ok(Status::Ok),
        Err(error) => {
            host.log(LogLevel::Warn, format!("proxy_grpc_send refused: {error}").as_bytes());
            Ok(Status::BadArgument)
        }
    }
}

/// Nothing is told of the call any more.
fn cancel<E: Environment>(caller: &mut Caller<'_, State<E>>, id: u32) -> Result<Status, Trap> {
    let host = caller.state();
    Ok(match host.own_call(id) {
        Some((id, CallKind::GrpcStream | CallKind::GrpcCall)) => {
            host.cancel_call(id);
            Status::Ok
        }
        Some((_, CallKind::Http | CallKind::Redis)) | None => Status::NotFound,
    })
}

/// The guest sends nothing more on a stream, and is told what still comes; a call is cancelled, as its
/// only message has been sent.
fn close<E: Environment>(caller: &mut Caller<'_, State<E>>, id: u32) -> Result<Status, Trap> {
    let host = caller.state();
    Ok(match host.own_call(id) {
        Some((id, CallKind::GrpcStream)) => {
            host.env.grpc_close(id);
            Status::Ok
        }
        Some((id, CallKind::GrpcCall)) => {
            host.cancel_call(id);
            Status::Ok
        }
        Some((_, CallKind::Http | CallKind::Redis)) | None => Status::NotFound,
    })
}
