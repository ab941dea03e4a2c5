//! A body that is known before, in the pieces in which it is to be sent.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};

/// The body.
pub(super) struct Pieces {
    frames: VecDeque<Frame<Bytes>>,
}

impl Pieces {
    pub(super) fn new(pieces: &[Bytes], trailers: Option<&HeaderMap>) -> Self {
        let data = pieces.iter().cloned().map(Frame::data);
        Self { frames: data.chain(trailers.cloned().map(Frame::trailers)).collect() }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    /// Of several pieces the length is not told, so that they go out one by one.
    fn size_hint(&self) -> SizeHint {
        match (self.frames.len(), self.frames.front().and_then(Frame::data_ref)) {
            (0, _) => SizeHint::with_exact(0),
            (1, Some(only)) => SizeHint::with_exact(only.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
