//! Metrics split by worker, and the names under which they are found.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// One `T` for each worker, summed when it is read, so that workers never share a cache line.
#[derive(Debug)]
pub struct Sharded<T> {
    shards: Box<[Padded<T>]>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> Sharded<T> {
    /// One for each of `workers`, at least one.
    pub(super) fn new(workers: usize) -> Self {
        Self { shards: (0..workers.max(1)).map(|_| Padded::default()).collect() }
    }
}

impl<T> Sharded<T> {
    /// The part of one worker, to be resolved once and kept. Workers count from zero; with more
    /// workers than were announced, some share a part.
    pub fn worker(self: &Arc<Self>, worker: usize) -> Handle<T> {
        Handle { shard: worker % self.shards.len(), all: Arc::clone(self) }
    }

    /// All parts.
    pub(super) fn parts(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().map(|padded| &padded.0)
    }

    /// The sum over all parts.
    pub(super) fn sum<N: std::iter::Sum>(&self, value: impl Fn(&T) -> N) -> N {
        self.parts().map(value).sum()
    }
}

/// A worker's part of a [`Sharded`]: dereferences to it with no look-up. As long as one is held,
/// the series stays in the exposition.
#[derive(Debug)]
pub struct Handle<T> {
    all: Arc<Sharded<T>>,
    shard: usize,
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self { all: Arc::clone(&self.all), shard: self.shard }
    }
}

impl<T> Deref for Handle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // In bounds: `worker` took it modulo the length, which never changes.
        &self.all.shards[self.shard].0
    }
}

/// Things by name, held weakly: what no generation holds any more is gone from here too.
#[derive(Debug)]
pub(super) struct Names<T>(Mutex<Entries<T>>);

#[derive(Debug)]
struct Entries<T> {
    by_name: BTreeMap<Arc<str>, Weak<T>>,
    /// Dead entries are dropped when there are this many, then again at twice what is left.
    prune_at: usize,
}

const PRUNE_AT_LEAST: usize = 64;

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self(Mutex::new(Entries { by_name: BTreeMap::new(), prune_at: PRUNE_AT_LEAST }))
    }
}

impl<T> Names<T> {
    /// What goes by this name, made by `make` if nothing does.
    pub(super) fn get_or_insert_with(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        self.with(|entries| {
            if let Some(found) = entries.by_name.get(name).and_then(Weak::upgrade) {
                return found;
            }
            let made = Arc::new(make());
            entries.insert(name, &made);
            made
        })
    }

    /// From now on this goes by the name.
    pub(super) fn replace(&self, name: &str, thing: &Arc<T>) {
        self.with(|entries| entries.insert(name, thing));
    }

    /// All that live, by name.
    pub(super) fn live(&self) -> Vec<(Arc<str>, Arc<T>)> {
        self.with(|entries| {
            entries.prune();
            let live = entries.by_name.iter();
            live.filter_map(|(name, weak)| Some((Arc::clone(name), weak.upgrade()?))).collect()
        })
    }

    fn with<R>(&self, act: impl FnOnce(&mut Entries<T>) -> R) -> R {
        // The map is whole after each step, so a panic elsewhere does not spoil it.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Entries<T> {
    fn insert(&mut self, name: &str, thing: &Arc<T>) {
        if self.by_name.len() >= self.prune_at {
            self.prune();
        }
        self.by_name.insert(Arc::from(name), Arc::downgrade(thing));
    }

    fn prune(&mut self) {
        self.by_name.retain(|_, weak| weak.strong_count() > 0);
        self.prune_at = (self.by_name.len() * 2).max(PRUNE_AT_LEAST);
    }
}

#[cfg(test)]
mod tests {
    use super::super::cells::Counter;
    use super::*;

    #[test]
    fn parts_are_summed_and_surplus_workers_share() {
        let all = Arc::new(Sharded::<Counter>::new(2));
        all.worker(0).inc();
        all.worker(1).add(10);
        all.worker(5).add(100);
        assert_eq!(all.parts().map(Counter::get).collect::<Vec<_>>(), [1, 110]);
        assert_eq!(all.sum(Counter::get), 111);
    }

    #[test]
    fn a_name_lives_as_long_as_somebody_holds_it() {
        let names = Names::<u32>::default();
        let first = names.get_or_insert_with("a", || 1);
        assert!(Arc::ptr_eq(&first, &names.get_or_insert_with("a", || 2)));
        assert_eq!(names.live().len(), 1);
        drop(first);
        assert!(names.live().is_empty());
        assert_eq!(*names.get_or_insert_with("a", || 3), 3);
    }

    #[test]
    fn dead_names_do_not_pile_up_between_scrapes() {
        let names = Names::<usize>::default();
        for n in 0..10_000 {
            let _ = names.get_or_insert_with(&n.to_string(), || n);
        }
        assert!(names.with(|entries| entries.by_name.len()) <= PRUNE_AT_LEAST);
    }
}
