//! What was in force, and what became of each attempt to change it.
//!
//! Every generation is numbered; the last policies (ten unless told otherwise) are kept with all the files
//! that they were read from, so that the gateway can go back to one ([`History::find`]) and can start without
//! the policy's file or its modules ([`History::last_good`]). What happened is kept as events.
//!
//! Order: [`History::open`] reads what the folder has, before anything serves. [`History::record`] and
//! [`History::in_force`] change what is known in memory and hand the rest to one thread (`keeper`), which
//! writes it (`disk`); nobody waits for a disk. A reader sees a generation at once.
//!
//! On disk (`disk` has the layout) everything is written to a temporary name, synchronised and renamed, so
//! that a crash leaves the old or the new. What cannot be understood is skipped with a warning.
//!
//! If the folder cannot be written (full, read-only, held by another gateway), the gateway serves; this is
//! logged once, counted (`tollgate_policy_history_failures_total`) and shown by `/status`; what was not
//! written stays in memory and is tried again with what comes next, and every thirty seconds.
//!
//! Values of variables are not kept: a policy's files are kept as they were read.
//!
//! Limits: 1 to 100 policies; 500 events; files not yet written of at most 64 MiB together, else the oldest
//! are given up; a queue of 256 to the thread.

mod disk;
mod entry;
mod keeper;
mod known;
#[cfg(test)]
mod tests;
mod whole;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

use self::disk::Disk;
use self::keeper::{Job, Keeper};
use self::known::{Kept, Known};
use crate::policy::KeptFile;
use crate::telemetry::Timestamp;
use crate::telemetry::metrics::Metrics;

pub use self::disk::{DiskError, GatewayNote, running};
pub use self::entry::{Event, EventKind, FileRef, Pin, PinReason, Record};

/// Policies kept unless told otherwise.
pub const KEEP_DEFAULT: u8 = 10;
/// Events kept in memory and shown.
const EVENTS_MAX: usize = 500;
/// Bytes of files that wait to be written.
const UNWRITTEN_MAX: usize = 64 << 20;
/// Jobs that wait for the thread.
const QUEUE: usize = 256;

/// The past of a gateway's policy. Shared by control's tasks.
pub struct History {
    shared: Arc<Shared>,
    /// `None` once it is closed.
    jobs: Mutex<Option<SyncSender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    source: PathBuf,
}

/// What the thread and the readers share.
struct Shared {
    disk: Option<Disk>,
    metrics: Arc<Metrics>,
    known: Mutex<Known>,
    keep: usize,
}

/// A policy to go back to, with its files.
pub struct Revived {
    /// What is known of it.
    pub record: Arc<Record>,
    /// What it was read from.
    pub files: Arc<[KeptFile]>,
}

/// The history at a glance.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Overview {
    /// The generation in force.
    pub generation: Option<u64>,
    /// What the gateway stands by, if that is not what the policy's files say.
    pub pinned: Option<Pin>,
    /// The folder on disk; `null` if nothing is written.
    pub folder: Option<PathBuf>,
    /// Why the folder cannot be written; `null` if it can.
    pub problem: Option<String>,
    /// Policies that the gateway can go back to, the oldest first.
    pub kept: Vec<Arc<Record>>,
    /// What happened, the oldest first.
    pub events: Vec<Event>,
}

/// The history in `/status`.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Summary {
    /// The folder on disk; `null` if nothing is written.
    pub folder: Option<PathBuf>,
    /// Policies that the gateway can go back to.
    pub kept: usize,
    /// Why the folder cannot be written; `null` if it can.
    pub problem: Option<String>,
}

