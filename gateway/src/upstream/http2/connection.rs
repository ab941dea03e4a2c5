//! One connection, shared by the requests on it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, Connection as Driver, SendRequest};
use hyper::rt::Executor;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::super::RequestStream;
use super::upload::StreamBody;
use super::wire::{Heard, Wire};

/// Streams that we open on a connection, whatever the peer allows.
const STREAMS_MAX: usize = 100;
/// Bytes of a response that are read before its reader wants them.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all streams together: none has to wait for the readers of others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;
/// Bytes of a request that wait for the socket.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// A connection.
pub(in super::super) struct SharedConnection<B: RequestStream> {
    sender: RefCell<SendRequest<StreamBody<B>>>,
    status: Rc<Status>,
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
}

/// What its task tells.
struct Status {
    streams_max: Cell<usize>,
    phase: RefCell<Phase>,
    changed: Notify,
}

/// How far its life is.
enum Phase {
    /// The peer has said nothing yet.
    Opening,
    Open,
    /// Closed, or about to be: it takes no new stream.
    Closed(Option<hyper::Error>),
}

impl<B: RequestStream> SharedConnection<B> {
    /// Makes an HTTP/2 connection of a stream and waits for the peer's settings, which say how many
    /// streams it takes.
    pub(super) async fn open(stream: TcpStream) -> hyper::Result<Rc<Self>> {
        let heard = Rc::new(Heard::default());
        let wire = Wire::new(stream, Rc::clone(&heard));
        let (sender, driver) = Builder::new(LocalExecutor)
            .initial_max_send_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(HEAD_BYTES_MAX)
            .handshake(wire)
            .await?;
        let status = Rc::new(Status {
            streams_max: Cell::new(STREAMS_MAX),
            phase: RefCell::new(Phase::Opening),
            changed: Notify::new(),
        });
        spawn_local(drive(driver, Rc::clone(&status), heard));
        status.opened().await?;
        Ok(Rc::new(Self {
            sender: RefCell::new(sender),
            status,
            streams: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
        }))
    }

    /// Whether it takes new streams.
    pub(super) fn is_open(&self) -> bool {
        matches!(*self.status.phase.borrow(), Phase::Open) && !self.sender.borrow().is_closed()
    }

    /// Whether there is room for one more stream.
    pub(super) fn has_room(&self) -> bool {
        self.is_open() && self.streams.get() < self.status.streams_max.get().min(STREAMS_MAX)
    }

    /// Takes no new streams from now on.
    pub(super) fn retire(&self) {
        *self.status.phase.borrow_mut() = Phase::Closed(None);
    }

    /// Since when nothing has been going on; `None`: something is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.streams.get() == 0).then(|| self.idle_since.get())
    }

    /// Sends a request. Dropping the future resets the stream.
    pub(super) fn send(
        &self,
        request: Request<StreamBody<B>>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<StreamBody<B>>>>> {
        self.sender.borrow_mut().try_send_request(request)
    }
}

impl Status {
    async fn opened(&self) -> hyper::Result<()> {
        self.changed.notified().await;
        match &mut *self.phase.borrow_mut() {
            Phase::Closed(error) => error.take().map_or(Ok(()), Err),
            Phase::Opening | Phase::Open => Ok(()),
        }
    }
}

/// Does the I/O of a connection until its end: the last sender is dropped, and so is the last stream,
/// or it breaks.
async fn drive<B: RequestStream>(
    mut driver: Driver<Wire, StreamBody<B>, LocalExecutor>,
    status: Rc<Status>,
    heard: Rc<Heard>,
) {
    let result = poll_fn(|cx| {
        // First, so that what the peer says while the driver runs is not missed.
        let is_heard = heard.poll(cx);
        let polled = Pin::new(&mut driver).poll(cx);
        status.streams_max.set(driver.current_max_send_streams());
        if polled.is_pending() && is_heard && matches!(*status.phase.borrow(), Phase::Opening) {
            *status.phase.borrow_mut() = Phase::Open;
            status.changed.notify_one();
        }
        match polled {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    *status.phase.borrow_mut() = Phase::Closed(result.err());
    status.changed.notify_one();
}

/// A place on a connection; given back when dropped.
pub(in super::super) struct StreamLease<B: RequestStream> {
    connection: Rc<SharedConnection<B>>,
}

impl<B: RequestStream> StreamLease<B> {
    /// Takes a place.
    pub(super) fn on(connection: &Rc<SharedConnection<B>>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self { connection: Rc::clone(connection) }
    }

    /// Whose place it is.
    pub(super) fn connection(&self) -> &SharedConnection<B> {
        &self.connection
    }
}

impl<B: RequestStream> Drop for StreamLease<B> {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get().saturating_sub(1));
        if connection.streams.get() == 0 {
            connection.idle_since.set(Instant::now());
        }
    }
}

/// Runs hyper's tasks on this thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
