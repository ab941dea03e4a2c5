//! Watches the files of the policy, the folders that it is read from, and the modules that it names.
//!
//! An event means only "read again and compare": what happened, and whether the bytes differ, is
//! for the reader to find out. So it does not matter how an editor writes (in place, or a rename
//! over the old file), nor that Kubernetes swaps a symbolic link (`..data`) far from the file.
//!
//! 1. `snapshot`: follows every link on the way to each file, notes where the way could change and
//!    what the file looks like (inode, size, times).
//! 2. `folders`: watches the folders in which those places lie; files themselves are not watched,
//!    as a watch on a file is lost when it is replaced.
//! 3. [`watch()`]: the loop. Events are gathered for 20 ms, at most 200; every two seconds, and after
//!    each event, the snapshot is taken again, which finds changes on file systems without events
//!    and keeps the watches in the right place.
//!
//! Limits: 40 links on the way to a file, as in Linux; one pending notice, however many events.

mod folders;
mod snapshot;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::folders::Folders;
use self::snapshot::Snapshot;

/// A burst of events has ended when nothing happens for this long.
const QUIET_FOR: Duration = Duration::from_millis(20);
/// However long a burst lasts, it is told after this.
const BURST_MAX: Duration = Duration::from_millis(200);
/// How often files are looked at without an event.
const POLL_EVERY: Duration = Duration::from_secs(2);

/// The files and folders whose change may mean another policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchSet {
    files: BTreeSet<PathBuf>,
    /// Watched for the names of what they hold.
    folders: BTreeSet<PathBuf>,
}

/// A file may have changed: read the policy again and compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesChanged;

impl WatchSet {
    /// Files, and folders for the names of what they hold. Relative paths are taken from the current folder.
    pub fn new(files: impl IntoIterator<Item = PathBuf>, folders: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            files: files.into_iter().map(absolute).collect(),
            folders: folders.into_iter().map(absolute).collect(),
        }
    }

    /// The files, as absolute paths.
    #[cfg(test)]
    pub(super) fn files(&self) -> &BTreeSet<PathBuf> {
        &self.files
    }
}

impl FromIterator<PathBuf> for WatchSet {
    /// Of files. Relative paths are taken from the current folder.
    fn from_iter<I: IntoIterator<Item = PathBuf>>(paths: I) -> Self {
        Self::new(paths, [])
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    // The empty path is the current folder.
    let path = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path };
    std::path::absolute(&path).unwrap_or(path)
}

/// Watches `files` and tells `changes`. Ends when the other end of either channel is gone.
///
/// `changes` should have a capacity of 1: a notice that has not been taken yet stands for all that
/// came after it. A new set is told once as well, since a file may have changed between being read
/// and being watched; so send a set when it differs, not after each reading.
pub async fn watch(mut files: watch::Receiver<WatchSet>, changes: mpsc::Sender<FilesChanged>) {
    let signal = Arc::new(Notify::new());
    let mut folders = Folders::new(Arc::clone(&signal));
    let mut set = WatchSet::default();
    let mut seen = Snapshot::default();
    let mut cause = Cause::Set;
    loop {
        let wanted = files.borrow_and_update().clone();
        let now = look(wanted.clone()).await;
        folders.follow(&now);
        let is_told = match cause {
            Cause::Event => true,
            Cause::Set => wanted != set,
            Cause::Poll => now != seen,
        };
        (set, seen) = (wanted, now);
        if is_told && matches!(changes.try_send(FilesChanged), Err(TrySendError::Closed(_))) {
            return;
        }
        cause = tokio::select! {
            () = changes.closed() => return,
            sent = files.changed() => match sent {
                Ok(()) => Cause::Set,
                Err(_) => return,
            },
            () = signal.notified() => {
                burst(&signal).await;
                Cause::Event
            }
            () = sleep(POLL_EVERY) => Cause::Poll,
        };
    }
}

/// Why the files are looked at.
#[derive(Debug, Clone, Copy)]
enum Cause {
    Set,
    Event,
    Poll,
}

/// Waits for the end of the events that come with the first.
async fn burst(signal: &Notify) {
    let end = Instant::now() + BURST_MAX;
    let quiet = async { while timeout(QUIET_FOR, signal.notified()).await.is_ok() {} };
    // Either end will do.
    let _ = timeout_at(end, quiet).await;
}

/// Looks at the files aside from the runtime, as a network file system may take its time.
async fn look(files: WatchSet) -> Snapshot {
    tokio::task::spawn_blocking(move || Snapshot::take(&files.files, &files.folders))
        .await
        .unwrap_or_default()
}
