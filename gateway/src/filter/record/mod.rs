//! Recording what one filter is given and makes of it, on a gateway that serves.
//!
//! 1. Control starts a [`Recording`] of one filter ([`Recorder::start`]); there is one at a time.
//! 2. Each exchange that enters the filter, on any worker, asks [`Recorder::begin`]: while nothing is
//!    recorded that is one load of a flag that nobody writes. A recorded exchange gets a [`Tape`].
//! 3. [`Run`](super::Run) tells the tape what goes into the filter and what comes out. The tape's end,
//!    which is the exchange's, hands a [`Captured`] to control through a bounded queue.
//! 4. Control redacts and writes it (`format`, `redact`); [`crate::workbench::replay`] reads it again.
//!
//! Limits: the number of exchanges, the bytes kept of all of them together, and of each body, all
//! stated by whoever asks; 64 exchanges wait to be written, more are counted and lost.

pub mod format;
mod redact;
mod tape;

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::mpsc;

use super::exchange::Exchange;
pub use redact::{REDACTED, Redaction};
pub use tape::{Body, Captured, Half, Head, Line, Tape, Verdict};

/// Exchanges that wait to be written.
const WAITING_MAX: usize = 64;

/// What is to be recorded.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The filter's name.
    pub filter: Arc<str>,
    /// Exchanges at most.
    pub exchanges: u64,
    /// Bytes kept of all exchanges, about.
    pub bytes: u64,
    /// Bytes kept of each body. 0: none.
    pub body_bytes: usize,
}

/// Whether anything is recorded, and what. One per process.
#[derive(Debug, Default)]
pub struct Recorder {
    is_on: AtomicBool,
    current: Mutex<Option<Arc<Recording>>>,
}

/// One recording.
#[derive(Debug)]
pub(super) struct Recording {
    wanted: Wanted,
    /// Changed under the recorder's lock.
    exchanges_left: AtomicU64,
    bytes_left: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    sender: mpsc::Sender<Captured>,
}

/// The control side of a recording, which ends when it is dropped.
#[derive(Debug)]
pub struct Live {
    recorder: Arc<Recorder>,
    recording: Weak<Recording>,
    receiver: mpsc::Receiver<Captured>,
    bytes_left: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

/// Another recording is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another recording is under way")]
pub struct Busy;

impl Recorder {
    /// Begins a recording.
    ///
    /// # Errors
    /// If there is one already.
    pub fn start(self: &Arc<Self>, wanted: Wanted) -> Result<Live, Busy> {
        let mut current = self.lock();
        if current.is_some() {
            return Err(Busy);
        }
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let lost = Arc::<AtomicU64>::default();
        let bytes_left = Arc::new(AtomicU64::new(wanted.bytes));
        let recording = Arc::new(Recording {
            exchanges_left: AtomicU64::new(wanted.exchanges),
            bytes_left: Arc::clone(&bytes_left),
            lost: Arc::clone(&lost),
            wanted,
            sender,
        });
        let weak = Arc::downgrade(&recording);
        *current = Some(recording);
        self.is_on.store(true, Ordering::Relaxed);
        Ok(Live { recorder: Arc::clone(self), recording: weak, receiver, bytes_left, lost })
    }

    /// The tape for an exchange that enters `filter`, if it is to be recorded.
    #[inline]
    pub(super) fn begin(&self, filter: &str, exchange: &Rc<Exchange>, position: usize) -> Option<Tape> {
        match self.is_on.load(Ordering::Relaxed) {
            true => self.begin_recorded(filter, exchange, position),
            false => None,
        }
    }

    #[cold]
    fn begin_recorded(&self, filter: &str, exchange: &Rc<Exchange>, position: usize) -> Option<Tape> {
        let mut current = self.lock();
        let recording = current.as_ref().filter(|recording| *recording.wanted.filter == *filter)?;
        let recording = Arc::clone(recording);
        let left = recording.exchanges_left.load(Ordering::Relaxed);
        recording.exchanges_left.store(left.saturating_sub(1), Ordering::Relaxed);
        if left <= 1 || recording.bytes_left.load(Ordering::Relaxed) == 0 {
            // The last one: the queue ends with the exchanges that are still on their way.
            *current = None;
            self.is_on.store(false, Ordering::Relaxed);
        }
        drop(current);
        (left > 0).then(|| Tape::new(recording, Rc::clone(exchange), position))
    }

    /// Ends the recording, if there is one: the gateway is about to end.
    pub fn end(&self) {
        self.is_on.store(false, Ordering::Relaxed);
        drop(self.lock().take());
    }

    /// Ends `recording`, if it is still the current one.
    fn stop(&self, recording: &Weak<Recording>) {
        let mut current = self.lock();
        if current.as_ref().is_some_and(|current| std::ptr::eq(Arc::as_ptr(current), recording.as_ptr())) {
            *current = None;
            self.is_on.store(false, Ordering::Relaxed);
        }
    }

    /// What is behind the lock is whole after each step.
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Recording>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recording {
    /// As many of `wanted` bytes as may still be kept.
    fn take_bytes(&self, wanted: usize) -> usize {
        let wanted = wanted as u64;
        let take = |left: u64| Some(left - wanted.min(left));
        let before = self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        usize::try_from(before.unwrap_or_default().min(wanted)).unwrap_or(usize::MAX)
    }
}

impl Live {
    /// The next exchange that has ended; ready with `None` when there will be no more.
    pub fn poll_next(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Captured>> {
        self.receiver.poll_recv(cx)
    }

    /// No more exchanges begin to be recorded, and those on their way are left out; what waits is
    /// still to be had.
    pub fn stop(&mut self) {
        self.recorder.stop(&self.recording);
        self.receiver.close();
    }

    /// Whether as many bytes were kept as may be.
    pub fn is_full(&self) -> bool {
        self.bytes_left.load(Ordering::Relaxed) == 0
    }

    /// Exchanges that were lost because they came faster than they were written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Whatever ends the asking ends the recording.
impl Drop for Live {
    fn drop(&mut self) {
        self.stop();
    }
}
