//! The access log: one JSON line for each request or TCP connection, written by a thread of its own.
//!
//! A worker puts a [`Record`] into a bounded queue and goes on ([`AccessLog::push`]); when the queue
//! is full the record is dropped and counted, never waited for. The writer thread takes what has
//! gathered, serialises it and writes it in one piece. When idle it sleeps until the next record,
//! and then waits for 10 ms more, so under load it is woken once for a batch, not for each request.
//!
//! Limits: the queue's memory is its capacity times the size of a record (about 350 bytes, plus its
//! strings), and every string in a record is clipped ([`Text`]). Query strings are not logged,
//! since they often carry credentials.

mod record;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

pub use record::{ConnectionRecord, EndedBy, Record, ShadowRecord, Text, UpstreamRecord};

use super::metrics::Counter;
use writer::{Output, Writer};

/// A queue that outlasts the writer's pauses at several hundred thousand requests a second.
pub const CAPACITY_DEFAULT: usize = 4096;
/// How long the end of the process may wait for the last records.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// The end of this file, made if it is not there (mode 0640); see [`AccessLog::reopen`]. While its disk
    /// cannot be written, lines are lost and counted.
    File(PathBuf),
    /// Nowhere.
    Off,
}

/// What became of records.
#[derive(Debug, Default)]
pub struct Stats {
    /// Written.
    pub written: Counter,
    /// Dropped because the queue was full.
    pub dropped: Counter,
    /// Lost because the sink did not take them.
    pub failed: Counter,
}

/// The workers' end of the access log; cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// `None` when the log is off.
    queue: Option<SyncSender<Message>>,
    control: Arc<Control>,
    stats: Arc<Stats>,
}

/// Ends the log when dropped: what was pushed before is written, for up to five seconds.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub struct Guard {
    log: AccessLog,
    writer: Option<Thread>,
}

/// Records that are taken by this process and not written.
#[derive(Debug)]
pub struct Kept {
    records: Receiver<Message>,
}

impl Kept {
    /// The next record of a request, if there is one by now.
    pub fn next(&self) -> Option<Record> {
        loop {
            match self.records.try_recv().ok()? {
                Message::Record(record) => return Some(record),
                Message::Connection(_) | Message::Reopen | Message::Wake => {}
            }
        }
    }
}

#[derive(Debug)]
struct Thread {
    handle: JoinHandle<()>,
    /// Closed by the thread's end.
    ended: Receiver<()>,
}

#[derive(Debug)]
// Nearly every message is a record: boxing it would cost an allocation for each request.
#[allow(clippy::large_enum_variant)]
enum Message {
    Record(Record),
    Connection(Box<ConnectionRecord>),
    Reopen,
    Wake,
}

/// What must reach the writer even when the queue is full.
#[derive(Debug, Default)]
struct Control {
    reopen: AtomicBool,
    stop: AtomicBool,
}

impl AccessLog {
    /// Opens the sink and starts the writer. `capacity` is the length of the queue, in records.
    ///
    /// # Errors
    /// If the file cannot be opened or the thread not be started.
    pub fn start(sink: Sink, capacity: usize) -> io::Result<(Self, Guard)> {
        match Output::open(sink)? {
            Some(output) => Self::start_on(output, capacity),
            None => {
                let log = Self { queue: None, control: Arc::default(), stats: Arc::default() };
                Ok((log.clone(), Guard { log, writer: None }))
            }
        }
    }

    /// A log whose records are taken by this process. `capacity` is the length of the queue, in records.
    pub fn kept(capacity: usize) -> (Self, Kept) {
        let (queue, records) = sync_channel(capacity.max(1));
        (Self { queue: Some(queue), control: Arc::default(), stats: Arc::default() }, Kept { records })
    }

    fn start_on(output: Output, capacity: usize) -> io::Result<(Self, Guard)> {
        let (queue, records) = sync_channel(capacity.max(1));
        let (alive, ended) = sync_channel::<()>(0);
        let log = Self { queue: Some(queue), control: Arc::default(), stats: Arc::default() };
        let writer = Writer::new(records, output, Arc::clone(&log.control), Arc::clone(&log.stats));
        let handle = std::thread::Builder::new().name("access-log".into()).spawn(move || {
            let _alive = alive;
            writer.run();
        })?;
        Ok((log.clone(), Guard { log, writer: Some(Thread { handle, ended }) }))
    }

    /// Whether records go anywhere; if not, there is no need to make them.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Hands a record to the writer. Never waits: when the queue is full, the record is dropped and
    /// counted.
    pub fn push(&self, record: Record) {
        self.send(|| Message::Record(record));
    }

    /// The same for a TCP connection.
    pub fn push_connection(&self, record: ConnectionRecord) {
        self.send(|| Message::Connection(Box::new(record)));
    }

    fn send(&self, message: impl FnOnce() -> Message) {
        if let Some(queue) = &self.queue
            && queue.try_send(message()).is_err()
        {
            self.stats.dropped.inc();
        }
    }

    /// Opens the file anew, for log rotation: records pushed from now on go to the file that has the
    /// name then. If it cannot be opened, the log goes on with the old one. Never waits.
    pub fn reopen(&self) {
        self.tell(Message::Reopen, &self.control.reopen);
    }

    /// What became of records so far.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Sends a message in its turn, or, if the queue is full, by a flag seen after the next batch.
    fn tell(&self, message: Message, flag: &AtomicBool) {
        if let Some(queue) = &self.queue
            && queue.try_send(message).is_err()
        {
            flag.store(true, Ordering::Release);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        self.log.control.stop.store(true, Ordering::Release);
        self.log.tell(Message::Wake, &self.log.control.stop);
        match writer.ended.recv_timeout(FLUSH_MAX) {
            Err(RecvTimeoutError::Timeout) => tracing::warn!("access log: sink stalled, last records lost"),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                if writer.handle.join().is_err() {
                    tracing::error!("access log: writer panicked");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
