//! What the gateway implements: one [`Stream`] per HTTP exchange or TCP connection, and one
//! [`Environment`] per VM.
//!
//! Both are called from inside guest callbacks, on the worker's thread, while the VM is borrowed:
//! an implementation uses interior mutability, records what the guest asked for and never calls the
//! VM back. The gateway acts on the record when the callback has returned.
//!
//! **Writes that cannot be done.** The Rust SDK panics when a write is answered by anything but OK,
//! and a write that passes silently could let a forged header through. So the guest is told OK, and
//! [`Stream::refuse`] records the refusal: the gateway ends that exchange by the filter's
//! `on_failure`. The instance stays healthy. Outside an exchange the refusal is a line of log.

use std::time::Duration;

use crate::abi::{LogLevel, MapType, StreamSide};
use crate::calls::{CallError, CallId, CallKind, HttpCall};
use crate::grpc::{GrpcCall, MessageEnd};
use crate::guest_metrics::GuestMetrics;
use crate::pairs::Pair;
use crate::plugin::{Plugin, PluginId};
use crate::redis::{RedisLogin, RedisUpstream};
use crate::shared_data::SharedData;
use crate::shared_queue::SharedQueues;

/// What a [`Stream`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StreamKind {
    /// An HTTP exchange. Its bodies are the buffers HTTP_REQUEST_BODY and HTTP_RESPONSE_BODY.
    #[default]
    Http,
    /// A TCP connection. Its two directions are the buffers DOWNSTREAM_DATA (the client's bytes, the side
    /// [`StreamSide::Request`]) and UPSTREAM_DATA; it has no maps.
    Tcp,
}

