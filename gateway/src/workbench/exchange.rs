//! One exchange through a stage: the spine's order, without its sockets.
//!
//! The order is that of `proxy`: request headers → request body → the upstream's answer → response
//! headers (again for an answer that replaces it) → response body → the filter's end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use http_body::Frame;

use super::measure::Meter;
use super::stage::Stage;
use crate::filter::{
    BodyPipe, Exchange, Fed, FilterError, HeadersOutcome, PipeError, Reply, RequestHead, ResponseHead, Run,
    Side, Waiter,
};
use crate::policy::cases::{Answer, Request};
use crate::telemetry::Phase;

/// What came of an exchange.
pub struct Outcome {
    /// The request as the upstream saw it; `None` if it never got there.
    pub sent: Option<Sent>,
    /// How it ended.
    pub end: End,
    /// How often the filter failed in it.
    pub failures: u64,
    /// The exchange, for its properties.
    pub(super) exchange: Rc<Exchange>,
}

/// A request as an upstream sees it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its head.
    pub head: RequestHead,
    /// Its body.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

/// A response as a client sees it.
#[derive(Debug)]
pub struct Received {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

/// How an exchange ended.
#[derive(Debug)]
pub enum End {
    /// The upstream's response reached the client.
    Passed(Received),
    /// The filter answered in its place.
    Replied(Received),
    /// The filter failed, and its policy is to refuse; the client sees 503, or a cut connection.
    Failed(String),
    /// The filter closed the stream.
    Closed,
    /// The filter held back more than it may: 413 for a request, 502 for a response.
    TooLarge(usize),
    /// The filter held the exchange back for good.
    Waiting,
}

impl Outcome {
    /// A property after the exchange.
    pub fn property(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.exchange.property(path)
    }
}

/// A body and its trailers, whole.
#[derive(Default)]
struct Whole {
    bytes: BytesMut,
    trailers: Option<HeaderMap>,
}

/// What stops an exchange.
enum Stop {
    Filter(FilterError),
    TooLarge(usize),
}

impl From<FilterError> for Stop {
    fn from(error: FilterError) -> Self {
        Self::Filter(error)
    }
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Filter(FilterError::Failed { reason, .. }) => Self::Failed(reason),
            Stop::Filter(FilterError::Closed { .. }) => Self::Closed,
            Stop::TooLarge(max) => Self::TooLarge(max),
        }
    }
}

/// Takes one request through the filter, gives it `answer` as the upstream's, and ends the filter's
/// part. `limit` is how long it may be held back.
///
/// # Errors
/// A property of the request that the gateway owns, by its path.
pub async fn drive(
    stage: &Stage,
    request: &Request,
    answer: &Answer,
    limit: Duration,
    meter: &mut Meter,
) -> Result<Outcome, String> {
    let head = RequestHead {
        method: request.method.clone(),
        target: request.target.clone(),
        headers: request.headers.clone(),
    };
    let exchange = stage.exchange(request.client, head);
    for (path, value) in &request.properties {
        exchange.set_property(path.as_bytes(), value.as_bytes()).map_err(|_| path.replace('\0', "."))?;
    }
    let failures = stage.failures();
    let run = Run::new(stage.chain(), Rc::clone(&exchange));
    let mut course = Course { stage, run: &run, exchange: &exchange, meter, sent: None, head: None };
    let end = match tokio::time::timeout(limit, course.pass(request, answer)).await {
        Ok(Ok(end)) => end,
        Ok(Err(stop)) => stop.into(),
        Err(_) => End::Waiting,
    };
    let sent = course.sent.take();
    course.meter.time(stage, Phase::Done, || run.finish());
    Ok(Outcome { sent, end, failures: stage.failures() - failures, exchange })
}

/// One exchange on its way.
struct Course<'a> {
    stage: &'a Stage,
    run: &'a Run,
    exchange: &'a Exchange,
    meter: &'a mut Meter,
    sent: Option<Sent>,
    /// The response's head, once it has gone out.
    head: Option<ResponseHead>,
}

