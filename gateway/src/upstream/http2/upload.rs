//! The request body on its way into a stream.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

use super::super::{BoxError, RequestStream};

/// How far a request body is; told by the body, read by the one that waits for the response.
#[derive(Default)]
pub(super) struct Upload {
    has_failed: Cell<bool>,
    is_over: Notify,
}

impl Upload {
    /// Waits until hyper has let go of the body: all of it is handed over, or never will be. For one
    /// waiter.
    pub(super) async fn over(&self) {
        self.is_over.notified().await;
    }

    /// Whether the body ended in an error of its own.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.get()
    }
}

/// A request body as hyper gets it; `None`: there is none.
pub(super) struct StreamBody<B> {
    body: Option<B>,
    upload: Rc<Upload>,
}

impl<B> StreamBody<B> {
    pub(super) fn new(body: Option<B>, upload: &Rc<Upload>) -> Self {
        Self { body, upload: Rc::clone(upload) }
    }

    /// The body again, which no stream has taken.
    pub(super) fn into_body(mut self) -> Option<B> {
        self.body.take()
    }
}

impl<B: RequestStream> Body for StreamBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(Some(Err(_))) = &polled {
            self.upload.has_failed.set(true);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for StreamBody<B> {
    fn drop(&mut self) {
        self.upload.is_over.notify_one();
    }
}
