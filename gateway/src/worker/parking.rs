//! Where connections wait that have had no request for a while.
//!
//! hyper keeps a connection's buffers, and tokio its task and its registration, for as long as it is served:
//! fourteen KiB. Parked, a connection is its socket and what it is known by, a hundred bytes of one list, and an
//! epoll of the worker's own tells which of them can be read again. That epoll is itself a file that the runtime
//! waits for, so parked connections take no task and no timer; the worker's sweep looks after their idle time.
//!
//! A parked connection counts as open. It holds nothing of a generation, so that none is cut with an old one.

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use slab::Slab;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::connection::Identity;
use super::serve;
use super::state::Worker;

/// How many are taken out at once.
const BATCH: usize = 64;
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// After an error of the epoll, which should have none.
const PAUSE: Duration = Duration::from_millis(50);

/// Those that are parked on one worker.
pub(super) struct Parking {
    /// Readable when one of the sockets is, or is closed.
    epoll: AsyncFd<OwnedFd>,
    /// By the number that the epoll gives.
    parked: RefCell<Slab<Parked>>,
}

/// What is left of a connection.
pub(super) struct Parked {
    pub(super) socket: TcpStream,
    pub(super) identity: Identity,
    /// When its last request ended, or it was opened.
    pub(super) since: Instant,
}

impl Parking {
    /// None if the system has no epoll left: then connections stay as they are.
    #[expect(
        deprecated,
        reason = "an OwnedFd is open as long as it lives: what tokio warns of cannot come about"
    )]
    pub(super) fn open() -> Option<Self> {
        let opened = epoll::create(CreateFlags::CLOEXEC).map_err(io::Error::from);
        match opened.and_then(|epoll| AsyncFd::with_interest(epoll, Interest::READABLE)) {
            Ok(epoll) => Some(Self { epoll, parked: RefCell::default() }),
            Err(error) => {
                tracing::warn!(%error, "idle connections will take more memory than they need");
                None
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.parked.borrow().len()
    }

    /// Gives it back if the system watches no more sockets.
    fn take_in(&self, parked: Parked) -> Result<(), Parked> {
        let mut all = self.parked.borrow_mut();
        let place = all.vacant_entry();
        let number = EventData::new_u64(place.key() as u64);
        match epoll::add(&self.epoll, &parked.socket, number, EventFlags::IN | EventFlags::RDHUP) {
            Ok(()) => {
                place.insert(parked);
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%error, "a connection cannot be parked");
                Err(parked)
            }
        }
    }

    /// Closes those that have waited since `before` or longer; none given: all. Gives their number.
    pub(super) fn close(&self, before: Option<Instant>) -> usize {
        let mut all = self.parked.borrow_mut();
        let count = all.len();
        all.retain(|_, parked| before.is_some_and(|before| parked.since > before));
        count - all.len()
    }

    /// Takes out some that can be read or are closed, as soon as there are any.
    async fn ready(&self) -> io::Result<Vec<Parked>> {
        let mut guard = self.epoll.readable().await?;
        let mut events = [MaybeUninit::<Event>::uninit(); BATCH];
        let (events, _) = epoll::wait(&self.epoll, &mut events, Some(&NO_WAIT))?;
        if events.len() < BATCH {
            guard.clear_ready();
        }
        Ok(events.iter().filter_map(|event| self.take_out(event.data.u64())).collect())
    }

    fn take_out(&self, number: u64) -> Option<Parked> {
        let parked = self.parked.borrow_mut().try_remove(usize::try_from(number).ok()?)?;
        // Whoever serves it is told by the runtime's epoll. It is there, as nobody else takes it off.
        if let Err(error) = epoll::delete(&self.epoll, &parked.socket) {
            tracing::error!(%error, "a parked connection is watched still");
        }
        Some(parked)
    }
}

impl Parked {
    /// Whether the client has closed, with nothing left to be read.
    fn is_over(&self) -> bool {
        match self.socket.peek(&mut [0]) {
            Ok(length) => length == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

impl Worker {
    /// Parks a connection that is counted in, or gives it back if there is no place.
    pub(super) fn park(&self, parked: Parked) -> Result<(), Parked> {
        match &self.parking {
            Some(parking) if self.parks() => parking.take_in(parked)?,
            _ => return Err(parked),
        }
        self.metrics.connections_parked.inc();
        Ok(())
    }
}

/// Serves parked connections again when something comes, for as long as the worker lives.
pub(super) async fn watch(worker: Rc<Worker>) {
    let Some(parking) = &worker.parking else { return pending().await };
    loop {
        match parking.ready().await {
            Ok(ready) => ready.into_iter().for_each(|parked| wake(parked, &worker)),
            Err(error) => {
                tracing::error!(%error, "parked connections cannot be watched");
                tokio::time::sleep(PAUSE).await;
            }
        }
        // Those that are served have a turn before more of them come.
        tokio::task::yield_now().await;
    }
}

fn wake(parked: Parked, worker: &Rc<Worker>) {
    worker.metrics.connections_parked.dec();
    if parked.is_over() {
        worker.release();
    } else {
        serve::resume(parked, worker);
    }
}
