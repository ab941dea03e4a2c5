//! Side calls: what a guest asks of other servers, and what they answer.
//!
//! 1. A host function (`host/http_call.rs`, `host/grpc.rs`, `host/redis.rs`) reads and checks the
//!    guest's arguments and opens the call in the VM's table (`host/calls.rs`), which gives it a
//!    [`CallId`].
//! 2. [`Environment::http_call`](crate::Environment::http_call),
//!    [`grpc_open`](crate::Environment::grpc_open) or [`redis_call`](crate::Environment::redis_call)
//!    takes it, or refuses with a [`CallError`]. It must not answer at once: a guest is never entered
//!    from inside itself.
//! 3. Later the gateway hands the outcome to
//!    [`Vm::on_http_call_response`](crate::Vm::on_http_call_response) or its like for the other kinds
//!    as a [`CallReply`]. The callback runs in the plugin's context, whether or not the stream that
//!    asked still lives.
//!
//! A call belongs to its plugin. It ends by its reply, or by
//! [`Environment::cancel_call`](crate::Environment::cancel_call), once, when the guest cancels it, its
//! plugin has gone or the VM has failed. An id is never delivered twice, and never given to another call while the first
//! one is under way.
//!
//! **A new kind of call** is a variant of [`CallKind`] that says which maps and which
//! buffer its callbacks read, a host function that opens it by `Host::open_call`, a method of
//! `Environment` that takes it, and a method of `Vm` that delivers by `Vm::deliver`. Kinds that answer
//! more than once look the call up and take it with the last answer.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::abi::types::BufferType;
pub use crate::abi::types::CallMap;
use crate::pairs::Pair;

/// A call under way, unique within its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(NonZeroU32);

impl CallId {
    pub(crate) const fn new(id: NonZeroU32) -> Self {
        Self(id)
    }

    /// The number the guest knows it by.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// One HTTP request, one response.
    Http,
    /// One gRPC message each way.
    GrpcCall,
    /// Any number of gRPC messages each way.
    GrpcStream,
    /// One Redis command, one reply.
    Redis,
}

impl CallKind {
    /// Whether the callbacks of such a call may read `map`.
    pub(crate) const fn shows_map(self, map: CallMap) -> bool {
        match self {
            Self::Http => matches!(map, CallMap::HttpResponseHeaders | CallMap::HttpResponseTrailers),
            Self::GrpcStream => {
                matches!(map, CallMap::GrpcInitialMetadata | CallMap::GrpcTrailingMetadata)
            }
            Self::GrpcCall | Self::Redis => false,
        }
    }

    /// Whether the callbacks of such a call may read `buffer`.
    pub(crate) const fn shows_buffer(self, buffer: BufferType) -> bool {
        match self {
            Self::Http => matches!(buffer, BufferType::HttpCallResponseBody),
            Self::GrpcCall | Self::GrpcStream => matches!(buffer, BufferType::GrpcCallMessage),
            Self::Redis => matches!(buffer, BufferType::RedisCallResponse),
        }
    }
}

/// An HTTP request of a guest. All of it is as the guest gave it, within the limits of this host (a
/// map has at most 1024 pairs and 1 MiB); nothing is checked but that the pseudo-headers are there.
#[derive(Clone, Copy, Debug)]
pub struct HttpCall<'a> {
    /// How the guest names the server.
    pub upstream: &'a [u8],
    /// The headers, `:method`, `:path` and `:authority` among them.
    pub headers: &'a [Pair<'a>],
    /// The body; limited only by the guest's memory.
    pub body: &'a [u8],
    /// The trailers.
    pub trailers: &'a [Pair<'a>],
    /// How long the guest waits for the whole response; `None`: as long as the gateway lets it.
    pub timeout: Option<Duration>,
}

/// Why a call was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No such server, or not one that this plugin may reach.
    #[error("the upstream is unknown, or the filter may not reach it")]
    Upstream,
    /// A part of the request that HTTP does not allow, or that is missing.
    #[error("the request is malformed")]
    Malformed,
    /// The request is larger than the gateway sends for a guest.
    #[error("the request is too large")]
    TooLarge,
    /// The plugin has as many calls under way as it may.
    #[error("too many calls at once")]
    TooMany,
    /// What was written to a stream before has not been sent yet.
    #[error("too much waits to be sent on the stream")]
    Full,
    /// The stream takes nothing more from the guest.
    #[error("the stream has been closed on this side")]
    Closed,
    /// There is no plugin, or no way to send anything.
    #[error("calls cannot be made now")]
    Unavailable,
}

/// What a call brought: read by the guest while the callback runs, dropped behind it.
///
/// A failed call has no headers, no body and no trailers.
pub trait CallReply: 'static {
    /// The number of pairs in a map; 0 if the reply has no such map.
    fn map_len(&self, map: CallMap) -> usize;

    /// Walks over a map in order, pseudo-headers first.
    fn map_pairs(&self, map: CallMap, f: &mut dyn FnMut(&[u8], &[u8]));

    /// The first value of `name` (any case).
    fn map_get(&self, map: CallMap, name: &[u8]) -> Option<&[u8]>;

    /// The body, or the message.
    fn body(&self) -> &[u8];

    /// What `proxy_get_status` answers: for an HTTP call 0 and no text, or [`BROKEN_CONNECTION`] and
    /// how it failed; for gRPC its status and message, in UTF-8; for Redis 0, or another number and how
    /// it failed.
    fn status(&self) -> (u32, &[u8]);
}

/// The status of an HTTP call that brought no response (`BrokenConnection` of the C++ host).
pub const BROKEN_CONNECTION: u32 = 11;
