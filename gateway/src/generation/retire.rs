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

    /// The newest generation that must end, with all before it that are not `live`, so that at most
    /// `max` that are not live are held.
    pub fn excess(&self, live: &[u64], max: usize) -> Option<u64> {
        let holders = self.lock();
        holders.keys().rev().filter(|number| !live.contains(number)).nth(max).copied()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_too_many() {
        let all = Arc::new(Retirements::default());
        let mut held: Vec<_> = [1, 3, 4, 7, 9].map(|number| all.serve(number)).into();
        let excess = |max| all.excess(&[9], max);
        assert_eq!([excess(0), excess(1), excess(3), excess(4)], [Some(7), Some(4), Some(1), None]);
        held.remove(1);
        assert_eq!((all.excess(&[9], 2), all.excess(&[9], 3)), (Some(1), None));
    }

    #[test]
    fn one_that_was_taken_back_is_too_much_however_new() {
        let all = Arc::new(Retirements::default());
        let _held: Vec<_> = [4, 5, 6, 7].map(|number| all.serve(number)).into();
        assert_eq!([0, 1, 2].map(|max| all.excess(&[4, 7], max)), [Some(6), Some(5), None]);
    }
}
