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
use http_body::{Frame, SizeHint};

use super::measure::Meter;
use super::stage::Stage;
use crate::filter::{
    BodyPipe, Exchange, Fed, FilterError, HeadersOutcome, PipeError, Reply, RequestHead, ResponseHead, Run,
    Side, Waiter,
};
use crate::policy::cases::{Answer, Request};
use crate::proxy::length::{Flow, Length};
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
    /// The gateway answered by itself, or cut the connection: the word for it in the access log, and what
    /// the client got.
    Errored(&'static str, Option<Received>),
    /// The filter held the exchange back for good.
    Waiting,
}

impl Outcome {
    /// A property after the exchange.
    pub fn property(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.exchange.property(path)
    }
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
    let mut course = Course { stage, run: &run, exchange: &exchange, meter, sent: None };
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
}

impl Course<'_> {
    async fn pass(&mut self, request: &Request, answer: &Answer) -> Result<End, Stop> {
        let content = Content { pieces: &request.body, trailers: request.trailers.as_ref() };
        self.meter.begin(self.stage);
        let outcome = self.run.request_headers(content.is_empty()).await;
        self.meter.end(self.stage, Phase::RequestHeaders);
        if let HeadersOutcome::Replied(reply) = outcome? {
            self.run.replied_in_request();
            return self.respond(Answer::of(*reply), true).await;
        }
        match self.send(content).await {
            Ok(sent) => self.sent = Some(sent),
            Err(PipeError::Replied(reply)) => return self.respond(Answer::of(*reply), true).await,
            Err(error) => return Err(stop(error)),
        }
        if !answer.delay.is_zero() {
            tokio::time::sleep(answer.delay).await;
        }
        self.respond(answer.clone(), false).await
    }

    /// The request goes to the upstream: its head as soon as the filter lets it, then its body.
    async fn send(&mut self, content: Content<'_>) -> Result<Sent, PipeError> {
        let is_counted = self.exchange.request().headers.contains_key(CONTENT_LENGTH);
        let mut flow = BodyFlow::new(self.run, Side::Request, content, is_counted);
        self.begin(&mut flow).await?;
        let mut head = self.exchange.send_request(true);
        Length::of_request(&flow.hint(), flow.kind()).settle(&mut head.headers);
        let (body, trailers) = self.rest(flow).await?;
        Ok(Sent { head, body, trailers })
    }

    /// The answer passes the filter, which may put another in its place.
    async fn respond(&mut self, mut answer: Answer, mut is_own: bool) -> Result<End, Stop> {
        loop {
            let head = ResponseHead { status: answer.status, headers: std::mem::take(&mut answer.headers) };
            self.exchange.set_response(head);
            let is_empty = answer.body.is_empty() && answer.trailers.is_none();
            self.meter.begin(self.stage);
            let outcome = self.run.response_headers(is_empty).await;
            self.meter.end(self.stage, Phase::ResponseHeaders);
            match outcome? {
                HeadersOutcome::Passed => break,
                HeadersOutcome::Replied(reply) => (answer, is_own) = (Answer::of(*reply), true),
            }
        }
        let content = Content { pieces: &answer.body, trailers: answer.trailers.as_ref() };
        match self.receive(content, answer.status).await {
            Ok(received) if is_own => Ok(End::Replied(received)),
            Ok(received) => Ok(End::Passed(received)),
            Err(PipeError::Replied(reply)) => Ok(End::Replied(received_bare(*reply))),
            Err(error) => Err(stop(error)),
        }
    }

    /// The response goes to the client.
    async fn receive(&mut self, content: Content<'_>, status: StatusCode) -> Result<Received, PipeError> {
        let declared = self.exchange.with_response(|head| head.headers.contains_key(CONTENT_LENGTH));
        let mut flow = BodyFlow::new(self.run, Side::Response, content, declared.unwrap_or_default());
        self.begin(&mut flow).await?;
        let head = self.exchange.send_response(true);
        let mut head = head.unwrap_or(ResponseHead { status, headers: HeaderMap::new() });
        let method = self.exchange.request().method.clone();
        Length::of_response(&method, head.status, &flow.hint(), flow.kind()).settle(&mut head.headers);
        let (body, trailers) = self.rest(flow).await?;
        Ok(Received { status: head.status, headers: head.headers, body, trailers })
    }

    /// Waits until the filter lets the head go.
    async fn begin(&mut self, flow: &mut BodyFlow<'_>) -> Result<(), PipeError> {
        let Some(pipe) = &mut flow.pipe else { return Ok(()) };
        self.meter.begin(self.stage);
        let source = &mut flow.source;
        let begun = poll_fn(|cx| pipe.poll_begin(self.run, flow.waiter, cx, |cx| source.poll(cx))).await;
        self.meter.end(self.stage, flow.phase);
        begun
    }

    /// What comes after the head.
    async fn rest(&mut self, mut flow: BodyFlow<'_>) -> Result<(Bytes, Option<HeaderMap>), PipeError> {
        let mut bytes = BytesMut::new();
        let Some(mut pipe) = flow.pipe.take() else {
            flow.content.pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
            return Ok((bytes.freeze(), flow.content.trailers.cloned()));
        };
        let mut trailers = None;
        loop {
            self.meter.begin(self.stage);
            let source = &mut flow.source;
            let frame = poll_fn(|cx| pipe.poll(self.run, flow.waiter, cx, |cx| source.poll(cx))).await;
            self.meter.end(self.stage, flow.phase);
            match frame.transpose()?.map(Frame::into_data) {
                None => return Ok((bytes.freeze(), trailers)),
                Some(Ok(data)) => bytes.extend_from_slice(&data),
                Some(Err(frame)) => trailers = frame.into_trailers().ok(),
            }
        }
    }
}

