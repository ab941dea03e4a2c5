//! Data that guests share across workers, by `vm_id`, with compare-and-swap.
//!
//! One [`SharedData`] serves the process. Each `vm_id` has a namespace with its own lock, held for a
//! map operation and never while a guest runs: values are handed out by reference count. Every write
//! gives its key a new CAS number, never 0; a write that names another number is refused, one that
//! names 0 or an absent key succeeds, as in the C++ host.
//!
//! The ABI has neither delete nor expiry. This host has both: foreign functions (`host/foreign`) delete
//! a key, give it a time to live and count in it, and [`SharedDataLimits::ttl`] is the time to live of
//! keys that were given none. A key that has expired reads as absent at once; it is taken out when
//! it is touched, when room is needed, or by [`SharedData::sweep`], some at a time. A key also goes with
//! its namespace ([`SharedData::retain`]).
//!
//! Limits are for the process, so that no guest starves the gateway: keys, bytes of keys and values
//! together, and the size of each.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Limits of a [`SharedData`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedDataLimits {
    /// Keys in all namespaces.
    pub keys_max: usize,
    /// Bytes of keys and values in all namespaces.
    pub bytes_max: usize,
    /// Bytes of one key.
    pub key_bytes_max: usize,
    /// Bytes of one value.
    pub value_bytes_max: usize,
    /// How long a key lives after its last write, unless the guest says otherwise; `None`: for ever.
    pub ttl: Option<Duration>,
}

impl Default for SharedDataLimits {
    fn default() -> Self {
        Self {
            keys_max: 65_536,
            bytes_max: 64 << 20,
            key_bytes_max: 4 << 10,
            value_bytes_max: 1 << 20,
            ttl: None,
        }
    }
}

/// Expired keys that are taken out of a namespace under one hold of its lock.
const EXPIRED_AT_ONCE: usize = 256;

/// The shared data of all guests in the process.
#[derive(Debug, Default)]
pub struct SharedData {
    totals: Arc<Totals>,
    namespaces: Mutex<HashMap<Arc<str>, Arc<Namespace>>>,
}

impl SharedData {
    /// An empty store.
    pub fn new(limits: SharedDataLimits) -> Self {
        let totals = Totals { limits: Mutex::new(limits), ..Totals::default() };
        Self { totals: Arc::new(totals), namespaces: Mutex::default() }
    }

    /// Sets the limits of writes from now on. What is there stays, also beyond smaller limits.
    pub fn set_limits(&self, limits: SharedDataLimits) {
        *lock(&self.totals.limits) = limits;
    }

    /// Forgets the namespaces whose `vm_id` `keep` refuses; a VM that still runs keeps its view until
    /// it ends. Call it when a policy is retired.
    pub fn retain(&self, mut keep: impl FnMut(&str) -> bool) {
        lock(&self.namespaces).retain(|vm_id, _| keep(vm_id));
    }

    /// Takes out what has expired. Call it now and then; it holds no lock for long.
    pub fn sweep(&self) {
        let namespaces: Vec<_> = lock(&self.namespaces).values().cloned().collect();
        for namespace in namespaces {
            while namespace.expire(EXPIRED_AT_ONCE) == EXPIRED_AT_ONCE {}
        }
    }

    /// Keys in all namespaces, those that have expired and were not taken out yet among them.
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
    map: HashMap<Arc<[u8]>, Entry>,
    /// The keys that expire, the soonest first.
    expiring: BTreeSet<(Instant, Arc<[u8]>)>,
    last_cas: u32,
}

#[derive(Debug)]
struct Entry {
    value: Arc<[u8]>,
    cas: u32,
    expires: Option<Instant>,
}

/// Why a value was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetError {
    /// Another writer was faster.
    CasMismatch,
    /// Beyond a limit.
    TooLarge,
}

/// Why a key was not counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IncrementError {
    /// Its value is not a number of 8 bytes.
    NotANumber,
    /// Beyond a limit.
    TooLarge,
}

/// How long a key lives from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// As the limits say.
    Default,
    /// This long.
    For(Duration),
    /// Until it is deleted.
    Endless,
}

impl Namespace {
    /// The value of a key and its CAS number.
    pub(crate) fn get(&self, key: &[u8]) -> Option<(Arc<[u8]>, u32)> {
        let entries = lock(&self.entries);
        let entry = entries.map.get(key).filter(|entry| !entry.has_expired())?;
        Some((Arc::clone(&entry.value), entry.cas))
    }

    /// Stores a value; `cas` is 0 or the number that the key must have.
    pub(crate) fn set(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), SetError> {
        let limits = self.totals.limits();
        let mut entries = lock(&self.entries);
        match entries.live(key) {
            Some(entry) if cas != 0 && entry.cas != cas => Err(SetError::CasMismatch),
            _ => self.store(&mut entries, &limits, key, value, Lifetime::Default),
        }
    }

    /// Adds to the number in a key, 8 bytes little-endian, and gives the sum, which stops at the ends of
    /// its range. An absent key counts from 0 and lives for `lifetime`; another keeps its time.
    pub(crate) fn increment(
        &self,
        key: &[u8],
        delta: i64,
        lifetime: Lifetime,
    ) -> Result<i64, IncrementError> {
        let limits = self.totals.limits();
        let mut entries = lock(&self.entries);
        let Some(entry) = entries.live(key) else {
            let stored = self.store(&mut entries, &limits, key, &delta.to_le_bytes(), lifetime);
            return stored.map(|()| delta).map_err(|_| IncrementError::TooLarge);
        };
        let number = <[u8; 8]>::try_from(&*entry.value).map_err(|_| IncrementError::NotANumber)?;
        let sum = i64::from_le_bytes(number).saturating_add(delta);
        let cas = entries.next_cas();
        if let Some(entry) = entries.map.get_mut(key) {
            entry.value = Arc::from(sum.to_le_bytes());
            entry.cas = cas;
        }
        Ok(sum)
    }

