//! Both directions of a connection, through its filters.
//!
//! One task drives both: a filter's callback in one direction may let go or close the other. All workers'
//! connections read into one buffer of their thread, so that an idle one holds no memory; what a side
//! does not take at once is copied, and nothing more is read for it until it has taken that.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::session::{Session, end_of};
use crate::deadline::Deadline;
use crate::filter::Side;
use crate::filter::network::Stop;
use crate::telemetry::metrics::ConnectionEnd;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
/// How long the last bytes may take to be written after a filter closed the connection.
const FAREWELL: Duration = Duration::from_secs(2);

thread_local! {
    /// What a read fills. Borrowed for one read and one write, never across a guest's callback.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Both directions of a connection.
pub(super) struct Relay<'a> {
    client: &'a mut TcpStream,
    upstream: &'a mut TcpStream,
    session: &'a mut Session,
    flows: [Flow; 2],
    idle_timeout: Option<Duration>,
    idle: Deadline,
    /// Whether any byte has moved since the idle time was last set.
    has_moved: bool,
}

/// One direction.
#[derive(Default)]
struct Flow {
    has_read_all: bool,
    /// All has been written, and the other side told so.
    is_over: bool,
}

/// What a read gave.
enum Input {
    /// Bytes, all of them written already.
    Passed,
    /// Bytes for the filters, or that the other side did not take.
    Bytes(Bytes),
    End,
}

impl<'a> Relay<'a> {
    pub(super) fn new(
        client: &'a mut TcpStream,
        upstream: &'a mut TcpStream,
        session: &'a mut Session,
        idle_timeout: Option<Duration>,
    ) -> Self {
        let flows = Default::default();
        let idle = Deadline::default();
        Self { client, upstream, session, flows, idle_timeout, idle, has_moved: true }
    }

    /// Relays until both directions have ended, or the connection cannot go on.
    pub(super) async fn run(mut self) -> ConnectionEnd {
        let end = poll_fn(|cx| self.poll(cx)).await;
        if end == ConnectionEnd::FilterClosed {
            // A side that takes nothing, or never ends, is cut.
            let _ = timeout(FAREWELL, self.farewell()).await;
        }
        end
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionEnd> {
        self.session.passage.register(cx);
        if let Err(end) = self.advance(cx) {
            return Poll::Ready(end);
        }
        if self.flows.iter().all(|flow| flow.is_over) {
            return Poll::Ready(ConnectionEnd::Complete);
        }
        self.poll_idle(cx).map(|()| ConnectionEnd::IdleTimeout)
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Result<(), ConnectionEnd> {
        let stopped = |stop: Stop| end_of(&stop);
        self.session.passage.settle().map_err(stopped)?;
        self.advance_side(Side::Request, cx)?;
        self.advance_side(Side::Response, cx)
    }

    /// Writes what may go, then reads more, until one of the sockets is not ready or a filter holds the
    /// rest back.
    fn advance_side(&mut self, side: Side, cx: &mut Context<'_>) -> Result<(), ConnectionEnd> {
        loop {
            if self.flow(side).is_over || self.flush(side, cx)?.is_pending() {
                return Ok(());
            }
            if self.session.passage.outlet(side).has_ended() {
                return self.finish(side, cx);
            }
            if self.flow(side).has_read_all {
                return Ok(());
            }
            let (bytes, is_last) = match self.read(side, cx)? {
                Poll::Pending => return Ok(()),
                Poll::Ready(Input::Passed) => continue,
                Poll::Ready(Input::Bytes(bytes)) => (bytes, false),
                Poll::Ready(Input::End) => {
                    self.flow(side).has_read_all = true;
                    self.session.left(side);
                    (Bytes::new(), true)
                }
            };
            self.session.passage.push(side, bytes, is_last).map_err(|stop| end_of(&stop))?;
        }
    }

    /// Writes what has passed the filters.
    fn flush(&mut self, side: Side, cx: &mut Context<'_>) -> Result<Poll<()>, ConnectionEnd> {
        loop {
            let sink = match side {
                Side::Request => &mut *self.upstream,
                Side::Response => &mut *self.client,
            };
            let Some(front) = self.session.passage.outlet(side).front() else {
                return Ok(Poll::Ready(()));
            };
            match Pin::new(sink).poll_write(cx, front) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.session.passage.outlet(side).advance(count);
                    self.wrote(side, count);
                }
                Poll::Ready(_) => return Err(self.broken(opposite(side))),
            }
        }
    }

