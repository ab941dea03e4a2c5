//! The response body on its way to the client: counted, bounded in time, and through the filters that
//! look at bodies.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::answer::Content;
use super::flight::Flight;
use super::length::Flow;
use super::respond::FILTER_CLOSED;
use crate::filter::{BodyPipe, Fed, FilterError, PipeError, Waiter};
use crate::telemetry::Phase;
use crate::upstream::BoxError;

/// A response body. Dropped early, by a client that goes away, it ends the upstream's work too.
pub struct ResponseBody {
    content: Content,
    flight: Rc<Flight>,
    pipe: Option<Box<BodyPipe>>,
}

/// Why a response body was cut. If the head is gone, the client can only see the connection end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    #[error("the upstream's body failed")]
    Upstream(#[source] hyper::Error),
    #[error(transparent)]
    Pipe(#[from] PipeError),
    #[error("the request took too long")]
    TotalTimeout,
}

impl ResponseBody {
    pub(super) fn new(flight: &Rc<Flight>, content: Content, pipe: Option<BodyPipe>) -> Self {
        Self { content, flight: Rc::clone(flight), pipe: pipe.map(Box::new) }
    }

    /// Waits while a filter holds back the beginning of the body: until it lets go, or fails, the head
    /// can still be another. A body whose beginning has not come yet is not waited for.
    pub(super) async fn begin(&mut self) -> Result<(), Cut> {
        let Some(mut pipe) = self.pipe.take() else { return Ok(()) };
        let flight = Rc::clone(&self.flight);
        let begun =
            poll_fn(|cx| pipe.poll_begin(flight.run(), Waiter::ResponseBody, cx, |cx| self.poll_source(cx)));
        let begun = begun.await;
        self.pipe = Some(pipe);
        begun
    }

    /// What is known of it before it is sent.
    pub(super) fn flow(&self) -> Flow {
        Flow::of(self.pipe.as_deref())
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut self.content {
            Content::Upstream(body) => Pin::new(&mut **body).poll_frame(cx).map_err(Cut::Upstream),
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    /// The next frame that the filters let go.
    fn poll_pipe(
        &mut self,
        pipe: &mut BodyPipe,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let flight = Rc::clone(&self.flight);
        pipe.poll(flight.run(), Waiter::ResponseBody, cx, |cx| self.poll_source(cx))
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fed, Cut>> {
        let frame = ready!(self.poll_content(cx)).transpose()?;
        Poll::Ready(Ok(Fed { frame, is_last: self.content.is_empty() }))
    }

    /// The next frame, past filters that do not look at bodies but may close the stream.
    fn poll_unfiltered(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let polled = self.poll_content(cx);
        let run = self.flight.run();
        if polled.is_pending() {
            run.wait(Waiter::ResponseBody, cx);
        }
        match run.check_closed(Phase::ResponseBody) {
            Ok(()) => polled,
            Err(closed) => Poll::Ready(Some(Err(PipeError::from(closed).into()))),
        }
    }

    /// Cuts a body that takes beyond `limits.total_timeout`.
    fn poll_deadline(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.flight.connection.poll_deadline(cx).map(|()| Some(Err(Cut::TotalTimeout)))
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.flight.connection.answered();
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let polled = match this.pipe.take() {
            None => this.poll_unfiltered(cx),
            Some(mut pipe) => {
                let polled = this.poll_pipe(&mut pipe, cx);
                this.pipe = Some(pipe);
                polled
            }
        };
        let polled = if polled.is_pending() { this.poll_deadline(cx) } else { polled };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let course = &this.flight.exchange.course;
                match frame.data_ref() {
                    Some(data) => course.sent.set(course.sent.get() + data.len() as u64),
                    None => {
                        frame.trailers_ref().into_iter().for_each(|trailers| course.note_trailers(trailers))
                    }
                }
            }
            Poll::Ready(Some(Err(cut))) => {
                this.flight.note_error(match cut {
                    Cut::Upstream(_) => "upstream_body",
                    Cut::Pipe(PipeError::TooLarge { .. }) => "response_too_large",
                    Cut::Pipe(PipeError::Filter(FilterError::Closed { .. })) => FILTER_CLOSED,
                    Cut::Pipe(_) => "filter_failed",
                    Cut::TotalTimeout => "total_timeout",
                });
                tracing::debug!(request_id = ?this.flight.exchange.request_id, error = %cut, "a response was cut");
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        match &self.pipe {
            None => self.content.is_empty(),
            Some(pipe) => pipe.is_complete(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.pipe, &self.content) {
            (None, Content::Upstream(body)) => body.size_hint(),
            (None, Content::Whole(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            (Some(pipe), _) => pipe.bytes_left().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
