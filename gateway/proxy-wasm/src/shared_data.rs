//! Data that guests share across workers, by `vm_id`, with compare-and-swap.
//!
//! One [`SharedData`] serves the process. Each `vm_id` has a namespace with its own lock, held for a
//! map operation and never while a guest runs: values are handed out by reference count. Every write
//! gives its key a new CAS number, never 0; a write that names another number is refused, one that
//! names 0 or an absent key succeeds, as in the C++ host. Keys live until the gateway drops their
//! namespace ([`SharedData::retain`]); the ABI has no delete.
//!
//! Limits are for the process, so that no guest starves the gateway: keys, bytes of keys and values
//! together, and the size of each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Limits of a [`SharedData`].
#[derive(Clone, Copy, Debug)]
pub struct SharedDataLimits {
    /// Keys in all namespaces.
    pub keys_max: usize,
    /// Bytes of keys and values in all namespaces.
    pub bytes_max: usize,
    /// Bytes of one key.
    pub key_bytes_max: usize,
    /// Bytes of one value.
    pub value_bytes_max: usize,
}

impl Default for SharedDataLimits {
    fn default() -> Self {
        Self { keys_max: 65_536, bytes_max: 64 << 20, key_bytes_max: 4 << 10, value_bytes_max: 1 << 20 }
    }
}

/// The shared data of all guests in the process.
#[derive(Debug, Default)]
pub struct SharedData {
    totals: Arc<Totals>,
    namespaces: Mutex<HashMap<Arc<str>, Arc<Namespace>>>,
}

impl SharedData {
    /// An empty store.
    pub fn new(limits: SharedDataLimits) -> Self {
        Self { totals: Arc::new(Totals { limits, ..Totals::default() }), namespaces: Mutex::default() }
    }

    /// Forgets the namespaces whose `vm_id` `keep` refuses; a VM that still runs keeps its view until
    /// it ends. Call it when a policy is retired.
    pub fn retain(&self, mut keep: impl FnMut(&str) -> bool) {
        lock(&self.namespaces).retain(|vm_id, _| keep(vm_id));
    }

    /// Keys in all namespaces.
    pub fn keys(&self) -> usize {
        self.totals.keys.load(Ordering::Relaxed)
    }

    /// Bytes of keys and values in all namespaces.
    pub fn bytes(&self) -> usize {
        self.totals.bytes.load(Ordering::Relaxed)
    }

    /// The value of a key of `vm_id`, if there is one.
    pub fn value(&self, vm_id: &str, key: &[u8]) -> Option<Arc<[u8]>> {
        let namespace = lock(&self.namespaces).get(vm_id).cloned()?;
        namespace.get(key).map(|(value, _)| value)
    }

    pub(crate) fn namespace(&self, vm_id: &Arc<str>) -> Arc<Namespace> {
        let mut namespaces = lock(&self.namespaces);
        Arc::clone(namespaces.entry(Arc::clone(vm_id)).or_insert_with(|| {
            Arc::new(Namespace { totals: Arc::clone(&self.totals), entries: Mutex::default() })
        }))
    }
}

/// The data of one `vm_id`.
#[derive(Debug)]
pub(crate) struct Namespace {
    totals: Arc<Totals>,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    map: HashMap<Box<[u8]>, Entry>,
    last_cas: u32,
}

#[derive(Debug)]
struct Entry {
    value: Arc<[u8]>,
    cas: u32,
}

/// Why a value was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetError {
    /// Another writer was faster.
    CasMismatch,
    /// Beyond a limit.
    TooLarge,
}

impl Namespace {
    /// The value of a key and its CAS number.
    pub(crate) fn get(&self, key: &[u8]) -> Option<(Arc<[u8]>, u32)> {
        lock(&self.entries).map.get(key).map(|entry| (Arc::clone(&entry.value), entry.cas))
    }

