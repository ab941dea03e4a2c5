//! The request body on its way to the upstream: counted, limited, and through the filters that look
//! at bodies.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::error::ProxyError;
use super::flight::{BodyFailure, Flight};
use crate::filter::{BodyPipe, Fed, PipeError, Side, Waiter};
use crate::upstream::BoxError;

/// A request body. Nothing is read ahead but what a filter holds back.
pub struct RequestBody {
    incoming: Incoming,
    flight: Rc<Flight>,
    pipe: Option<Box<BodyPipe>>,
}

impl RequestBody {
    pub(super) fn new(flight: &Rc<Flight>, incoming: Incoming) -> Self {
        let pipe = match incoming.is_end_stream() {
            true => None,
            false => BodyPipe::new(flight.run(), Side::Request).map(Box::new),
        };
        Self { incoming, flight: Rc::clone(flight), pipe }
    }

    /// Whether filters may change it on its way.
    pub(super) fn has_pipe(&self) -> bool {
        self.pipe.is_some()
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(_)) => return Poll::Ready(Some(Err(ProxyError::ClientBody))),
            Some(Ok(frame)) => frame,
        };
        if let Some(data) = frame.data_ref() {
            let total = self.flight.bytes_in.get().saturating_add(data.len() as u64);
            self.flight.bytes_in.set(total);
            let max = self.flight.generation.blueprint.policy.limits.body_bytes_max.get();
            if total > max {
                return Poll::Ready(Some(Err(ProxyError::BodyTooLarge { max })));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// The next frame that the filters let go.
    fn poll_pipe(
        &mut self,
        pipe: &mut BodyPipe,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        let flight = Rc::clone(&self.flight);
        pipe.poll(flight.run(), Waiter::RequestBody, cx, |cx| {
            let frame = ready!(self.poll_incoming(cx)).transpose().map_err(BodyFailure::Error)?;
            Poll::Ready(Ok(Fed { frame, is_last: self.incoming.is_end_stream() }))
        })
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
            None => this.poll_incoming(cx).map_err(BodyFailure::Error),
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
            Some(_) => SizeHint::default(),
        }
    }
}