impl Course<'_> {
    async fn pass(&mut self, request: &Request, answer: &Answer) -> Result<End, Stop> {
        let has_body = !request.body.is_empty() || request.trailers.is_some();
        self.meter.begin(self.stage);
        let outcome = self.run.request_headers(!has_body).await;
        self.meter.end(self.stage, Phase::RequestHeaders);
        if let HeadersOutcome::Replied(reply) = outcome? {
            self.run.replied_in_request();
            return self.respond(Answer::of(*reply), true).await;
        }
        let head = self.exchange.send_request(true);
        match self.body(Side::Request, &request.body, request.trailers.as_ref(), &head.headers).await {
            Ok(whole) => {
                let Whole { bytes, trailers } = whole;
                self.sent = Some(Sent { head, body: bytes.freeze(), trailers });
            }
            Err(PipeError::Replied(reply)) => return self.respond(Answer::of(*reply), true).await,
            Err(error) => return Err(stop(error)),
        }
        self.respond(answer.clone(), false).await
    }

    /// The answer passes the filter, which may put another in its place.
    async fn respond(&mut self, mut answer: Answer, mut is_own: bool) -> Result<End, Stop> {
        loop {
            let has_body = !answer.body.is_empty() || answer.trailers.is_some();
            let head = ResponseHead { status: answer.status, headers: std::mem::take(&mut answer.headers) };
            self.exchange.set_response(head);
            self.meter.begin(self.stage);
            let outcome = self.run.response_headers(!has_body).await;
            self.meter.end(self.stage, Phase::ResponseHeaders);
            match outcome? {
                HeadersOutcome::Passed => break,
                HeadersOutcome::Replied(reply) => (answer, is_own) = (Answer::of(*reply), true),
            }
        }
        let headers = self.exchange.with_response(|head| head.headers.clone()).unwrap_or_default();
        let whole = match self.body(Side::Response, &answer.body, answer.trailers.as_ref(), &headers).await {
            Ok(whole) => whole,
            Err(PipeError::Replied(reply)) => return Ok(End::Replied(received_bare(*reply))),
            Err(error) => return Err(stop(error)),
        };
        self.send_head();
        let head = self.head.take().unwrap_or(ResponseHead { status: answer.status, headers });
        let received = Received {
            status: head.status,
            headers: head.headers,
            body: whole.bytes.freeze(),
            trailers: whole.trailers,
        };
        Ok(if is_own { End::Replied(received) } else { End::Passed(received) })
    }

    /// The response's head goes out: with the first of its body, or with its end.
    fn send_head(&mut self) {
        if self.head.is_none() {
            self.head = self.exchange.send_response(true);
        }
    }

    /// A side's body through the filter. Its end comes with the last piece if its length was declared,
    /// else after it, as with a chunked body.
    async fn body(
        &mut self,
        side: Side,
        pieces: &[Bytes],
        trailers: Option<&HeaderMap>,
        headers: &HeaderMap,
    ) -> Result<Whole, PipeError> {
        let mut whole = Whole::default();
        let is_empty = pieces.is_empty() && trailers.is_none();
        let pipe = if is_empty { None } else { BodyPipe::new(self.run, side) };
        let Some(mut pipe) = pipe else {
            pieces.iter().for_each(|piece| whole.bytes.extend_from_slice(piece));
            whole.trailers = trailers.cloned();
            return Ok(whole);
        };
        let mut source = Source::new(pieces, trailers, headers.contains_key(CONTENT_LENGTH));
        let (waiter, phase) = match side {
            Side::Request => (Waiter::RequestBody, Phase::RequestBody),
            Side::Response => (Waiter::ResponseBody, Phase::ResponseBody),
        };
        loop {
            self.meter.begin(self.stage);
            let frame = poll_fn(|cx| pipe.poll(self.run, waiter, cx, |cx| source.poll(cx))).await;
            self.meter.end(self.stage, phase);
            let Some(frame) = frame.transpose()? else { return Ok(whole) };
            if side == Side::Response {
                self.send_head();
            }
            match frame.into_data() {
                Ok(data) => whole.bytes.extend_from_slice(&data),
                Err(frame) => whole.trailers = frame.into_trailers().ok(),
            }
        }
    }
}

/// The pieces of a body, one for each time that it is asked.
struct Source {
    frames: VecDeque<Frame<Bytes>>,
    /// Whether the last piece is known to be the last.
    is_counted: bool,
}

impl Source {
    fn new(pieces: &[Bytes], trailers: Option<&HeaderMap>, is_counted: bool) -> Self {
        let data = pieces.iter().cloned().map(Frame::data);
        let frames = data.chain(trailers.cloned().map(Frame::trailers)).collect();
        Self { frames, is_counted }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<Result<Fed, PipeError>> {
        let frame = self.frames.pop_front();
        let is_last = frame.is_none() || (self.is_counted && self.frames.is_empty());
        Poll::Ready(Ok(Fed { frame, is_last }))
    }
}

impl Answer {
    fn of(reply: Reply) -> Self {
        let body = if reply.body.is_empty() { Vec::new() } else { vec![reply.body] };
        Self { status: reply.status, headers: reply.headers, body, trailers: None }
    }
}

fn received_bare(reply: Reply) -> Received {
    Received { status: reply.status, headers: reply.headers, body: reply.body, trailers: None }
}

fn stop(error: PipeError) -> Stop {
    match error {
        PipeError::TooLarge { max } => Stop::TooLarge(max),
        PipeError::Filter(error) => Stop::Filter(error),
        // Both callers take replies out before.
        PipeError::Replied(reply) => {
            Stop::Filter(FilterError::Failed { filter: "".into(), reason: reply.reason })
        }
    }
}
