//! Requests that were refused before their head was one: the line and the count that they get.

use std::time::{Duration, SystemTime};

use http::{HeaderValue, StatusCode};

use super::state::Worker;
use crate::http::forwarded::Peer;
use crate::telemetry::Timestamp;
use crate::telemetry::access_log::{Record, Text};
use crate::telemetry::metrics::StatusClass;

/// Why a head was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It did not end in time.
    Timeout,
    /// It is larger than `limits.header_bytes` or `limits.header_count` allow.
    TooLarge,
    /// It is not HTTP/1.
    Malformed,
}

impl Refusal {
    /// What `error`, with which hyper ended a connection, says of a head; `None` if nothing.
    pub(super) fn of(error: &hyper::Error) -> Option<Self> {
        match error.is_parse() {
            // A target beyond 64 KiB, which hyper answers with 414, counts as this too.
            true if error.is_parse_too_large() => Some(Self::TooLarge),
            true => Some(Self::Malformed),
            false => None,
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Malformed => StatusCode::BAD_REQUEST,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Timeout => "head_timeout",
            Self::TooLarge => "head_too_large",
            Self::Malformed => "malformed_head",
        }
    }
}

/// Logs and counts a refused head. The trusted-proxy rule needs its fields, so the client is the peer.
pub(super) fn note(worker: &Worker, peer: &Peer, refusal: Refusal, duration: Duration) {
    let generation = worker.generation();
    worker.metrics.connections_failed.inc();
    generation.unrouted.record(StatusClass::of(Some(refusal.status())), duration);
    if !worker.access_log().is_on() {
        return;
    }
    let request_id = HeaderValue::from(worker.request_ids().next_id());
    worker.access_log().push(Record {
        time: Timestamp(SystemTime::now()),
        request_id: Text::clip(request_id.as_bytes(), Text::SHORT_MAX),
        client: peer.address(),
        method: None,
        host: None,
        path: None,
        route: None,
        status: Some(refusal.status()),
        bytes_in: 0,
        bytes_out: 0,
        duration,
        upstream: None,
        user_agent: None,
        ended_by: None,
        shadow: Vec::new(),
        error: Some(refusal.word()),
        generation: generation.blueprint.number,
    });
}