/// One HTTP exchange or TCP connection, as a filter sees it.
///
/// The VM keeps an `Rc` of it from [`Vm::create_stream`](crate::Vm::create_stream) until the context
/// is deleted, so that an effective context, a tick or a late operation finds it. A method may be
/// called at any time during any callback of that VM.
pub trait Stream: 'static {
    /// What it is. Host functions about the other kind find nothing.
    fn kind(&self) -> StreamKind {
        StreamKind::Http
    }

    /// Walks over a map in order, pseudo-headers first, and returns whether the map is available.
    fn map_pairs(&self, map: MapType, f: &mut dyn FnMut(&[u8], &[u8])) -> bool;

    /// Passes the first value of `name` (any case), or `None`, to `f`; returns `None` without calling
    /// `f` if the map is not available now. `f` runs the guest's allocator, which may log.
    fn map_get<R>(&self, map: MapType, name: &[u8], f: impl FnOnce(Option<&[u8]>) -> R) -> Option<R>;

    /// Replaces all values of `name` by one, or adds it.
    fn map_set(&self, map: MapType, name: &[u8], value: &[u8]) -> Result<(), MapError>;

    /// Adds a value and keeps those that exist.
    fn map_add(&self, map: MapType, name: &[u8], value: &[u8]) -> Result<(), MapError>;

    /// Removes all values of `name`; an absent name is not an error.
    fn map_remove(&self, map: MapType, name: &[u8]) -> Result<(), MapError>;

    /// Replaces the whole map, or leaves it whole on an error.
    fn map_replace_all(&self, map: MapType, pairs: &[Pair<'_>]) -> Result<(), MapError>;

    /// The bytes of the body that a callback may see now, or `None` if there is no body to see. While
    /// trailers are handled it is what is still held back, if only as an empty body: filters append
    /// to it.
    fn body_len(&self, side: StreamSide) -> Option<usize>;

    /// Passes at most `max` bytes from `start` on to `f` (fewer at the end, none beyond it); returns
    /// `None` without calling `f` if there is no body to see. `f` runs the guest's allocator, which may
    /// log.
    fn body_read<R>(
        &self,
        side: StreamSide,
        start: usize,
        max: usize,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Option<R>;

    /// Replaces `size` bytes at `start` by `data`. Both are clamped to the body: (0, 0) prepends, a
    /// start at or beyond the end appends, `size` may be `usize::MAX`.
    fn body_splice(
        &self,
        side: StreamSide,
        start: usize,
        size: usize,
        data: &[u8],
    ) -> Result<(), BufferError>;

    /// Passes the value of a property to `f`, or returns `None` if there is none. `path` has its
    /// segments separated by NUL. Values are encoded as Envoy does: strings raw, integers 8 bytes
    /// little-endian, booleans one byte, times and durations int64 nanoseconds, maps as pairs.
    /// `plugin_name`, `plugin_root_id` and `plugin_vm_id` are answered before this is asked.
    fn property<R>(&self, path: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R>;

    /// Stores a property of the guest's own, readable by it and by later filters.
    fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), PropertyError>;

    /// Records that the route is to be looked up again before the request is sent on.
    fn clear_route_cache(&self);

    /// Walks over the endpoints that the request may be sent to, each with its address and whether it
    /// takes connections, as far as is known; returns whether there are any.
    fn upstream_hosts(&self, f: &mut dyn FnMut(&[u8], bool)) -> bool;

    /// Records that the endpoint of this address is to be tried first, and returns whether it is one of
    /// [`upstream_hosts`](Self::upstream_hosts).
    fn override_upstream_host(&self, address: &[u8]) -> bool;

    /// Records the answer the guest gives instead of the upstream. The first one counts: a second is
    /// ignored, as is one after the response headers were sent.
    fn local_response(&self, response: LocalResponse<'_>);

    /// Records that a paused side goes on.
    fn resume(&self, side: StreamSide);

    /// Records that the exchange is to be reset, as seen from `side`.
    fn close(&self, side: StreamSide);

    /// Records that a write of the guest was not done: the exchange fails by the filter's policy.
    fn refuse(&self, refusal: Refusal);
}

/// What surrounds a VM: log, timer, shared state.
pub trait Environment: 'static {
    /// The exchange type of this gateway.
    type Stream: Stream;

    /// A line of the guest's log, at most 8 KiB, already filtered by [`log_level`](Self::log_level).
    /// `plugin` is `None` while the module initialises, `stream` outside an exchange.
    fn log(&self, plugin: Option<&Plugin>, stream: Option<&Self::Stream>, level: LogLevel, message: &[u8]);

    /// The least level that is logged.
    fn log_level(&self) -> LogLevel;

    /// Starts, changes or (with `None`) stops the timer of a plugin. The gateway calls
    /// [`Vm::on_tick`](crate::Vm::on_tick) each period, and may choose a longer one. May arrive while
    /// [`Vm::add_plugin`](crate::Vm::add_plugin) has not returned the id yet; if it then fails, `None`
    /// follows.
    fn set_tick(&self, plugin: PluginId, period: Option<Duration>);

    /// Sends a request of `plugin`, on behalf of `stream` if it lives. The outcome is told later by
    /// [`Vm::on_http_call_response`](crate::Vm::on_http_call_response), never from inside this
    /// method. Like [`set_tick`](Self::set_tick), it may come before
    /// [`Vm::add_plugin`](crate::Vm::add_plugin) has returned the plugin's id.
    fn http_call(
        &self,
        id: CallId,
        plugin: &Plugin,
        stream: Option<&Self::Stream>,
        call: HttpCall<'_>,
    ) -> Result<(), CallError>;

    /// Makes a gRPC call or opens a stream. What it brings is told later, as [`GrpcCall`] says, never
    /// from inside this method. May come as early as [`http_call`](Self::http_call).
    fn grpc_open(&self, id: CallId, plugin: &Plugin, call: GrpcCall<'_>) -> Result<(), CallError>;

    /// Sends a message on a gRPC stream that was opened. What it has no room for yet is refused, with
    /// [`CallError::Full`]; with [`CallError::Closed`] what comes after the last.
    fn grpc_send(&self, id: CallId, message: &[u8], end: MessageEnd) -> Result<(), CallError>;

    /// The guest sends nothing more on a gRPC stream, which goes on otherwise.
    fn grpc_close(&self, id: CallId);

    /// Says how Redis calls of `plugin` to a server log in from now on, and how long they may take.
    fn redis_init(
        &self,
        plugin: &Plugin,
        upstream: RedisUpstream<'_>,
        login: RedisLogin<'_>,
    ) -> Result<(), CallError>;

    /// Sends a Redis command, encoded as Redis takes it. The reply is told later by
    /// [`Vm::on_redis_call_response`](crate::Vm::on_redis_call_response), never from inside this method.
    fn redis_call(
        &self,
        id: CallId,
        plugin: &Plugin,
        upstream: &[u8],
        command: &[u8],
    ) -> Result<(), CallError>;

    /// A call of the plugin was refused, by the method for its kind or before that was asked; for
    /// whoever counts them.
    fn call_refused(&self, plugin: &Plugin, kind: CallKind) {
        let _ = (plugin, kind);
    }

    /// The call is of no use any more: the guest has cancelled it, its plugin has gone, or the VM has
    /// failed.
    fn cancel_call(&self, id: CallId);

    /// A guest says that it has failed: the exchange, if there is one, ends by the filter's policy. Like a
    /// refusal it is acted on when the callback has returned.
    fn fault(&self, plugin: &Plugin, stream: Option<&Self::Stream>, fault: GuestFault);

    /// The process-wide shared data.
    fn shared_data(&self) -> &SharedData;

    /// The process-wide queues.
    fn shared_queues(&self) -> &SharedQueues;

    /// The process-wide metrics of guests.
    fn metrics(&self) -> &GuestMetrics;
}

/// An answer of the guest's own.
#[derive(Clone, Copy, Debug)]
pub struct LocalResponse<'a> {
    /// The status, 200 to 599; what a guest passes beyond that becomes 500.
    pub status: u16,
    /// A reason for logs, at most 1 KiB; not sent to the client.
    pub details: &'a [u8],
    /// The body; limited only by the guest's memory.
    pub body: &'a [u8],
    /// Headers to add, at most 1024; names and values are as the guest gave them, unchecked.
    pub headers: &'a [Pair<'a>],
    /// The gRPC status, if the guest gave one.
    pub grpc_status: Option<i32>,
}

/// Why a map was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// There is no such map in this phase, or it has been sent already.
    #[error("the map is not available now")]
    Unavailable,
    /// The name is not one of HTTP, or a pseudo-header this map does not have.
    #[error("the name is not valid")]
    BadName,
    /// The value holds bytes that HTTP forbids, or does not fit its pseudo-header.
    #[error("the value is not valid")]
    BadValue,
    /// The map would exceed the limits of the gateway.
    #[error("the map would become too large")]
    TooLarge,
}

