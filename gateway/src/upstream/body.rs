//! The response body, and with it the connection that it comes from.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::AbortHandle;

use super::RequestStream;
use super::connection::{Connection, Readiness};
use super::http2::StreamLease;
use super::pool::EndpointPool;
use super::wire::Upload;

/// The body of an upstream's response, streamed: nothing is read ahead but one piece.
///
/// Read to its end, it gives the connection back to its pool. Dropped before, it closes it, or resets
/// its stream if the connection has many.
pub struct PooledBody<B: RequestStream> {
    incoming: Incoming,
    source: Source<B>,
}

/// Who drives the connection.
enum Source<B: RequestStream> {
    /// This body does.
    Here(Box<Connection<B>>, Rc<EndpointPool<B>>),
    /// A task: the upstream answered before it had read the whole request, so the two directions
    /// must not wait for each other. Such a connection is not used again.
    Task { _driver: AbortOnDrop },
    /// The task of an HTTP/2 connection, whose place this body holds.
    Stream { _lease: StreamLease<B> },
    /// Nobody: it is done.
    Done,
}

impl<B: RequestStream> PooledBody<B> {
    pub(super) fn new(
        incoming: Incoming,
        connection: Box<Connection<B>>,
        home: &Rc<EndpointPool<B>>,
    ) -> Self {
        let source = match connection.upload() {
            Upload::Done => Source::Here(connection, Rc::clone(home)),
            Upload::Running => {
                let driver = tokio::task::spawn_local(connection.run());
                Source::Task { _driver: AbortOnDrop(driver.abort_handle()) }
            }
        };
        let mut body = Self { incoming, source };
        if body.incoming.is_end_stream() {
            body.release();
        }
        body
    }

    /// The body of a response on a shared connection.
    pub(super) fn of_stream(incoming: Incoming, lease: StreamLease<B>) -> Self {
        let source = match incoming.is_end_stream() {
            true => Source::Done,
            false => Source::Stream { _lease: lease },
        };
        Self { incoming, source }
    }

    /// The end of the body was read: the connection goes home.
    fn release(&mut self) {
        if let Source::Here(mut connection, home) = std::mem::replace(&mut self.source, Source::Done)
            && connection.settle() == Readiness::Ready
        {
            home.put(connection);
        }
    }
}

impl<B: RequestStream> Body for PooledBody<B> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let incoming = &mut this.incoming;
        let polled = match &mut this.source {
            Source::Here(connection, _) => {
                connection.poll_body(cx, |cx| Pin::new(&mut *incoming).poll_frame(cx))
            }
            Source::Task { .. } | Source::Stream { .. } | Source::Done => Pin::new(incoming).poll_frame(cx),
        };
        match &polled {
            Poll::Ready(Some(Err(_))) => this.source = Source::Done,
            Poll::Ready(Some(Ok(_))) if this.incoming.is_end_stream() => this.release(),
            Poll::Ready(None) => this.release(),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl<B: RequestStream> fmt::Debug for PooledBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledBody").field("incoming", &self.incoming).finish_non_exhaustive()
    }
}

/// A task that ends with its owner.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
