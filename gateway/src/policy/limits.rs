//! Limits on what a client may send, hold and wait for. Every one has a default and none is zero.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

/// Limits for all listeners and routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of request line and headers together. Beyond: 431. Default 64 KiB; 8 KiB to 1 MiB.
    pub header_bytes_max: u32,
    /// Header fields in a request. Beyond: 431. Default 100.
    pub header_count_max: NonZeroU32,
    /// Bytes of a request body, streamed or not. Beyond: 413. Default 64 MiB.
    pub body_bytes_max: NonZeroU64,
    /// Bytes held while a filter pauses: a request beyond it gets 413; a response 502, or it is cut if
    /// its head has gone out by then. Default 1 MiB.
    pub buffer_bytes_max: NonZeroU64,
    /// Client connections open at once over all workers. Beyond: closed at accept. Default 10 000.
    pub connections_max: NonZeroU32,
    /// From the first byte of a request to the end of its headers. Beyond: 408. Default 10 s.
    pub header_read_timeout: Duration,
    /// An idle keep-alive connection is closed after this. Default 75 s.
    pub idle_timeout: Duration,
    /// From the end of the request headers to the last byte of the response. Beyond: 504 if nothing
    /// was sent yet, else the connection is cut. `None`: no limit. Default 5 min.
    pub total_timeout: Option<Duration>,
    /// At shutdown, how long running requests may take to finish. Default 30 s.
    pub drain_timeout: Duration,
}
