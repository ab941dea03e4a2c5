//! A client's socket, watched: when the first byte of a request comes, its time to be read begins; closed
//! while the client still sends, it lingers; parked, it stays open.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::connection::ConnectionState;
use super::unread::Linger;

/// A client's socket.
pub(super) struct ClientIo {
    stream: TokioIo<TcpStream>,
    state: Rc<ConnectionState>,
    /// What has been read before, to be read again.
    again: Bytes,
    linger: Option<Linger>,
}

impl ClientIo {
    /// Reads what is in `again` first.
    pub(super) fn new(stream: TcpStream, again: Bytes, state: Rc<ConnectionState>) -> Self {
        Self { stream: TokioIo::new(stream), state, again, linger: None }
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.stream.into_inner()
    }
}

impl Read for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.again.is_empty() {
            let length = self.again.len().min(buffer.remaining());
            buffer.put_slice(&self.again[..length]);
            self.again.advance(length);
            self.state.bytes_arrived();
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if polled.is_ready() {
            self.state.bytes_arrived();
        }
        polled
    }
}

impl Write for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.state.set_unsent(true);
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        if polled.is_ready() {
            // hyper gets here when it has nothing left to write.
            self.state.set_unsent(false);
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.state.is_parking() {
            return Poll::Ready(Ok(()));
        }
        if let Some(linger) = &mut this.linger {
            return linger.poll(this.stream.inner_mut(), cx);
        }
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        if !this.state.has_unread() {
            return Poll::Ready(Ok(()));
        }
        this.state.begin_closing();
        this.linger.insert(Linger::new()).poll(this.stream.inner_mut(), cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.state.set_unsent(true);
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }
}