/// Why a body was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BufferError {
    /// There is no such body in this phase.
    #[error("the body is not available now")]
    Unavailable,
    /// The body would exceed the buffer limit.
    #[error("the body would become too large")]
    TooLarge,
}

/// Why a property was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// The path names something the gateway owns.
    #[error("the property cannot be written")]
    ReadOnly,
    /// The exchange holds as many properties, or as many bytes of them, as it may.
    #[error("too many properties")]
    TooLarge,
}

/// What has kept a guest from its work, as it says itself: the foreign function `tollgate_fail`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct GuestFault {
    /// What it has cost.
    pub kind: FaultKind,
    /// What happened, in the guest's words; at most 256 bytes.
    pub reason: Box<str>,
}

/// What a fault has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Little: an error ended the guest's work.
    Error,
    /// Most of its CPU budget: it ended its work before the meter did.
    Budget,
}

/// A write of the guest that was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{function}: {reason}")]
pub struct Refusal {
    /// The host function.
    pub function: &'static str,
    /// Why.
    pub reason: RefusalReason,
}

/// Why a write was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// Not in this phase or context.
    #[error("not available now")]
    Unavailable,
    /// A name that is not valid.
    #[error("the name is not valid")]
    BadName,
    /// A value that is not valid.
    #[error("the value is not valid")]
    BadValue,
    /// Beyond a limit.
    #[error("too large")]
    TooLarge,
    /// A serialized map that does not parse.
    #[error("the serialized map is malformed")]
    Malformed,
    /// Something the gateway owns.
    #[error("read-only")]
    ReadOnly,
    /// The policy does not allow the filter this function.
    #[error("not allowed by the policy")]
    Forbidden,
}

impl From<MapError> for RefusalReason {
    fn from(error: MapError) -> Self {
        match error {
            MapError::Unavailable => Self::Unavailable,
            MapError::BadName => Self::BadName,
            MapError::BadValue => Self::BadValue,
            MapError::TooLarge => Self::TooLarge,
        }
    }
}

impl From<BufferError> for RefusalReason {
    fn from(error: BufferError) -> Self {
        match error {
            BufferError::Unavailable => Self::Unavailable,
            BufferError::TooLarge => Self::TooLarge,
        }
    }
}

impl From<PropertyError> for RefusalReason {
    fn from(error: PropertyError) -> Self {
        match error {
            PropertyError::ReadOnly => Self::ReadOnly,
            PropertyError::TooLarge => Self::TooLarge,
        }
    }
}
