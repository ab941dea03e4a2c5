//! The Proxy-Wasm host of Tollgate: ABI 0.2.1, 0.2.0, 0.1.0, and Higress's 0.2.100.
//!
//! It runs a filter module on the engine of `tollgate-wasmedge` and knows no HTTP library: the gateway
//! implements [`Stream`] for an exchange and [`Environment`] for what surrounds it, and drives a
//! [`Vm`].
//!
//! The way in: gateway → [`Vm`] (`vm/`) → guest. The way back: guest → host functions (`host/`) →
//! [`Stream`] and [`Environment`] → gateway, which records and acts when the callback has returned.
//! `abi/` holds the wire numbers, `limits.rs` what a guest may ask for, [`SharedData`],
//! [`SharedQueues`] and [`GuestMetrics`] what guests share across workers.
//!
//! Rules kept throughout:
//! * A guest callback is never entered from inside another; the allocator is the one nested call.
//! * Host functions answer only statuses that SDKs tolerate; a write that cannot be done fails the
//!   exchange through [`Stream::refuse`] instead of passing silently.
//! * Every length, count and number from a guest is checked; everything a guest can grow is limited.
//! * No file, no socket, no environment but what [`VmSpec`] gives.
//! * A trap or a spent budget fails the VM for good; nothing is called in it any more.
//!
//! Side calls (`proxy_http_call`, `proxy_grpc_*`, and `proxy_redis_*` of Higress) are told of in
//! [`calls`], what is particular about gRPC in [`grpc`].

mod abi;
pub mod calls;
mod capabilities;
mod environment;
pub mod grpc;
mod guest_metrics;
mod host;
mod host_calls;
mod limits;
mod pairs;
mod plugin;
mod redis;
mod shared_data;
mod shared_queue;
mod vm;

pub use abi::{AbiVersion, Action, LogLevel, MapType, MetricType, PauseKind, PeerType, StreamSide};
pub use calls::{CallError, CallId, CallKind, CallMap, CallReply, HttpCall};
pub use capabilities::Capabilities;
pub use environment::{
    BufferError, Environment, FaultKind, GuestFault, LocalResponse, MapError, PropertyError, Refusal,
    RefusalReason, Stream, StreamKind,
};
pub use grpc::{GrpcCall, GrpcKind, GrpcUpstream, MessageEnd};
pub use guest_metrics::{GuestMetrics, HISTOGRAM_BOUNDS, MetricValue};
pub use host::{HostFunctions, Support};
pub use host_calls::{HOST_FUNCTIONS, HostCalls};
pub use pairs::{Pair, encode as encode_pairs};
pub use plugin::{ContextId, Plugin, PluginId, PluginSpec, VmSpec};
pub use redis::{RedisLogin, RedisUpstream};
pub use shared_data::{SharedData, SharedDataLimits};
pub use shared_queue::{QueueId, QueueReader, QueueTurn, SharedQueueLimits, SharedQueues};
pub use vm::error::{Failure, GuestLog, StartError};
pub use vm::{Handles, Vm};
