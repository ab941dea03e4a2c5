//! One client connection, as its requests and the sweep see it.
//!
//! Timers are not armed per request: a connection notes what it waits for and since when, and the
//! worker's sweep, twice a second, tells those that have waited too long.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::body::Incoming;

use super::unread::{Drained, REST_WITHIN, Rest};
use crate::deadline::Deadline;
use crate::http::forwarded::Peer;
use crate::policy::limits::Limits;

/// How much longer than its limit a client may hold a connection before it is cut.
const GRACE: Duration = Duration::from_secs(2);
/// How long a connection is kept ready for the next request before it is parked. A client that asks more often
/// pays nothing for it, one that asks less often some microseconds.
const PARK_AFTER: Duration = Duration::from_secs(1);

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
    /// No request has come for a while: wait for the next one in less memory.
    Park,
}

/// What a connection is known by, as long as it lives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    /// Its number; no other connection of this process has it, of whichever kind.
    pub(super) id: u64,
    /// The other end.
    pub(super) peer: SocketAddr,
    /// Our end.
    pub(super) local: SocketAddr,
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
    /// Whether somebody still reads the body of the last request.
    has_reader: Cell<bool>,
    /// Whether hyper gives the socket back, rather than closes it.
    is_parking: Cell<bool>,
    /// Where the worker has it in its list.
    pub(super) place: Cell<usize>,
    /// The number of the last request.
    request: Cell<u64>,
    /// Whether no request is taken any more.
    is_last: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Of the request that is served now.
    deadline: RefCell<Deadline>,
}

impl ConnectionState {
    /// It has waited for a request `since` then.
    pub(super) fn new(identity: Identity, since: Instant) -> Rc<Self> {
        Rc::new(Self {
            id: identity.id,
            peer: Peer::new(identity.peer.ip()),
            peer_address: identity.peer,
            local_address: identity.local,
            phase: Cell::new(Phase::Idle),
            since: Cell::new(since),
            generation: Cell::new(None),
            notice: Cell::new(None),
            has_unsent: Cell::new(false),
            rest: RefCell::default(),
            has_unread: Cell::new(false),
            has_reader: Cell::new(false),
            is_parking: Cell::new(false),
            place: Cell::new(0),
            request: Cell::new(0),
            is_last: Cell::new(false),
            waker: RefCell::default(),
            deadline: RefCell::default(),
        })
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { id: self.id, peer: self.peer_address, local: self.local_address }
    }

    /// Since when it has been in its phase; of a request, since when it waited for that.
    pub(super) fn since(&self) -> Instant {
        self.since.get()
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

    pub(super) fn has_unsent(&self) -> bool {
        self.has_unsent.get()
    }

    pub(super) fn set_parking(&self, is_parking: bool) {
        self.is_parking.set(is_parking);
    }

    pub(super) fn is_parking(&self) -> bool {
        self.is_parking.get()
    }

    /// Whether nothing but the first byte of a request is waited for, with nothing left to be read, written or
    /// handed over of those before. Bytes may have come that nobody has looked at yet.
    pub(super) fn is_at_rest(&self) -> bool {
        self.phase.get() == Phase::Idle
            && !self.has_reader.get()
            && !self.has_unsent.get()
            && !self.has_unread.get()
            && !self.is_last.get()
            && self.rest.borrow().is_none()
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

    pub(super) fn begin_request(&self) {
        self.enter(Phase::Busy);
        self.request.set(self.request.get() + 1);
        self.has_unread.set(false);
        self.has_reader.set(false);
    }

    /// The request that has begun has a body, which somebody reads until [`Self::end_body`] or
    /// [`Self::leave_unread`].
    pub(crate) fn begin_body(&self) {
        self.has_reader.set(true);
    }

    /// The body of request number `of` has been read to its end.
    pub(crate) fn end_body(&self, of: u64) {
        if of == self.request.get() {
            self.has_reader.set(false);
        }
    }

    /// Request number `of` is done with before its body has been read; nothing is left of it if it need not be
    /// read: the connection is not kept, or the client waits to be told to send, which it will not be.
    pub(crate) fn leave_unread(&self, of: u64, rest: Option<Incoming>) {
        if of != self.request.get() {
            // It has been read to its end, as another has begun.
            return;
        }
        self.has_reader.set(false);
        let rest = rest.filter(|_| !self.is_last.get()).and_then(Rest::new);
        self.has_unread.set(rest.is_none());
        self.rest.replace(rest);
        // Whoever held the body may be another task.
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Reads what is left of a request.
    pub(super) fn poll_rest(&self, cx: &mut Context<'_>) {
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
    pub(super) fn give_up_rest(&self) {
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

    /// Tells the connection something, if it has waited too long, or long enough to be parked.
    pub(super) fn sweep(&self, now: Instant, limits: &Limits, parks: bool) {
        let waited = now.saturating_duration_since(self.since.get());
        match self.phase.get() {
            Phase::Idle if waited > REST_WITHIN && self.rest.borrow().is_some() => self.tell(Notice::Finish),
            // Finished long ago, and still here: its last answer is not taken.
            Phase::Idle if waited > limits.idle_timeout + GRACE => self.tell(Notice::Cut),
            Phase::Idle if waited > limits.idle_timeout => self.tell(Notice::Finish),
            Phase::Idle if parks && waited > PARK_AFTER && self.is_at_rest() => self.tell(Notice::Park),
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

    pub(super) fn poll_notice(&self, cx: &Context<'_>) -> Option<Notice> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Rc<ConnectionState> {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        ConnectionState::new(Identity { id: 1, peer: address, local: address }, Instant::now())
    }

    #[test]
    fn it_is_at_rest_when_all_of_a_request_is_over() {
        let connection = connection();
        assert!(connection.is_at_rest());
        connection.bytes_arrived();
        assert!(!connection.is_at_rest(), "a head has begun");
        connection.begin_request();
        connection.begin_body();
        assert!(!connection.is_at_rest(), "it waits for an answer");
        connection.set_unsent(true);
        connection.answered();
        assert!(!connection.is_at_rest(), "the answer is not sent");
        connection.set_unsent(false);
        assert!(!connection.is_at_rest(), "somebody reads the body");
        connection.end_body(0);
        assert!(!connection.is_at_rest(), "that was the body of another request");
        connection.end_body(1);
        assert!(connection.is_at_rest());
    }

    #[test]
    fn it_is_not_at_rest_with_something_to_be_read_or_no_more_to_come() {
        let connection = connection();
        connection.begin_request();
        connection.begin_body();
        connection.answered();
        connection.leave_unread(1, None);
        assert!(!connection.is_at_rest(), "what the client still sends is not read");
        connection.begin_request();
        connection.answered();
        assert!(connection.is_at_rest(), "it has been read, as another request has begun");
        connection.give_up_rest();
        assert!(!connection.is_at_rest());
    }
}
