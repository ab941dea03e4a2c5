//! The request body on its way to the upstream: counted, limited, and through the filters that look
//! at bodies.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::answer::Answer;
use super::client_body::ClientBody;
use super::error::ProxyError;
use super::flight::{BodyFailure, Flight};
use super::length::Flow;
use crate::filter::{BodyPipe, Fed, PipeError, Side, Waiter};
use crate::telemetry::Phase;
use crate::upstream::{BoxError, Payload};

/// What the pools of the gateway send: request bodies, and what calls beside them have in hand.
pub type Outgoing = Payload<RequestBody>;

/// A request body. Nothing is read ahead but what a filter holds back.
pub struct RequestBody {
    incoming: ClientBody,
    flight: Rc<Flight>,
    pipe: Option<Box<BodyPipe>>,
}

impl RequestBody {
    pub(super) fn new(flight: &Rc<Flight>, incoming: ClientBody) -> Self {
        let pipe = match incoming.is_end_stream() {
            true => None,
            false => BodyPipe::new(flight.run(), Side::Request).map(Box::new),
        };
        Self { incoming, flight: Rc::clone(flight), pipe }
    }

    /// Waits until the filters let the head go: one that is to see the body first may still change the
    /// head, or answer.
    pub(super) async fn begin(&mut self) -> Result<(), BodyFailure> {
        let Some(mut pipe) = self.pipe.take() else { return Ok(()) };
        let flight = Rc::clone(&self.flight);
        let begun =
            poll_fn(|cx| pipe.poll_begin(flight.run(), Waiter::RequestBody, cx, |cx| self.poll_source(cx)));
        let begun = begun.await;
        self.pipe = Some(pipe);
        begun
    }

    /// What is known of it before it is sent.
    pub(super) fn flow(&self) -> Flow {
        Flow::of(self.pipe.as_deref())
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(_)) => return Poll::Ready(Some(Err(ProxyError::ClientBody))),
            Some(Ok(frame)) => frame,
        };
        if let Some(data) = frame.data_ref() {
            let received = &self.flight.exchange.course.received;
            let total = received.get().saturating_add(data.len() as u64);
            received.set(total);
            let max = self.flight.generation.blueprint.policy.limits.body_bytes_max.get();
            if total > max {
                return Poll::Ready(Some(Err(ProxyError::BodyTooLarge { max })));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// The next frame, past filters that do not look at bodies but may close the stream.
    fn poll_unfiltered(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        let polled = self.poll_incoming(cx);
        let run = self.flight.run();
        if polled.is_pending() {
            run.wait(Waiter::RequestBody, cx);
        }
        match run.check_closed(Phase::RequestBody) {
            Ok(()) => polled,
            Err(closed) => Poll::Ready(Some(Err(closed.into()))),
        }
    }

    /// The next frame that the filters let go.
    fn poll_pipe(
        &mut self,
        pipe: &mut BodyPipe,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        let flight = Rc::clone(&self.flight);
        pipe.poll(flight.run(), Waiter::RequestBody, cx, |cx| self.poll_source(cx))
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fed, BodyFailure>> {
        let frame = ready!(self.poll_incoming(cx)).transpose().map_err(BodyFailure::Error)?;
        Poll::Ready(Ok(Fed { frame, is_last: self.incoming.is_end_stream() }))
    }
}

impl BodyFailure {
    /// What the client gets.
    pub(super) fn into_answer(self) -> Result<Answer, ProxyError> {
        match self {
            Self::Reply(reply) => Ok(Answer::from(*reply)),
            Self::Error(error) => Err(error),
        }
    }
}

impl From<PipeError> for BodyFailure {
    fn from(error: PipeError) -> Self {
        match error {
            PipeError::Replied(reply) => Self::Reply(reply),
            PipeError::TooLarge { max } => Self::Error(ProxyError::BodyTooLarge { max: max as u64 }),
            PipeError::Filter(error) => Self::Error(error.into()),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let polled = match this.pipe.take() {
            None => this.poll_unfiltered(cx).map_err(BodyFailure::Error),
            Some(mut pipe) => {
                let polled = this.poll_pipe(&mut pipe, cx);
                this.pipe = Some(pipe);
                polled
            }
        };
        // The sender sees only that the body failed; the spine finds the reason here.
        polled.map_err(|failure| {
            let text = match &failure {
                BodyFailure::Error(error) => error.to_string(),
                BodyFailure::Reply(_) => "a filter answered".to_owned(),
            };
            this.flight.body_error.replace(Some(failure));
            text.into()
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.pipe {
            None => self.incoming.is_end_stream(),
            Some(pipe) => pipe.is_complete(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.pipe {
            None => self.incoming.size_hint(),
            Some(pipe) => pipe.bytes_left().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
