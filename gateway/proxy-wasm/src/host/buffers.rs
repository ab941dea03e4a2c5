//! Bodies, data of TCP connections, and configurations.
//!
//! Reads are clamped, never an error; a buffer that is not there is NOT_FOUND.

use std::rc::Rc;
use std::sync::Arc;

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::memory::{ReturnSlot, return_bytes, status_of};
use super::{State, host_functions};
use crate::abi::status::Status;
use crate::abi::types::{BufferType, StreamSide};
use crate::calls::CallReply;
use crate::environment::{BufferError, Environment, RefusalReason, Stream, StreamKind};

const SET_BYTES: &str = "proxy_set_buffer_bytes";

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    host_functions!(linker, restricted,
        "proxy_get_buffer_bytes" => get_bytes,
        "proxy_set_buffer_bytes" => set_bytes,
        "proxy_get_buffer_status" => status,
        "proxy_get_configuration" => configuration,
    );
}

/// Where the bytes of a buffer are.
enum Source<E: Environment> {
    Body(Rc<E::Stream>, StreamSide),
    Configuration(Arc<[u8]>),
    Reply(Rc<dyn CallReply>),
}

impl<E: Environment> Source<E> {
    /// The buffer a guest names, if the active context has it.
    fn find(caller: &Caller<'_, State<E>>, buffer: BufferType) -> Option<Self> {
        let host = caller.state();
        let body = || {
            let stream = host.stream()?;
            let side = side_of(buffer, stream.kind())?;
            Some(Self::Body(stream, side))
        };
        match buffer {
            BufferType::RequestBody
            | BufferType::ResponseBody
            | BufferType::DownstreamData
            | BufferType::UpstreamData => body(),
            BufferType::VmConfiguration => Some(Self::Configuration(Arc::clone(&host.spec.configuration))),
            BufferType::PluginConfiguration => {
                host.plugin().map(|plugin| Self::Configuration(Arc::clone(&plugin.spec().configuration)))
            }
            BufferType::HttpCallResponseBody
            | BufferType::GrpcCallMessage
            | BufferType::RedisCallResponse => host.call_message(buffer).map(Self::Reply),
            BufferType::ForeignFunctionArguments => None,
        }
    }

    fn len(&self) -> Option<usize> {
        match self {
            Self::Body(stream, side) => stream.body_len(*side),
            Self::Configuration(bytes) => Some(bytes.len()),
            Self::Reply(reply) => Some(reply.body().len()),
        }
    }

    fn read<R>(&self, start: usize, max: usize, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        match self {
            Self::Body(stream, side) => stream.body_read(*side, start, max, f),
            Self::Configuration(bytes) => Some(f(slice(bytes, start, max))),
            Self::Reply(reply) => Some(f(slice(reply.body(), start, max))),
        }
    }
}

/// The direction that a buffer holds, if streams of this kind have it.
const fn side_of(buffer: BufferType, kind: StreamKind) -> Option<StreamSide> {
    match (kind, buffer) {
        (StreamKind::Http, BufferType::RequestBody) | (StreamKind::Tcp, BufferType::DownstreamData) => {
            Some(StreamSide::Request)
        }
        (StreamKind::Http, BufferType::ResponseBody) | (StreamKind::Tcp, BufferType::UpstreamData) => {
            Some(StreamSide::Response)
        }
        _ => None,
    }
}

/// At most `max` bytes from `start` on; fewer at the end, none beyond it.
fn slice(bytes: &[u8], start: usize, max: usize) -> &[u8] {
    let rest = bytes.get(start..).unwrap_or_default();
    &rest[..rest.len().min(max)]
}

fn get_bytes<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (buffer, start, max, address, size): (u32, u32, u32, u32, u32),
) -> Result<Status, Trap> {
    let Some(buffer) = BufferType::from_wire(buffer) else {
        return Ok(Status::BadArgument);
    };
    let Some(source) = Source::find(caller, buffer) else {
        return Ok(Status::NotFound);
    };
    let slot = ReturnSlot { address, size };
    let read = source.read(start as usize, max as usize, |bytes| return_bytes(caller, bytes, slot));
    read.unwrap_or(Ok(Status::NotFound))
}

fn set_bytes<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (buffer, start, size, data, data_len): (u32, u32, u32, u32, u32),
) -> Result<Status, Trap> {
    let Some(data) = caller.read(data, data_len) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let host = caller.state();
    let buffer = match BufferType::from_wire(buffer) {
        Some(BufferType::VmConfiguration | BufferType::PluginConfiguration) => {
            return Ok(host.refuse(SET_BYTES, RefusalReason::ReadOnly));
        }
        Some(buffer) => buffer,
        None => return Ok(Status::BadArgument),
    };
    Ok(host.write(SET_BYTES, |stream| match side_of(buffer, stream.kind()) {
        Some(side) => stream.body_splice(side, start as usize, wide(size), data),
        None => Err(BufferError::Unavailable),
    }))
}

/// The guest's `usize::MAX` means "to the end", whatever the host's width.
fn wide(size: u32) -> usize {
    if size == u32::MAX { usize::MAX } else { size as usize }
}

fn status<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (buffer, size_out, flags_out): (u32, u32, u32),
) -> Result<Status, Trap> {
    let Some(buffer) = BufferType::from_wire(buffer) else {
        return Ok(Status::BadArgument);
    };
    let Some(len) = Source::find(caller, buffer).and_then(|source| source.len()) else {
        return Ok(Status::NotFound);
    };
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    Ok(status_of(caller.write_u32(size_out, len).and(caller.write_u32(flags_out, 0))))
}

/// ABI 0.1.0: the configuration of what starts, the VM's or the plugin's, whole.
fn configuration<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (address, size): (u32, u32),
) -> Result<Status, Trap> {
    let buffer = match caller.state().in_vm_start.get() {
        true => BufferType::VmConfiguration,
        false => BufferType::PluginConfiguration,
    };
    get_bytes(caller, (buffer.wire(), 0, u32::MAX, address, size))
}
