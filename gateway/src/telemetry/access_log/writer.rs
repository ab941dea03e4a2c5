//! The thread that writes the log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde::Serialize;

use super::{Control, Message, Sink, Stats};

/// How long a batch gathers after its first record.
const GATHER: Duration = Duration::from_millis(10);
/// Bytes that are written at once.
const BATCH_BYTES: usize = 256 * 1024;

/// An open sink.
#[derive(Debug)]
pub(super) struct Output {
    /// `None` while it cannot be opened.
    file: Option<File>,
    /// Its name, if it has one to be opened again by.
    path: Option<PathBuf>,
}

impl Output {
    /// Opens the sink, unless the log is off. One on a disk that is full or read-only is opened later.
    pub(super) fn open(sink: Sink) -> io::Result<Option<Self>> {
        Ok(match sink {
            Sink::Off => None,
            // The descriptor itself: `io::Stdout` would copy each line through its own buffer.
            Sink::Stdout => Some(Self::unnamed(File::from(io::stdout().as_fd().try_clone_to_owned()?))),
            Sink::File(path) => Some(match append(&path) {
                Err(error) if is_of_the_disk(&error) => {
                    tracing::error!(%error, path = %path.display(), "access log: cannot open, lines are lost");
                    Self { file: None, path: Some(path) }
                }
                opened => Self { file: Some(opened?), path: Some(path) },
            }),
        })
    }

    pub(super) fn unnamed(file: File) -> Self {
        Self { file: Some(file), path: None }
    }

    /// The file, which is opened if it could not be before.
    fn file(&mut self) -> io::Result<&mut File> {
        let file = match (self.file.take(), &self.path) {
            (Some(file), _) => file,
            (None, Some(path)) => append(path)?,
            (None, None) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(self.file.insert(file))
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match append(path) {
            Ok(file) => self.file = Some(file),
            Err(error) => tracing::error!(%error, path = %path.display(), "access log: cannot reopen"),
        }
    }
}

/// Whether it may be over by itself, and is no mistake of whoever named the file.
fn is_of_the_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

fn append(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

pub(super) struct Writer {
    queue: Receiver<Message>,
    output: Output,
    control: Arc<Control>,
    stats: Arc<Stats>,
    batch: Batch,
    /// The sink failed at the last attempt; said once, not for each batch.
    failing: bool,
}

/// Lines not yet written.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
    /// The sink took a part of a line and then failed.
    torn: bool,
}

impl Writer {
    pub(super) fn new(
        queue: Receiver<Message>,
        output: Output,
        control: Arc<Control>,
        stats: Arc<Stats>,
    ) -> Self {
        Self { queue, output, control, stats, batch: Batch::default(), failing: false }
    }

    /// Writes until it is told to stop and the queue is empty, or until nobody can push any more.
    pub(super) fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            if self.take(first).is_continue() && !self.stopping() {
                std::thread::park_timeout(GATHER);
            }
            while let Ok(next) = self.queue.try_recv() {
                let _ = self.take(next);
            }
            self.write();
            if self.control.reopen.swap(false, Ordering::AcqRel) {
                self.output.reopen();
            }
            if self.stopping() {
                break;
            }
        }
    }

    fn stopping(&self) -> bool {
        self.control.stop.load(Ordering::Acquire)
    }

    /// Takes one message; breaks if there is no reason to wait for more.
    fn take(&mut self, message: Message) -> ControlFlow<()> {
        match message {
            Message::Record(record) => self.batch.add(&record),
            Message::Connection(record) => self.batch.add(&*record),
            Message::Reopen => {
                self.write();
                self.output.reopen();
                return ControlFlow::Break(());
            }
            Message::Wake => return ControlFlow::Break(()),
        }
        if self.batch.bytes.len() >= BATCH_BYTES {
            self.write();
        }
        ControlFlow::Continue(())
    }

    fn write(&mut self) {
        if self.batch.lines == 0 {
            return;
        }
        let lines = self.batch.lines;
        match self.batch.write_to(&mut self.output) {
            Ok(()) => {
                self.stats.written.add(lines);
                self.failing = false;
            }
            Err((error, lost)) => {
                self.stats.written.add(lines - lost);
                self.stats.failed.add(lost);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, lost, "access log: sink failed");
                }
            }
        }
    }
}

impl Batch {
    fn add(&mut self, record: &impl Serialize) {
        let start = self.bytes.len();
        if start == 0 && std::mem::take(&mut self.torn) {
            self.bytes.push(b'\n');
        }
        match serde_json::to_writer(&mut self.bytes, record) {
            Ok(()) => {
                self.bytes.push(b'\n');
                self.lines += 1;
            }
            // Not for this type, whose keys are strings and which writes to memory; half a line is no line.
            Err(_) => self.bytes.truncate(start),
        }
    }

    /// Writes all of it and is empty after that, also if the sink fails: then with the number of
    /// lines that were lost.
    fn write_to(&mut self, sink: &mut impl Write) -> Result<(), (io::Error, u64)> {
        let result = write_counting(sink, &self.bytes).map_err(|(error, taken)| {
            let taken = &self.bytes[..taken];
            self.torn = taken.last().is_some_and(|&byte| byte != b'\n');
            let rest = self.bytes[taken.len()..].iter().filter(|&&byte| byte == b'\n').count();
            (error, (rest as u64).min(self.lines))
        });
        self.bytes.clear();
        // What one burst needed is not kept for ever.
        self.bytes.shrink_to(BATCH_BYTES);
        self.lines = 0;
        result
    }
}

/// Writes all bytes, or says how many were taken before the error.
fn write_counting(sink: &mut impl Write, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
    let mut taken = 0;
    while taken < bytes.len() {
        match sink.write(&bytes[taken..]) {
            Ok(0) => return Err((io::ErrorKind::WriteZero.into(), taken)),
            Ok(n) => taken += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((error, taken)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then fails.
    struct Full(Vec<u8>, usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.1 - self.0.len());
            self.0.extend(&bytes[..n]);
            if n == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(n) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn batch(lines: &[&str], torn: bool) -> Batch {
        let bytes = lines.iter().flat_map(|line| line.bytes().chain([b'\n'])).collect();
        Batch { bytes, lines: lines.len() as u64, torn }
    }

    #[test]
    fn a_sink_that_fills_up_loses_only_what_it_did_not_take() {
        for (room, lost, torn) in [(0, 3, false), (2, 2, false), (3, 2, true), (5, 1, true), (6, 0, false)] {
            let mut sink = Full(Vec::new(), room);
            let mut batch = batch(&["a", "b", "c"], false);
            assert_eq!(
                batch.write_to(&mut sink).map_err(|(_, lost)| lost).err().unwrap_or(0),
                lost,
                "{room}"
            );
            assert_eq!(batch.torn, torn, "{room}");
            assert!(batch.bytes.is_empty() && batch.lines == 0);
        }
    }
}