impl History {
    /// The history of the policy at `source`, in a folder of its own within `root`. With no `root` it is kept
    /// in memory only. Blocks on the file system; never fails: what is wrong with the folder is logged and
    /// shown.
    pub fn open(root: Option<&Path>, source: &Path, keep: NonZeroUsize, metrics: Arc<Metrics>) -> Self {
        let disk = root.map(|root| Disk::new(folder_of(root, source)));
        let mut known = Known::default();
        if let Some(disk) = &disk {
            known.problem = disk.take().err().map(|error| error.to_string());
            known.read(disk.read(), keep.get());
        }
        if let Some(problem) = &known.problem {
            metrics.control().history_failures.inc();
            tracing::warn!(reason = problem, "the history of the policy cannot be kept on disk");
        }
        let shared = Arc::new(Shared { disk, metrics, known: Mutex::new(known), keep: keep.get() });
        let (jobs, received) = sync_channel(QUEUE);
        let keeper = Keeper::new(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("history".to_owned());
        let thread = thread.spawn(move || keeper.run(&received));
        if let Err(error) = &thread {
            tracing::error!(%error, "the history of the policy is not kept: no thread");
        }
        Self {
            shared,
            jobs: Mutex::new(Some(jobs)),
            thread: Mutex::new(thread.ok()),
            source: source.to_owned(),
        }
    }

    /// The least number that the next generation may have.
    pub fn next_number(&self) -> u64 {
        self.shared.known().highest.saturating_add(1)
    }

    /// Notes that something happened.
    pub fn record(&self, kind: EventKind) {
        let event = Event { at: Timestamp::now().to_string(), kind };
        {
            let mut known = self.shared.known();
            known.highest = known.highest.max(event.kind.generation().unwrap_or(0));
            known.events.push_back(event.clone());
            while known.events.len() > EVENTS_MAX {
                known.events.pop_front();
            }
        }
        self.hand_over(Job::Event(event));
    }

    /// Notes that a generation serves, and keeps the files that it was made of, if they are given: a policy
    /// that is kept already comes without. `pin` says whether it was gone back to.
    pub fn in_force(&self, applied: Applied, files: Option<Arc<[KeptFile]>>, pin: Option<Pin>) {
        let Applied { generation, digest, trigger } = applied;
        {
            let mut known = self.shared.known();
            known.highest = known.highest.max(generation);
            known.in_force = Some((generation, digest.clone()));
            known.pin.clone_from(&pin);
            if let Some(files) = files {
                let record = Record::new(generation, digest, &self.source, trigger, &files);
                known.keep(Kept { record: Arc::new(record), files: Some(files) }, self.shared.keep);
            }
        }
        self.hand_over(Job::Save);
    }

    /// The policy in force is stood by as long as the policy's files say what `pin` says.
    pub fn stand_by(&self, pin: Pin) {
        self.shared.known().pin = Some(pin);
        self.hand_over(Job::Save);
    }

    /// The policy's file is followed again.
    pub fn unpin(&self) {
        self.shared.known().pin = None;
        self.hand_over(Job::Save);
    }

    /// What the gateway stands by, and did before it ended.
    pub fn pin(&self) -> Option<Pin> {
        self.shared.known().pin.clone()
    }

    /// What `to` means: that generation, or without a number the policy before the one in force. A second
    /// step back goes on from the first. `Err` has the numbers of those that are kept.
    pub fn find(&self, to: Option<u64>) -> Result<Arc<Record>, Vec<u64>> {
        let known = self.shared.known();
        let found = match to {
            Some(number) => known.numbered(number),
            None => known.before(),
        };
        found.ok_or_else(|| known.kept.iter().map(|kept| kept.record.generation).collect())
    }

    /// A kept policy's files. Blocks on the file system.
    ///
    /// # Errors
    /// If they cannot be read, or are not what was written.
    pub fn revive(&self, record: Arc<Record>) -> Result<Revived, DiskError> {
        let in_memory = {
            let known = self.shared.known();
            let mut kept = known.kept.iter();
            kept.find(|kept| kept.record.generation == record.generation).and_then(|kept| kept.files.clone())
        };
        let files = match (in_memory, &self.shared.disk) {
            (Some(files), _) => files,
            (None, Some(disk)) => disk.read_files(&record)?,
            (None, None) => return Err(DiskError::Gone),
        };
        Ok(Revived { record, files })
    }

    /// The policies that may be served if the policy's own file cannot be, the best first: the one in force
    /// when the gateway ended, then the others, the newest first.
    pub fn last_good(&self) -> Vec<Arc<Record>> {
        let known = self.shared.known();
        let last = known.current();
        let others = known.kept.iter().rev().map(|kept| &kept.record);
        let others = others.filter(|record| last.as_ref().is_none_or(|l| l.generation != record.generation));
        last.iter().chain(others).cloned().collect()
    }

    /// Everything, to be shown.
    pub fn overview(&self) -> Overview {
        let known = self.shared.known();
        Overview {
            generation: known.in_force.as_ref().map(|(generation, _)| *generation),
            pinned: known.pin.clone(),
            folder: self.shared.disk.as_ref().map(|disk| disk.folder().to_owned()),
            problem: known.problem.clone(),
            kept: known.kept.iter().map(|kept| Arc::clone(&kept.record)).collect(),
            events: known.events.iter().cloned().collect(),
        }
    }

    /// How it is.
    pub fn summary(&self) -> Summary {
        let known = self.shared.known();
        Summary {
            folder: self.shared.disk.as_ref().map(|disk| disk.folder().to_owned()),
            kept: known.kept.len(),
            problem: known.problem.clone(),
        }
    }

    /// Leaves word of where the admin API is, for commands that look for the gateway.
    pub fn leave_note(&self, note: GatewayNote) {
        self.hand_over(Job::Note(note));
    }

    /// Writes what is left, and lets another gateway have the folder. Blocks. What comes later is not kept.
    pub fn close(&self) {
        drop(lock(&self.jobs).take());
        if let Some(thread) = lock(&self.thread).take() {
            // A panic of it was printed when it happened.
            let _ = thread.join();
        }
        if let Some(disk) = &self.shared.disk {
            disk.release();
        }
    }

    /// Never waits: the caller swaps policies. The thread looks at what is known, so that a job for which there
    /// is no room is made up for by the next.
    fn hand_over(&self, job: Job) {
        let jobs = lock(&self.jobs);
        if jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_err()) {
            self.shared.metrics.control().history_failures.inc();
        }
    }
}

/// A generation that serves.
pub struct Applied {
    /// Its number.
    pub generation: u64,
    /// SHA-256 of all that makes the policy up, in hexadecimal.
    pub digest: String,
    /// Why it was read.
    pub trigger: String,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

/// Several gateways of one user may have one root; each policy has a folder.
fn folder_of(root: &Path, source: &Path) -> PathBuf {
    let absolute = std::path::absolute(source).unwrap_or_else(|_| source.to_owned());
    let digest = Sha256::digest(absolute.as_os_str().as_encoded_bytes());
    let name: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    root.join(name)
}

/// A panic elsewhere leaves what is behind it whole enough to be shown.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
