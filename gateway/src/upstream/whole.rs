//! Messages for those that call out beside the routes: a request with its body in hand, or one whose
//! body is written as it goes, and a pool that takes it on the connections of its routes.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};

use super::{BoxError, FedBody, RequestStream, SendError, UpstreamPool};

/// What a pool sends: the body of a route's request, or of a call beside the routes.
#[derive(Debug)]
pub enum Payload<B> {
    /// A route's, streamed.
    Stream(B),
    /// All there.
    Whole(WholeBody),
    /// Written while it is sent.
    Fed(FedBody),
}

/// A body that is all there. With trailers, HTTP/1.1 sends it in chunks, and only those that the field
/// `Trailer` announces.
#[derive(Debug, Default)]
pub struct WholeBody {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl WholeBody {
    /// `data`, followed by `trailers` if there are any.
    #[must_use]
    pub fn new(data: Bytes, trailers: HeaderMap) -> Self {
        Self { data, trailers: (!trailers.is_empty()).then_some(trailers) }
    }

    fn next_frame(&mut self) -> Option<Frame<Bytes>> {
        match self.data.is_empty() {
            true => self.trailers.take().map(Frame::trailers),
            false => Some(Frame::data(std::mem::take(&mut self.data))),
        }
    }
}

impl<B: RequestStream> Body for Payload<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
            Self::Whole(body) => Poll::Ready(body.next_frame().map(Ok)),
            Self::Fed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Stream(body) => body.is_end_stream(),
            Self::Whole(body) => body.data.is_empty() && body.trailers.is_none(),
            Self::Fed(body) => body.is_end_stream(),
        }
    }

    /// Trailers need chunks, which a known length would rule out.
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Stream(body) => body.size_hint(),
            Self::Fed(body) => body.size_hint(),
            Self::Whole(WholeBody { trailers: Some(_), .. }) => SizeHint::default(),
            Self::Whole(body) => SizeHint::with_exact(body.data.len() as u64),
        }
    }
}

/// A response whose body is streamed. Dropped before its end, it closes the connection.
pub type WholeResponse = Response<Pin<Box<dyn Body<Data = Bytes, Error = hyper::Error>>>>;

/// A pool, whatever body its routes send. Meant for calls beside the routes, where a box or two for
/// each does not count.
pub trait Courier {
    /// Sends a request as [`UpstreamPool::send`] does, on the same connections.
    fn carry(
        self: Rc<Self>,
        request: Request<WholeBody>,
    ) -> Pin<Box<dyn Future<Output = Result<WholeResponse, SendError>>>>;

    /// Sends a request over HTTP/2, whatever the pool speaks otherwise, and waits for the head of the
    /// response for as long as it takes.
    fn carry_http2(
        self: Rc<Self>,
        request: Request<FedBody>,
    ) -> Pin<Box<dyn Future<Output = Result<WholeResponse, SendError>>>>;
}

impl<B: RequestStream> Courier for UpstreamPool<Payload<B>> {
    fn carry(
        self: Rc<Self>,
        request: Request<WholeBody>,
    ) -> Pin<Box<dyn Future<Output = Result<WholeResponse, SendError>>>> {
        Box::pin(async move {
            let answer = self.send(request.map(Payload::Whole)).await?;
            Ok(answer.response.map(|body| Box::pin(body) as _))
        })
    }

    fn carry_http2(
        self: Rc<Self>,
        request: Request<FedBody>,
    ) -> Pin<Box<dyn Future<Output = Result<WholeResponse, SendError>>>> {
        Box::pin(async move {
            let candidates = self.turn.take(self.endpoints.len(), None);
            let answer = self.send_http2(candidates, request.map(Payload::Fed), None).await?;
            Ok(answer.response.map(|body| Box::pin(body) as _))
        })
    }
}
