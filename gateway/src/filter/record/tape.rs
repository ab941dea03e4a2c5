//! One exchange of a recorded filter: what went in, what came out, on the worker that serves it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::Recording;
use crate::filter::exchange::{Exchange, RequestHead, Side};
use crate::filter::reply::Reply;

/// What is counted against the bytes of a recording for a head, beside its fields.
const HEAD_BYTES: usize = 256;

/// One exchange, whole.
#[derive(Debug)]
pub struct Captured {
    /// When its head had arrived.
    pub at: SystemTime,
    /// The other end of the client's connection.
    pub peer: SocketAddr,
    /// The request.
    pub request: Half,
    /// The response.
    pub response: Half,
    /// What the filter made of it.
    pub verdict: Verdict,
}

/// One side of an exchange, before and after the filter.
#[derive(Debug, Default)]
pub struct Half {
    /// The head as it came to the filter; `None`: the filter has not seen it.
    pub head_in: Option<Head>,
    /// The head as the filter left it.
    pub head_out: Option<Head>,
    /// Whether the head came with the word that nothing follows it.
    pub is_bare: bool,
    /// The body as it came; `None`: the filter looks at none.
    pub body_in: Option<Body>,
    /// The body as it left.
    pub body_out: Option<Body>,
    /// Trailers as they came.
    pub trailers_in: Option<HeaderMap>,
    /// Trailers as they left.
    pub trailers_out: Option<HeaderMap>,
}

/// A head, of either side.
#[derive(Debug, Clone)]
pub struct Head {
    /// A request's method and target; a response's status.
    pub line: Line,
    /// Its fields.
    pub headers: HeaderMap,
}

/// What stands before the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Line {
    Request { method: Method, target: http::uri::PathAndQuery },
    Response { status: StatusCode },
}

/// A body, as far as it was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    /// Its length.
    pub length: u64,
    /// Its beginning.
    pub kept: BytesMut,
}

/// What a filter made of an exchange.
#[derive(Debug, Clone, Default)]
pub enum Verdict {
    /// It let it pass.
    #[default]
    Passed,
    /// It answered.
    Replied {
        /// Status and fields.
        head: Head,
        /// The body.
        body: Body,
    },
    /// It failed, for this reason.
    Failed(String),
    /// It closed the stream.
    Closed,
}

/// Takes one exchange down. Its end hands it on.
pub struct Tape {
    recording: Arc<Recording>,
    exchange: Rc<Exchange>,
    position: usize,
    captured: RefCell<Captured>,
    /// Both heads before a callback that is not the head's own.
    before: RefCell<[Option<Head>; 2]>,
}

impl Tape {
    pub(super) fn new(recording: Arc<Recording>, exchange: Rc<Exchange>, position: usize) -> Self {
        let captured = RefCell::new(Captured::new(exchange.time(), exchange.client.peer));
        Self { recording, exchange, position, captured, before: RefCell::default() }
    }

    /// The place in the chain of the filter that is recorded.
    pub(in crate::filter) fn position(&self) -> usize {
        self.position
    }

    /// A head comes to the filter.
    pub(in crate::filter) fn head_in(&self, side: Side, is_bare: bool) {
        let head = self.head(side);
        self.half(side, |half| {
            half.head_in = head;
            half.is_bare = is_bare;
        });
    }

    /// The filter lets it go, or answers.
    pub(in crate::filter) fn head_out(&self, side: Side) {
        let head = self.head(side);
        // One that has failed and is passed by sees no response.
        self.half(side, |half| half.head_out = head.filter(|_| half.head_in.is_some()));
    }

    /// The filter is called for something else than a head.
    pub(in crate::filter) fn call_begins(&self) {
        self.before.replace([self.head(Side::Request), self.head(Side::Response)]);
    }

    /// It has returned: what it did to the heads, which other filters may have changed meanwhile, is done
    /// to the heads that were taken down.
    pub(in crate::filter) fn call_ended(&self) {
        let before = self.before.take();
        for (side, before) in [Side::Request, Side::Response].into_iter().zip(before) {
            if let (Some(before), Some(after)) = (before, self.head(side)) {
                self.half(side, |half| half.head_out.as_mut().map(|head| head.follow(&before, &after)));
            }
        }
    }

    /// A piece of a body comes to the filter.
    pub(in crate::filter) fn data_in(&self, side: Side, piece: &[u8]) {
        self.half(side, |half| self.keep(half.body_in.get_or_insert_default(), piece));
    }

    /// The filter lets a piece of a body go.
    pub(in crate::filter) fn data_out(&self, side: Side, piece: &[u8]) {
        self.half(side, |half| self.keep(half.body_out.get_or_insert_default(), piece));
    }

