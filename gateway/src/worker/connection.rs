//! One client connection.
//!
//! Timers are not armed per request: a connection notes what it waits for and since when, and the
//! worker's sweep, twice a second, tells those that have waited too long.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::io::ClientIo;
use super::refusal::{self, Refusal};
use super::state::Worker;
use super::unread::{Drained, REST_WITHIN, Rest};
use crate::deadline::Deadline;
use crate::http::forwarded::Peer;
use crate::policy::limits::Limits;
use crate::proxy;

/// How long the last answer to a slow client may take to be written.
const FAREWELL: Duration = Duration::from_secs(1);
/// How much longer than its limit a client may hold a connection before it is cut.
const GRACE: Duration = Duration::from_secs(2);
const TIMEOUT_ANSWER: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\
content-type: text/plain; charset=utf-8\r\ncontent-length: 17\r\n\r\nRequest timeout.\n";
/// hyper's default, for which it keeps heads on the stack.
const HEADERS_DEFAULT: u32 = 100;

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first byte of a request.
    Idle,
    /// The rest of its head.
    Head,
    /// The gateway, or whom it asks.
    Busy,
    /// The client to close; see `unread`, which bounds it.
    Closing,
}

/// What the worker tells a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// Finish the request, then close.
    Finish,
    /// The head took too long.
    HeadTimeout,
    /// The client takes its answer too slowly, or not at all.
    Cut,
}

/// A client connection, as its requests and the sweep see it.
pub struct ConnectionState {
    /// Its number; no other connection of this process has it, of whichever kind.
    pub id: u64,
    /// The other end, for forwarding fields.
    pub peer: Peer,
    /// The other end.
    pub peer_address: SocketAddr,
    /// Our end.
    pub local_address: SocketAddr,
    phase: Cell<Phase>,
    since: Cell<Instant>,
    /// Of the last request.
    generation: Cell<Option<u64>>,
    notice: Cell<Option<Notice>>,
    /// Whether a part of an answer may still wait to be written.
    has_unsent: Cell<bool>,
    /// Of a request that is answered, still to be read.
    rest: RefCell<Option<Rest>>,
    /// Whether the client sends what is not read any more.
    has_unread: Cell<bool>,
    /// The number of the last request.
    request: Cell<u64>,
    /// Whether no request is taken any more.
    is_last: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Of the request that is served now.
    deadline: RefCell<Deadline>,
}

impl ConnectionState {
    fn new(id: u64, peer_address: SocketAddr, local_address: SocketAddr) -> Rc<Self> {
        Rc::new(Self {
            id,
            peer: Peer::new(peer_address.ip()),
            peer_address,
            local_address,
            phase: Cell::new(Phase::Idle),
            since: Cell::new(Instant::now()),
            generation: Cell::new(None),
            notice: Cell::new(None),
            has_unsent: Cell::new(false),
            rest: RefCell::default(),
            has_unread: Cell::new(false),
            request: Cell::new(0),
            is_last: Cell::new(false),
            waker: RefCell::default(),
            deadline: RefCell::default(),
        })
    }

    /// A request begins under this generation.
    pub(crate) fn begin(&self, generation: u64) {
        self.generation.set(Some(generation));
    }

    /// Ends what began under generation `through` or one before that is not `live`; returns whether a
    /// request is cut.
    pub(super) fn retire(&self, through: u64, live: &[u64]) -> bool {
        if self.generation.get().is_none_or(|number| number > through || live.contains(&number)) {
            return false;
        }
        match self.phase.get() {
            Phase::Busy => self.tell(Notice::Cut),
            // The answer is whole; what is left of the request must not hold the generation either.
            Phase::Idle => self.tell(Notice::Finish),
            Phase::Head | Phase::Closing => {}
        }
        self.phase.get() == Phase::Busy
    }

    /// The answer has been handed over to its last byte: the next request is waited for.
    pub(crate) fn answered(&self) {
        self.enter(Phase::Idle);
    }

