//! Who tells that a worker has panicked.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Workers that have panicked and were not told yet.
#[derive(Default)]
pub(super) struct Losses {
    /// Held for one push or pop, never across an await.
    lost: Mutex<Vec<usize>>,
    changed: Notify,
}

/// Tells, when it is dropped by a panic.
pub(super) struct Watch {
    worker: usize,
    losses: Arc<Losses>,
}

impl Losses {
    /// To be held by the worker's thread for all of its life.
    pub(super) fn watch(self: &Arc<Self>, worker: usize) -> Watch {
        Watch { worker, losses: Arc::clone(self) }
    }

    /// The next worker that panics. One at a time may wait.
    pub(super) async fn next(&self) -> usize {
        loop {
            let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match lost {
                Some(worker) => return worker,
                // A push in between leaves a permit.
                None => self.changed.notified().await,
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.losses.lost.lock().unwrap_or_else(PoisonError::into_inner).push(self.worker);
            self.losses.changed.notify_one();
        }
    }
}
