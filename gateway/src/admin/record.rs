//! `POST /filters/NAME/record`: what a filter is given and makes of it, as it happens.
//!
//! The answer is a file of [`crate::filter::record::format`], a line as each exchange ends. Whoever asked
//! ends it by going away. Only where no other machine can ask: what it tells is the clients' own.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use http_body::Frame;
use serde::{Deserialize, Serialize};
use tokio::time::Sleep;

use super::control::Control;
use super::guard::Hosts;
use crate::filter::record::format::{Ending, Entry, Header, Record, VERSION};
use crate::filter::record::{Live, Redaction, Wanted};

const COUNT_MAX: u64 = 100_000;
const SECONDS_MAX: u64 = 600;
const BYTES_MAX: u64 = 256 << 20;
const BODY_BYTES_MAX: usize = 1 << 20;

/// What may be asked for.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Asked {
    /// Exchanges.
    count: u64,
    /// How long.
    seconds: u64,
    /// Bytes kept of all exchanges.
    bytes: u64,
    /// Bytes kept of each body.
    body_bytes: usize,
    /// Names of fields, with commas between, that are kept although they look like secrets.
    keep: String,
}

impl Default for Asked {
    fn default() -> Self {
        Self { count: 100, seconds: 30, bytes: 16 << 20, body_bytes: 0, keep: String::new() }
    }
}

/// A recording that has begun.
#[derive(Debug)]
pub struct Begun {
    /// What comes of it.
    pub live: Live,
    /// The generation in force.
    pub generation: u64,
}

/// Why nothing is recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    /// The policy has no such filter, or it is in shadow: what that says reaches nobody.
    #[error("no Wasm filter of this name takes effect; there are: {}", .0.join(", "))]
    NoFilter(Vec<String>),
    /// Another recording is under way.
    #[error("another recording is under way; it ends when whoever asked for it goes away")]
    Busy,
    /// No policy is in force.
    #[error("no policy is in force yet")]
    NoPolicy,
}

impl NotRecorded {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoFilter(_) => StatusCode::NOT_FOUND,
            Self::Busy => StatusCode::CONFLICT,
            Self::NoPolicy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

pub(super) async fn record<C: Control>(
    State((control, hosts)): State<(Arc<C>, Hosts)>,
    Path(filter): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    if hosts == Hosts::Any {
        return refuse(StatusCode::FORBIDDEN, "recordings are only given on a loopback address");
    }
    let keep = match asked.check() {
        Ok(keep) => keep,
        Err(reason) => return refuse(StatusCode::BAD_REQUEST, &reason),
    };
    let wanted = Wanted {
        filter: filter.as_str().into(),
        exchanges: asked.count,
        bytes: asked.bytes,
        body_bytes: asked.body_bytes,
    };
    let Begun { live, generation } = match control.record(wanted) {
        Ok(begun) => begun,
        Err(error) => return refuse(error.status(), &error.to_string()),
    };
    tracing::info!(filter, count = asked.count, seconds = asked.seconds, "recording a filter");
    let header = Header { tollgate_recording: VERSION, filter, generation, body_bytes: asked.body_bytes };
    let lines = Lines {
        live,
        redaction: Redaction::but(keep),
        deadline: Box::pin(tokio::time::sleep(Duration::from_secs(asked.seconds))),
        header: Some(header),
        count: asked.count,
        written: 0,
        is_late: false,
        has_ended: false,
    };
    let media = HeaderValue::from_static("application/jsonl");
    ([(CONTENT_TYPE, media)], Body::new(lines)).into_response()
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    (status, format!("{reason}\n")).into_response()
}

impl Asked {
    /// The fields to keep.
    fn check(&self) -> Result<Vec<HeaderName>, String> {
        let within = |name: &str, value: u64, max: u64| match (1..=max).contains(&value) {
            true => Ok(()),
            false => Err(format!("`{name}` is {value}: expected 1 to {max}")),
        };
        within("count", self.count, COUNT_MAX)?;
        within("seconds", self.seconds, SECONDS_MAX)?;
        within("bytes", self.bytes, BYTES_MAX)?;
        if self.body_bytes > BODY_BYTES_MAX {
            return Err(format!("`body_bytes` is {}: expected at most {BODY_BYTES_MAX}", self.body_bytes));
        }
        let names = self.keep.split(',').map(str::trim).filter(|name| !name.is_empty());
        let parse = |name: &str| name.parse().map_err(|_| format!("`keep`: {name:?} is no header name"));
        names.map(parse).collect()
    }
}

/// The lines of a recording as a body.
struct Lines {
    live: Live,
    redaction: Redaction,
    deadline: Pin<Box<Sleep>>,
    /// The first line, until it is written.
    header: Option<Header>,
    count: u64,
    written: u64,
    is_late: bool,
    has_ended: bool,
}

impl Lines {
    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(header) = self.header.take() {
            return Poll::Ready(Some(line(&header)));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        if !self.is_late && self.deadline.as_mut().poll(cx).is_ready() {
            self.is_late = true;
            self.live.stop();
        }
        let record = match ready!(self.live.poll_next(cx)) {
            Some(captured) => {
                self.written += 1;
                Record::Exchange(Box::new(Entry::new(&captured, &self.redaction)))
            }
            None => {
                self.has_ended = true;
                Record::End(self.ending())
            }
        };
        Poll::Ready(Some(line(&record)))
    }

    fn ending(&self) -> Ending {
        let lost = self.live.lost();
        let ended_by = if self.written + lost >= self.count {
            "count"
        } else if self.is_late {
            "time"
        } else if self.live.is_full() {
            "bytes"
        } else {
            "shutdown"
        };
        Ending { exchanges: self.written, lost, ended_by: ended_by.to_owned() }
    }
}

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_line(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

fn line(value: &impl Serialize) -> Bytes {
    // Plain data with text keys: there is nothing in it that JSON could not say.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}