    /// A request begins, which must have ended by then.
    pub(crate) fn set_deadline(&self, at: Option<Instant>) {
        let mut deadline = self.deadline.borrow_mut();
        match at {
            Some(at) => deadline.set(tokio::time::Instant::from_std(at)),
            None => deadline.clear(),
        }
    }

    /// Ready when the request that is served now has taken too long.
    pub(crate) fn poll_deadline(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.deadline.borrow_mut().poll(cx)
    }

    pub(super) fn set_unsent(&self, has_unsent: bool) {
        self.has_unsent.set(has_unsent);
    }

    pub(super) fn bytes_arrived(&self) {
        if self.phase.get() == Phase::Idle && self.rest.borrow().is_none() {
            self.enter(Phase::Head);
        }
    }

    /// The number of the request that is served now, on this connection.
    pub(crate) fn request(&self) -> u64 {
        self.request.get()
    }

    fn begin_request(&self) {
        self.enter(Phase::Busy);
        self.request.set(self.request.get() + 1);
        self.has_unread.set(false);
    }

    /// Request number `of` is done with before its body has been read; nothing is left of it if it need not be
    /// read: the connection is not kept, or the client waits to be told to send, which it will not be.
    pub(crate) fn leave_unread(&self, of: u64, rest: Option<Incoming>) {
        if of != self.request.get() {
            // It has been read to its end, as another has begun.
            return;
        }
        let rest = rest.filter(|_| !self.is_last.get()).and_then(Rest::new);
        self.has_unread.set(rest.is_none());
        self.rest.replace(rest);
        // Whoever held the body may be another task.
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Reads what is left of a request.
    fn poll_rest(&self, cx: &mut Context<'_>) {
        let Some(mut rest) = self.rest.take() else { return };
        match rest.poll(cx) {
            Poll::Pending => {
                self.rest.replace(Some(rest));
            }
            Poll::Ready(Drained::Wholly) if self.phase.get() == Phase::Busy => {}
            // From now on it is the next request that is waited for.
            Poll::Ready(Drained::Wholly) => self.enter(Phase::Idle),
            Poll::Ready(Drained::TooMuch) => self.has_unread.set(true),
        }
    }

    /// Nothing comes after it: it need not be read.
    fn give_up_rest(&self) {
        self.is_last.set(true);
        if self.rest.take().is_some() {
            self.has_unread.set(true);
        }
    }

    /// Whether a close would leave bytes behind that the client sends: of a body, or of a head that was refused.
    pub(super) fn has_unread(&self) -> bool {
        self.has_unread.get() || self.phase.get() == Phase::Head
    }

    /// Our side is closed.
    pub(super) fn begin_closing(&self) {
        self.enter(Phase::Closing);
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        if phase != Phase::Busy {
            self.since.set(Instant::now());
        }
    }

    /// Tells the connection something, if it has waited too long.
    pub(super) fn sweep(&self, now: Instant, limits: &Limits) {
        let waited = now.saturating_duration_since(self.since.get());
        match self.phase.get() {
            Phase::Idle if waited > REST_WITHIN && self.rest.borrow().is_some() => self.tell(Notice::Finish),
            // Finished long ago, and still here: its last answer is not taken.
            Phase::Idle if waited > limits.idle_timeout + GRACE => self.tell(Notice::Cut),
            Phase::Idle if waited > limits.idle_timeout => self.tell(Notice::Finish),
            // The deadline is looked at by whoever is polled; a client that does not read polls nobody.
            Phase::Busy if self.deadline.borrow().has_passed_by(GRACE) => self.tell(Notice::Cut),
            Phase::Head if waited > limits.header_read_timeout => self.tell(Notice::HeadTimeout),
            Phase::Idle | Phase::Head | Phase::Busy | Phase::Closing => {}
        }
    }

    pub(super) fn tell(&self, notice: Notice) {
        self.notice.set(Some(notice));
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn poll_notice(&self, cx: &Context<'_>) -> Option<Notice> {
        let notice = self.notice.take();
        if notice.is_none() {
            let mut slot = self.waker.borrow_mut();
            match &mut *slot {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *slot = Some(cx.waker().clone()),
            }
        }
        notice
    }
}

/// Counts the connection out, however it ends.
struct Presence {
    worker: Rc<Worker>,
    state: Rc<ConnectionState>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.worker.release();
        let mut all = self.worker.connections.borrow_mut();
        if let Some(at) = all.iter().position(|other| Rc::ptr_eq(other, &self.state)) {
            all.swap_remove(at);
        }
    }
}

/// Begins to serve a connection that was counted in. It is known to the worker from now on, so that a
/// drain waits for it.
pub(super) fn start(stream: TcpStream, peer: SocketAddr, worker: &Rc<Worker>) {
    let Ok(local) = stream.local_addr() else { return worker.release() };
    let state = ConnectionState::new(worker.next_connection(), peer, local);
    worker.connections.borrow_mut().push(Rc::clone(&state));
    let presence = Presence { worker: Rc::clone(worker), state };
    tokio::task::spawn_local(serve(stream, presence));
}

/// Serves requests until either side has had enough.
async fn serve(stream: TcpStream, presence: Presence) {
    let (worker, state) = (Rc::clone(&presence.worker), Rc::clone(&presence.state));
    let service = service_fn(|request| {
        state.begin_request();
        proxy::handle(Rc::clone(&worker), Rc::clone(&state), request)
    });
    let io = ClientIo::new(stream, Rc::clone(&state));
    let limits = worker.generation().blueprint.policy.limits.clone();
    let mut connection = server(&limits).serve_connection(io, service);

    let ended = std::future::poll_fn(|cx| {
        loop {
            match state.poll_notice(cx) {
                Some(Notice::Finish) => {
                    state.give_up_rest();
                    Pin::new(&mut connection).graceful_shutdown();
                }
                Some(Notice::HeadTimeout) => return Poll::Ready(Ended::HeadTimeout),
                Some(Notice::Cut) => return Poll::Ready(Ended::Cut),
                None => break,
            }
        }
        let polled = Pin::new(&mut connection).poll(cx).map(Ended::Served);
        state.poll_rest(cx);
        polled
    })
    .await;
    match ended {
        // Behind half an answer it would be taken for a part of that.
        Ended::HeadTimeout if state.has_unsent.get() => {}
        Ended::HeadTimeout => {
            refusal::note(&worker, &state.peer, Refusal::Timeout, state.since.get().elapsed());
            farewell(connection.into_parts().io.into_inner()).await;
        }
        Ended::Served(Err(error)) => {
            if let Some(refusal) = Refusal::of(&error) {
                refusal::note(&worker, &state.peer, refusal, state.since.get().elapsed());
            }
            tracing::debug!(%error, peer = %state.peer_address, "a connection ended");
        }
        Ended::Cut | Ended::Served(Ok(())) => {}
    }
    drop(presence);
}

enum Ended {
    Served(hyper::Result<()>),
    HeadTimeout,
    Cut,
}

fn server(limits: &Limits) -> http1::Builder {
    let mut server = http1::Builder::new();
    server.header_read_timeout(None).max_buf_size((limits.header_bytes_max as usize).max(8192));
    if limits.header_count_max.get() != HEADERS_DEFAULT {
        server.max_headers(limits.header_count_max.get() as usize);
    }
    server
}

/// Tells a client that its head took too long, if it still listens.
async fn farewell(mut stream: TcpStream) {
    let answer = async {
        stream.write_all(TIMEOUT_ANSWER).await?;
        stream.shutdown().await
    };
    // It may be gone, or not read: then there is nobody to tell.
    let _ = tokio::time::timeout(FAREWELL, answer).await;
}