/// What a message carries after its head.
#[derive(Clone, Copy)]
struct Content<'a> {
    pieces: &'a [Bytes],
    trailers: Option<&'a HeaderMap>,
}

impl Content<'_> {
    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.trailers.is_none()
    }
}

/// A side's body on its way through the filter.
struct BodyFlow<'a> {
    content: Content<'a>,
    pipe: Option<BodyPipe>,
    source: Source,
    waiter: Waiter,
    phase: Phase,
    is_counted: bool,
}

impl<'a> BodyFlow<'a> {
    /// `is_counted`: whether the message says how long it is, so that its end comes with the last piece;
    /// else it comes after it, as with a chunked body.
    fn new(run: &Run, side: Side, content: Content<'a>, is_counted: bool) -> Self {
        let (waiter, phase) = match side {
            Side::Request => (Waiter::RequestBody, Phase::RequestBody),
            Side::Response => (Waiter::ResponseBody, Phase::ResponseBody),
        };
        let pipe = if content.is_empty() { None } else { BodyPipe::new(run, side) };
        let source = Source::new(content, is_counted);
        Self { content, pipe, source, waiter, phase, is_counted: is_counted || content.is_empty() }
    }

    fn kind(&self) -> Flow {
        Flow::of(self.pipe.as_ref())
    }

    fn hint(&self) -> SizeHint {
        let left = match &self.pipe {
            None if self.is_counted => Some(self.content.pieces.iter().map(|piece| piece.len() as u64).sum()),
            None => None,
            Some(pipe) => pipe.bytes_left(),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The pieces of a body, one for each time that it is asked.
struct Source {
    frames: VecDeque<Frame<Bytes>>,
    /// Whether the last piece is known to be the last.
    is_counted: bool,
}

impl Source {
    fn new(content: Content<'_>, is_counted: bool) -> Self {
        let data = content.pieces.iter().cloned().map(Frame::data);
        let frames = data.chain(content.trailers.cloned().map(Frame::trailers)).collect();
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
        Self { status: reply.status, headers: reply.headers, body, ..Self::default() }
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
