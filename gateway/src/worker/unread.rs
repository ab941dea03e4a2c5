//! What a client still sends when it has its answer.
//!
//! A little is read and thrown away ([`Rest`]), so that the connection serves the next request; the limit
//! is that of Go's server. Of more than that the connection is closed, and a close with unread bytes makes the
//! kernel send a reset, upon which a client may lose the answer that it has not read yet. So the close
//! lingers ([`Linger`]): our side first, then what still comes is thrown away until the client closes,
//! or for [`LINGER`]. RFC 9112 §9.6 describes both.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Bytes of a body that are read for nobody.
const REST_MAX: u64 = 256 * 1024;
/// How long after the answer that may take.
pub(super) const REST_WITHIN: Duration = Duration::from_secs(5);
/// How long a close waits for the client.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes thrown away at once; on the stack.
const AT_ONCE: usize = 16 * 1024;

/// The rest of a request body that nobody wants.
pub(super) struct Rest {
    incoming: Incoming,
    left: u64,
}

/// How the reading of a rest went.
pub(super) enum Drained {
    /// To its end; or the client is gone.
    Wholly,
    /// More than it is worth.
    TooMuch,
}

impl Rest {
    /// None if it is known to be too much.
    pub(super) fn new(incoming: Incoming) -> Option<Self> {
        (incoming.size_hint().lower() <= REST_MAX).then_some(Self { incoming, left: REST_MAX })
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Drained> {
        while let Some(Ok(frame)) = ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match self.left.checked_sub(length) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Drained::TooMuch),
            }
        }
        Poll::Ready(Drained::Wholly)
    }
}

/// The wait for a client to close, once our side is closed.
pub(super) struct Linger {
    end: Pin<Box<Sleep>>,
}

impl Linger {
    pub(super) fn new() -> Self {
        Self { end: Box::pin(sleep(LINGER)) }
    }

    /// Ready when the connection may be closed.
    pub(super) fn poll(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut space = [MaybeUninit::uninit(); AT_ONCE];
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
