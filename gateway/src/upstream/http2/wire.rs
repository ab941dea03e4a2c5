//! The byte stream under an HTTP/2 connection, which tells when the peer has first spoken.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Silence after which the kernel asks whether the peer is there.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(30);
/// How often it asks, three times.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
/// How long what was sent may stay unacknowledged.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(60);

/// Whether the peer has spoken. Its first words are its settings.
#[derive(Default)]
pub(super) struct Heard {
    is_heard: Cell<bool>,
    listener: RefCell<Option<Waker>>,
}

impl Heard {
    /// Whether it has; if not, the task is woken when it does.
    pub(super) fn poll(&self, cx: &Context<'_>) -> bool {
        if !self.is_heard.get() {
            *self.listener.borrow_mut() = Some(cx.waker().clone());
        }
        self.is_heard.get()
    }

    fn tell(&self) {
        if !self.is_heard.replace(true)
            && let Some(listener) = self.listener.take()
        {
            listener.wake();
        }
    }
}

/// A TCP stream.
pub(super) struct Wire {
    io: TokioIo<TcpStream>,
    heard: Rc<Heard>,
}

impl Wire {
    /// A stream for a connection that lives long.
    pub(super) fn new(stream: TcpStream, heard: Rc<Heard>) -> Self {
        let socket = SockRef::from(&stream);
        let keep_alive =
            TcpKeepalive::new().with_time(KEEP_ALIVE_AFTER).with_interval(KEEP_ALIVE_EVERY).with_retries(3);
        // Without them a vanished peer is found later; nothing else depends on them.
        let _ = socket.set_tcp_keepalive(&keep_alive);
        let _ = socket.set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN));
        Self { io: TokioIo::new(stream), heard }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if polled.is_ready() {
            self.heard.tell();
        }
        polled
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
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