    /// Stores a value; `cas` is 0 or the number that the key must have.
    pub(crate) fn set(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), SetError> {
        self.totals.check_sizes(key, value)?;
        let mut entries = lock(&self.entries);
        let old_len = match entries.map.get(key) {
            Some(entry) if cas != 0 && entry.cas != cas => return Err(SetError::CasMismatch),
            Some(entry) => Some(entry.value.len()),
            None => None,
        };
        self.totals.reserve(key.len(), old_len, value.len())?;
        let cas = entries.next_cas();
        let entry = Entry { value: value.into(), cas };
        match entries.map.get_mut(key) {
            Some(slot) => *slot = entry,
            None => drop(entries.map.insert(key.into(), entry)),
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let entries = self.entries.get_mut().unwrap_or_else(PoisonError::into_inner);
        let bytes = entries.map.iter().map(|(key, entry)| key.len() + entry.value.len()).sum();
        self.totals.keys.fetch_sub(entries.map.len(), Ordering::Relaxed);
        self.totals.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Entries {
    fn next_cas(&mut self) -> u32 {
        self.last_cas = self.last_cas.checked_add(1).unwrap_or(1);
        self.last_cas
    }
}

/// What all namespaces hold together.
#[derive(Debug, Default)]
struct Totals {
    limits: SharedDataLimits,
    keys: AtomicUsize,
    bytes: AtomicUsize,
}

impl Totals {
    fn check_sizes(&self, key: &[u8], value: &[u8]) -> Result<(), SetError> {
        let fits = key.len() <= self.limits.key_bytes_max && value.len() <= self.limits.value_bytes_max;
        if fits { Ok(()) } else { Err(SetError::TooLarge) }
    }

    /// Accounts for a value of `new_len` in place of one of `old_len`, or for a new key.
    fn reserve(&self, key_len: usize, old_len: Option<usize>, new_len: usize) -> Result<(), SetError> {
        let Some(old_len) = old_len else {
            take(&self.keys, 1, self.limits.keys_max)?;
            return take(&self.bytes, key_len + new_len, self.limits.bytes_max)
                .inspect_err(|_| _ = self.keys.fetch_sub(1, Ordering::Relaxed));
        };
        if new_len > old_len {
            return take(&self.bytes, new_len - old_len, self.limits.bytes_max);
        }
        self.bytes.fetch_sub(old_len - new_len, Ordering::Relaxed);
        Ok(())
    }
}

fn take(total: &AtomicUsize, amount: usize, max: usize) -> Result<(), SetError> {
    let grow = |now: usize| now.checked_add(amount).filter(|sum| *sum <= max);
    match total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow) {
        Ok(_) => Ok(()),
        Err(_) => Err(SetError::TooLarge),
    }
}

/// A poisoned lock is taken as it is: each map operation under it is complete or not begun.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> SharedData {
        SharedData::new(SharedDataLimits {
            keys_max: 2,
            bytes_max: 32,
            key_bytes_max: 8,
            value_bytes_max: 16,
        })
    }

    #[test]
    fn a_write_with_a_stale_number_is_refused() {
        let data = SharedData::default();
        let space = data.namespace(&"vm".into());
        space.set(b"k", b"one", 0).unwrap();
        let (value, cas) = space.get(b"k").unwrap();
        assert_eq!((&*value, cas != 0), (&b"one"[..], true));
        space.set(b"k", b"two", cas).unwrap();
        assert_eq!(space.set(b"k", b"three", cas), Err(SetError::CasMismatch));
        assert_eq!(&*space.get(b"k").unwrap().0, b"two");
        assert_eq!(space.set(b"absent", b"v", 77), Ok(()), "as in the C++ host");
    }

    #[test]
    fn names_separate_and_unite() {
        let data = SharedData::default();
        data.namespace(&"a".into()).set(b"k", b"v", 0).unwrap();
        assert!(data.namespace(&"b".into()).get(b"k").is_none());
        assert!(data.namespace(&"a".into()).get(b"k").is_some());
    }

    #[test]
    fn limits_hold_and_are_given_back() {
        let data = small();
        let space = data.namespace(&"vm".into());
        assert_eq!(space.set(b"k-too-long", b"", 0), Err(SetError::TooLarge));
        assert_eq!(space.set(b"k", &[0; 17], 0), Err(SetError::TooLarge));
        space.set(b"a", &[0; 15], 0).unwrap();
        space.set(b"b", &[0; 15], 0).unwrap();
        assert_eq!(space.set(b"c", b"", 0), Err(SetError::TooLarge));
        assert_eq!(space.set(b"a", &[0; 16], 0), Err(SetError::TooLarge));
        assert_eq!((data.keys(), data.bytes()), (2, 32));
        space.set(b"a", b"", 0).unwrap();
        assert_eq!(data.bytes(), 17);
        data.retain(|_| false);
        drop(space);
        assert_eq!((data.keys(), data.bytes()), (0, 0));
    }

    #[test]
    fn concurrent_increments_by_cas_lose_nothing() {
        let data = SharedData::default();
        data.namespace(&"vm".into()).set(b"n", &0u32.to_le_bytes(), 0).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let space = data.namespace(&"vm".into());
                    (0..500).for_each(|_| increment(&space));
                });
            }
        });
        let value = data.namespace(&"vm".into()).get(b"n").unwrap().0;
        assert_eq!(number(&value), 2000);
    }

    fn increment(space: &Namespace) {
        loop {
            let (value, cas) = space.get(b"n").unwrap();
            if space.set(b"n", &(number(&value) + 1).to_le_bytes(), cas).is_ok() {
                return;
            }
        }
    }

    fn number(value: &[u8]) -> u32 {
        u32::from_le_bytes(value.try_into().unwrap())
    }
}
