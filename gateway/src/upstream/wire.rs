//! The byte stream under an HTTP/1 connection, and what an exchange leaves behind there.
//!
//! A kept connection may be closed by the upstream in the moment it is used again. An idempotent
//! request without a body is then sent again on a new one; but hyper has eaten it by then, and
//! keeping a copy of the header map for each request would cost more than all the rest of this
//! module. So the stream remembers the bytes of such a request as it writes them (a copy of some
//! hundred bytes into a buffer that stays), and `replay` reads them back in the rare case.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{BoxError, RequestStream};

/// Longest request that is remembered, in bytes; longer ones are not sent again.
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// What is known of the exchange that a connection carries.
#[derive(Default)]
pub(super) struct Exchange {
    record: RefCell<Vec<u8>>,
    recording: Cell<Recording>,
    upload: Cell<Upload>,
}

/// Whether written bytes are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Recording {
    /// No, or no longer.
    #[default]
    Off,
    /// Yes.
    On,
}

/// How far the request body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Upload {
    /// Some of it may still have to be sent.
    Running,
    /// hyper has let go of it.
    #[default]
    Done,
}

impl Exchange {
    /// A new exchange begins.
    pub(super) fn begin(&self, recording: Recording) {
        self.record.borrow_mut().clear();
        self.recording.set(recording);
        self.upload.set(Upload::Running);
    }

    /// How far the request body is.
    pub(super) fn upload(&self) -> Upload {
        self.upload.get()
    }

    /// What was written since `begin`, if it was remembered as a whole.
    pub(super) fn take_record(&self) -> Option<Vec<u8>> {
        (self.recording.replace(Recording::Off) == Recording::On).then(|| self.record.take())
    }

    /// Remembers what was written of `bufs`; all of it if the write failed, as the peer may be gone
    /// already.
    fn remember(&self, written: &Poll<io::Result<usize>>, bufs: &[IoSlice<'_>]) {
        if self.recording.get() == Recording::Off {
            return;
        }
        let mut left = match written {
            Poll::Pending => return,
            Poll::Ready(Ok(count)) => *count,
            Poll::Ready(Err(_)) => usize::MAX,
        };
        let mut record = self.record.borrow_mut();
        for buf in bufs {
            let part = &buf[..left.min(buf.len())];
            if record.len() + part.len() > RECORD_BYTES_MAX {
                self.recording.set(Recording::Off);
                return;
            }
            record.extend_from_slice(part);
            left -= part.len();
        }
    }
}

/// A TCP stream that remembers what it must.
pub(super) struct Wire {
    io: TokioIo<TcpStream>,
    exchange: Rc<Exchange>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, exchange: Rc<Exchange>) -> Self {
        Self { io: TokioIo::new(stream), exchange }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.exchange.remember(&written, &[IoSlice::new(buf)]);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.exchange.remember(&written, bufs);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The request body as hyper gets it: says when hyper lets go of it, which is when all of it is
/// handed over, or never will be.
pub(super) struct RequestBody<B> {
    body: Option<B>,
    exchange: Option<Rc<Exchange>>,
}

impl<B> RequestBody<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body: Some(body), exchange: None }
    }

    /// No body at all.
    pub(super) fn empty() -> Self {
        Self { body: None, exchange: None }
    }

    /// Ties it to the connection that will carry it.
    pub(super) fn tie_to(&mut self, exchange: &Rc<Exchange>) {
        self.exchange = Some(Rc::clone(exchange));
    }

    /// Unties it from a connection that did not carry it.
    pub(super) fn untie(&mut self) {
        self.exchange = None;
    }
}

impl<B: RequestStream> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for RequestBody<B> {
    fn drop(&mut self) {
        if let Some(exchange) = &self.exchange {
            exchange.upload.set(Upload::Done);
        }
    }
}