    /// Tells the other side that nothing follows.
    fn finish(&mut self, side: Side, cx: &mut Context<'_>) -> Result<(), ConnectionEnd> {
        let sink = match side {
            Side::Request => &mut *self.upstream,
            Side::Response => &mut *self.client,
        };
        match Pin::new(sink).poll_shutdown(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(result) => {
                self.flow(side).is_over = true;
                match result {
                    // It has ended from its own end meanwhile.
                    Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                        Err(self.broken(opposite(side)))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Reads once. Bytes that no filter looks at are written at once, as far as the other side takes them.
    fn read(&mut self, side: Side, cx: &mut Context<'_>) -> Result<Poll<Input>, ConnectionEnd> {
        let is_shown = self.session.passage.looks_at(side);
        let room = if is_shown { self.session.passage.room(side) } else { READ_BYTES };
        let (source, sink) = match side {
            Side::Request => (&mut *self.client, &mut *self.upstream),
            Side::Response => (&mut *self.upstream, &mut *self.client),
        };
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(&mut scratch[..room.min(READ_BYTES)]);
            match Pin::new(source).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(side)),
                Poll::Ready(Ok(())) => {}
            }
            let bytes = buffer.filled();
            let written = match is_shown || bytes.is_empty() {
                true => 0,
                false => match Pin::new(sink).poll_write(cx, bytes) {
                    Poll::Pending => 0,
                    Poll::Ready(Ok(written)) if written > 0 => written,
                    Poll::Ready(_) => return Poll::Ready(Err(opposite(side))),
                },
            };
            let rest = bytes.get(written..).unwrap_or_default();
            Poll::Ready(Ok((bytes.len(), written, Bytes::copy_from_slice(rest))))
        });
        match read {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Err(broken)) => Err(self.broken(broken)),
            Poll::Ready(Ok((0, ..))) => Ok(Poll::Ready(Input::End)),
            Poll::Ready(Ok((count, written, rest))) => {
                self.has_moved = true;
                if side == Side::Request {
                    self.session.received(count);
                }
                if written > 0 {
                    self.wrote(side, written);
                }
                Ok(Poll::Ready(if rest.is_empty() { Input::Passed } else { Input::Bytes(rest) }))
            }
        }
    }

    fn wrote(&mut self, side: Side, count: usize) {
        self.has_moved = true;
        if side == Side::Response {
            self.session.sent(count);
        }
    }

    /// The connection that `side` comes from is broken.
    fn broken(&self, side: Side) -> ConnectionEnd {
        self.session.left(side);
        match side {
            Side::Request => ConnectionEnd::ClientReset,
            Side::Response => ConnectionEnd::UpstreamReset,
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.idle_timeout else { return Poll::Pending };
        if std::mem::take(&mut self.has_moved) {
            self.idle.set(Instant::now() + limit);
        }
        self.idle.poll(cx)
    }

    /// Writes what the filters had let go, tells both sides that nothing follows, and waits for them to
    /// end too: a socket closed with unread bytes would take what it has sent back by a reset.
    async fn farewell(&mut self) {
        poll_fn(|cx| {
            let mut is_over = true;
            for side in [Side::Request, Side::Response] {
                match self.flush(side, cx) {
                    Ok(Poll::Ready(())) => {}
                    Ok(Poll::Pending) => {
                        is_over = false;
                        continue;
                    }
                    Err(_) => continue,
                }
                if !self.flow(side).is_over {
                    // Whether or not it still listens.
                    let _ = self.finish(side, cx);
                }
                is_over &= self.discard(opposite(side), cx).is_ready();
            }
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Reads what still comes from `side`, for nothing, to its end.
    fn discard(&mut self, side: Side, cx: &mut Context<'_>) -> Poll<()> {
        let source = match side {
            Side::Request => &mut *self.client,
            Side::Response => &mut *self.upstream,
        };
        SCRATCH.with_borrow_mut(|scratch| {
            loop {
                let mut buffer = ReadBuf::new(scratch);
                match Pin::new(&mut *source).poll_read(cx, &mut buffer) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                }
            }
        })
    }

    fn flow(&mut self, side: Side) -> &mut Flow {
        match side {
            Side::Request => &mut self.flows[0],
            Side::Response => &mut self.flows[1],
        }
    }
}

fn opposite(side: Side) -> Side {
    match side {
        Side::Request => Side::Response,
        Side::Response => Side::Request,
    }
}