    /// Trailers come to the filter.
    pub(in crate::filter) fn trailers_in(&self, side: Side) {
        let trailers = self.exchange.trailers(side).borrow().clone();
        self.half(side, |half| half.trailers_in = trailers);
    }

    /// The filter lets trailers go.
    pub(in crate::filter) fn trailers_out(&self, side: Side) {
        let trailers = self.exchange.trailers(side).borrow().clone();
        self.half(side, |half| half.trailers_out = trailers);
    }

    /// The filter answered.
    pub(in crate::filter) fn replied(&self, reply: &Reply) {
        let mut body = Body::default();
        self.keep(&mut body, &reply.body);
        let head = Head { line: Line::Response { status: reply.status }, headers: reply.headers.clone() };
        self.account(&head.headers);
        self.captured.borrow_mut().verdict = Verdict::Replied { head, body };
    }

    /// The filter failed.
    pub(in crate::filter) fn failed(&self, reason: &str) {
        self.captured.borrow_mut().verdict = Verdict::Failed(reason.to_owned());
    }

    fn half<R>(&self, side: Side, f: impl FnOnce(&mut Half) -> R) {
        let mut captured = self.captured.borrow_mut();
        match side {
            Side::Request => f(&mut captured.request),
            Side::Response => f(&mut captured.response),
        };
    }

    fn head(&self, side: Side) -> Option<Head> {
        let head = match side {
            Side::Request => Head::of_request(&self.exchange.request()),
            Side::Response => self.exchange.with_response(|head| Head {
                line: Line::Response { status: head.status },
                headers: head.headers.clone(),
            })?,
        };
        self.account(&head.headers);
        Some(head)
    }

    fn account(&self, headers: &HeaderMap) {
        let size = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        self.recording.take_bytes(HEAD_BYTES + size);
    }

    fn keep(&self, body: &mut Body, piece: &[u8]) {
        body.length += piece.len() as u64;
        let room = self.recording.wanted.body_bytes.saturating_sub(body.kept.len());
        let kept = self.recording.take_bytes(piece.len().min(room));
        body.kept.extend_from_slice(&piece[..kept]);
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        let is_closed = self.exchange.signals.closed_by() == Some(self.position);
        let peer = self.exchange.client.peer;
        let mut captured = self.captured.replace(Captured::new(SystemTime::UNIX_EPOCH, peer));
        if is_closed && matches!(captured.verdict, Verdict::Passed) {
            captured.verdict = Verdict::Closed;
        }
        let full = matches!(
            self.recording.sender.try_send(captured),
            Err(tokio::sync::mpsc::error::TrySendError::Full(_))
        );
        // A queue that is closed belongs to a recording that has ended.
        if full {
            self.recording.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Captured {
    fn new(at: SystemTime, peer: SocketAddr) -> Self {
        let (request, response) = Default::default();
        Self { at, peer, request, response, verdict: Verdict::default() }
    }
}

impl Head {
    fn of_request(head: &RequestHead) -> Self {
        let line = Line::Request { method: head.method.clone(), target: head.target.clone() };
        Self { line, headers: head.headers.clone() }
    }

    /// Changes in this head what differs between the other two.
    fn follow(&mut self, before: &Self, after: &Self) {
        if before.line != after.line {
            self.line = after.line.clone();
        }
        let values = |head: &Self, name: &HeaderName| -> Vec<HeaderValue> {
            head.headers.get_all(name).iter().cloned().collect()
        };
        let names =
            before.headers.keys().chain(after.headers.keys().filter(|n| !before.headers.contains_key(*n)));
        for name in names {
            let now = values(after, name);
            if values(before, name) != now {
                self.headers.remove(name);
                for value in now {
                    self.headers.append(name, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, fields: &[(&'static str, &'static str)]) -> Head {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Head { line: Line::Response { status: StatusCode::from_u16(status).unwrap() }, headers }
    }

    #[test]
    fn only_what_a_call_did_is_followed() {
        let mut taken = head(200, &[("a", "1"), ("b", "2")]);
        // Another filter has set `c` meanwhile; the call removes `a`, adds a `b`, sets the status.
        taken.follow(
            &head(200, &[("a", "1"), ("b", "2"), ("c", "theirs")]),
            &head(404, &[("b", "2"), ("b", "3"), ("c", "theirs")]),
        );
        let wanted = head(404, &[("b", "2"), ("b", "3")]);
        assert_eq!((taken.line, taken.headers), (wanted.line, wanted.headers));
    }
}
