//! Which generations still serve requests, over all workers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The generations that some worker still holds.
#[derive(Default)]
pub struct Retirements {
    /// Workers by generation. Held for one look-up, never across an await.
    holders: Mutex<BTreeMap<u64, usize>>,
    changed: Notify,
}

/// One worker's hold on a generation.
pub struct Serving {
    number: u64,
    all: Arc<Retirements>,
}

impl Retirements {
    /// A worker holds generation `number` until the result is dropped.
    pub fn serve(self: &Arc<Self>, number: u64) -> Serving {
        *self.lock().entry(number).or_default() += 1;
        Serving { number, all: Arc::clone(self) }
    }

    /// Generations older than `number` that are still held.
    pub fn older_than(&self, number: u64) -> usize {
        self.lock().range(..number).count()
    }

    /// Waits until no worker holds generation `number`.
    pub async fn wait(&self, number: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Enabled before looking, so that a change in between is not missed.
            changed.as_mut().enable();
            if !self.lock().contains_key(&number) {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, usize>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut holders = self.all.lock();
        if let Some(count) = holders.get_mut(&self.number) {
            *count -= 1;
            if *count == 0 {
                holders.remove(&self.number);
            }
        }
        drop(holders);
        self.all.changed.notify_waiters();
    }
}
