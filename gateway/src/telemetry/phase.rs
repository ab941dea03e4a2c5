//! Where in a request or a connection a filter ran.

/// A point at which filters run; a metric label and an access-log field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say it
pub enum Phase {
    RequestHeaders,
    RequestBody,
    RequestTrailers,
    ResponseHeaders,
    ResponseBody,
    ResponseTrailers,
    NewConnection,
    DownstreamData,
    UpstreamData,
    DownstreamClose,
    UpstreamClose,
    /// After the request or connection: the filter's own log and clean-up.
    Done,
    /// Outside requests: the filter's timer went off.
    Tick,
    /// Outside requests: a queue that the filter reads has something in it.
    QueueReady,
    /// Outside requests: a call of the filter's own was answered.
    CallResponse,
    /// Outside requests; which callback it was is not known.
    Background,
}

impl Phase {
    /// Whether it belongs to the request's way to its upstream.
    pub fn is_of_request(self) -> bool {
        matches!(self, Self::RequestHeaders | Self::RequestBody | Self::RequestTrailers)
    }

    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::RequestHeaders,
        Self::RequestBody,
        Self::RequestTrailers,
        Self::ResponseHeaders,
        Self::ResponseBody,
        Self::ResponseTrailers,
        Self::NewConnection,
        Self::DownstreamData,
        Self::UpstreamData,
        Self::DownstreamClose,
        Self::UpstreamClose,
        Self::Done,
        Self::Tick,
        Self::QueueReady,
        Self::CallResponse,
        Self::Background,
    ];

    /// As it is written in labels and fields.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestHeaders => "request_headers",
            Self::RequestBody => "request_body",
            Self::RequestTrailers => "request_trailers",
            Self::ResponseHeaders => "response_headers",
            Self::ResponseBody => "response_body",
            Self::ResponseTrailers => "response_trailers",
            Self::NewConnection => "new_connection",
            Self::DownstreamData => "downstream_data",
            Self::UpstreamData => "upstream_data",
            Self::DownstreamClose => "downstream_close",
            Self::UpstreamClose => "upstream_close",
            Self::Done => "done",
            Self::Tick => "tick",
            Self::QueueReady => "queue_ready",
            Self::CallResponse => "call_response",
            Self::Background => "background",
        }
    }
}

impl serde::Serialize for Phase {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
