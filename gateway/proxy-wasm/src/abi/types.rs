//! Enumerations that name things: levels, maps, buffers, streams, metrics.

use super::wire_enum;

wire_enum! {
    /// How important a line of a guest's log is (`proxy_log_level_t`).
    pub enum LogLevel {
        /// Finest detail.
        Trace = 0,
        /// For whoever debugs the filter.
        Debug = 1,
        /// Ordinary events.
        Info = 2,
        /// Something odd that the filter copes with.
        Warn = 3,
        /// Something failed.
        Error = 4,
        /// The filter cannot go on; SDKs log their panics at this level.
        Critical = 5,
    }
}

wire_enum! {
    /// The header maps of an HTTP exchange (the first four values of `proxy_map_type_t`).
    pub enum MapType {
        /// Request headers, `:method`, `:path`, `:authority` and `:scheme` among them.
        RequestHeaders = 0,
        /// Request trailers.
        RequestTrailers = 1,
        /// Response headers, `:status` among them.
        ResponseHeaders = 2,
        /// Response trailers.
        ResponseTrailers = 3,
    }
}

wire_enum! {
    /// The maps of a side call's reply (the other four values of `proxy_map_type_t`).
    pub enum CallMap {
        /// What a gRPC server sends before its first message.
        GrpcInitialMetadata = 4,
        /// What a gRPC server sends after its last message.
        GrpcTrailingMetadata = 5,
        /// The headers of the response to an HTTP call, `:status` among them.
        HttpResponseHeaders = 6,
        /// The trailers of the response to an HTTP call.
        HttpResponseTrailers = 7,
    }
}

/// A map as the guest names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireMap {
    /// A map of the exchange.
    Stream(MapType),
    /// A map of a side call's reply.
    Call(CallMap),
}

impl WireMap {
    pub(crate) const fn from_wire(value: u32) -> Option<Self> {
        match (MapType::from_wire(value), CallMap::from_wire(value)) {
            (Some(map), _) => Some(Self::Stream(map)),
            (None, Some(map)) => Some(Self::Call(map)),
            (None, None) => None,
        }
    }
}

wire_enum! {
    /// `proxy_buffer_type_t`.
    pub(crate) enum BufferType {
        RequestBody = 0,
        ResponseBody = 1,
        DownstreamData = 2,
        UpstreamData = 3,
        HttpCallResponseBody = 4,
        GrpcCallMessage = 5,
        VmConfiguration = 6,
        PluginConfiguration = 7,
        ForeignFunctionArguments = 8,
        /// Higress's dialect.
        RedisCallResponse = 9,
    }
}

/// One direction of an HTTP exchange or of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamSide {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

wire_enum! {
    /// Which end of a TCP connection closed it (`proxy_peer_type_t`).
    pub enum PeerType {
        /// Not known.
        Unknown = 0,
        /// This host.
        Local = 1,
        /// The other end.
        Remote = 2,
    }
}

wire_enum! {
    /// `proxy_stream_type_t`.
    pub(crate) enum StreamType {
        HttpRequest = 0,
        HttpResponse = 1,
        Downstream = 2,
        Upstream = 3,
    }
}

wire_enum! {
    /// What a metric of a guest measures (`proxy_metric_type_t`).
    pub enum MetricType {
        /// A count that only grows.
        Counter = 0,
        /// A value that goes up and down.
        Gauge = 1,
        /// A distribution.
        Histogram = 2,
    }
}

wire_enum! {
    /// `wasi_clock_id_t`, the two that the ABI asks for.
    pub(crate) enum ClockId {
        Realtime = 0,
        Monotonic = 1,
    }
}