    /// Says how long a key lives from now on; false if there is no such key.
    pub(crate) fn set_lifetime(&self, key: &[u8], lifetime: Lifetime) -> bool {
        let expires = lifetime.end(&self.totals.limits());
        let mut entries = lock(&self.entries);
        if entries.live(key).is_none() {
            return false;
        }
        entries.set_expiry(key, expires);
        true
    }

    /// Removes a key; false if there was none.
    pub(crate) fn delete(&self, key: &[u8]) -> bool {
        let mut entries = lock(&self.entries);
        let was_live = entries.live(key).is_some();
        self.remove(&mut entries, key);
        was_live
    }

    fn store(
        &self,
        entries: &mut Entries,
        limits: &SharedDataLimits,
        key: &[u8],
        value: &[u8],
        lifetime: Lifetime,
    ) -> Result<(), SetError> {
        if key.len() > limits.key_bytes_max || value.len() > limits.value_bytes_max {
            return Err(SetError::TooLarge);
        }
        let old_len = entries.map.get(key).map(|entry| entry.value.len());
        if self.totals.reserve(limits, key.len(), old_len, value.len()).is_err() {
            self.expire_in(entries, EXPIRED_AT_ONCE);
            // What has expired may have been this key.
            let old_len = entries.map.get(key).map(|entry| entry.value.len());
            self.totals.reserve(limits, key.len(), old_len, value.len())?;
        }
        let cas = entries.next_cas();
        match entries.map.get_mut(key) {
            Some(entry) => (entry.value, entry.cas) = (value.into(), cas),
            None => {
                let entry = Entry { value: value.into(), cas, expires: None };
                entries.map.insert(key.into(), entry);
            }
        }
        entries.set_expiry(key, lifetime.end(limits));
        Ok(())
    }

    fn remove(&self, entries: &mut Entries, key: &[u8]) {
        if let Some((key, entry)) = entries.map.remove_entry(key) {
            self.totals.give_back(1, key.len() + entry.value.len());
            if let Some(expires) = entry.expires {
                entries.expiring.remove(&(expires, key));
            }
        }
    }

    /// Takes out at most `max` keys that have expired; returns how many.
    fn expire(&self, max: usize) -> usize {
        self.expire_in(&mut lock(&self.entries), max)
    }

    fn expire_in(&self, entries: &mut Entries, max: usize) -> usize {
        if entries.expiring.is_empty() {
            return 0;
        }
        let now = Instant::now();
        let mut count = 0;
        while count < max && entries.expiring.first().is_some_and(|(expires, _)| *expires <= now) {
            let Some((_, key)) = entries.expiring.pop_first() else { break };
            self.remove(entries, &key);
            count += 1;
        }
        count
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let entries = self.entries.get_mut().unwrap_or_else(PoisonError::into_inner);
        let bytes = entries.map.iter().map(|(key, entry)| key.len() + entry.value.len()).sum();
        self.totals.give_back(entries.map.len(), bytes);
    }
}

impl Entries {
    fn next_cas(&mut self) -> u32 {
        self.last_cas = self.last_cas.checked_add(1).unwrap_or(1);
        self.last_cas
    }

    /// The entry of a key that has not expired.
    fn live(&self, key: &[u8]) -> Option<&Entry> {
        self.map.get(key).filter(|entry| !entry.has_expired())
    }

    fn set_expiry(&mut self, key: &[u8], expires: Option<Instant>) {
        let Some((key, _)) = self.map.get_key_value(key) else { return };
        let key = Arc::clone(key);
        let Some(entry) = self.map.get_mut(&key) else { return };
        if let Some(before) = std::mem::replace(&mut entry.expires, expires) {
            self.expiring.remove(&(before, Arc::clone(&key)));
        }
        if let Some(expires) = expires {
            self.expiring.insert((expires, key));
        }
    }
}

impl Entry {
    /// Asks the clock only for keys that expire.
    fn has_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= Instant::now())
    }
}

impl Lifetime {
    /// When a key that begins to live now expires. A time beyond the clock's range is for ever.
    fn end(self, limits: &SharedDataLimits) -> Option<Instant> {
        let ttl = match self {
            Self::Default => limits.ttl,
            Self::For(ttl) => Some(ttl),
            Self::Endless => None,
        };
        ttl.and_then(|ttl| Instant::now().checked_add(ttl))
    }
}

/// What all namespaces hold together.
#[derive(Debug, Default)]
struct Totals {
    limits: Mutex<SharedDataLimits>,
    keys: AtomicUsize,
    bytes: AtomicUsize,
}

impl Totals {
    fn limits(&self) -> SharedDataLimits {
        *lock(&self.limits)
    }

    /// Accounts for a value of `new_len` in place of one of `old_len`, or for a new key.
    fn reserve(
        &self,
        limits: &SharedDataLimits,
        key_len: usize,
        old_len: Option<usize>,
        new_len: usize,
    ) -> Result<(), SetError> {
        let Some(old_len) = old_len else {
            take(&self.keys, 1, limits.keys_max)?;
            return take(&self.bytes, key_len + new_len, limits.bytes_max)
                .inspect_err(|_| self.give_back(1, 0));
        };
        if new_len > old_len {
            return take(&self.bytes, new_len - old_len, limits.bytes_max);
        }
        self.give_back(0, old_len - new_len);
        Ok(())
    }

    fn give_back(&self, keys: usize, bytes: usize) {
        self.keys.fetch_sub(keys, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
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
mod tests;
