//! One part of a limiter's keys: which arrival times are held, and what is known of those that are not.
//!
//! GCRA keeps one number for a bucket, its theoretical arrival time: the later, the emptier, and a
//! time that has passed means full. The shard keeps that number for as many keys as it may hold,
//! and for all others together one upper bound, [`Shard::absent`]. That one rule makes dropping safe:
//! * A bucket is dropped only when it is full, and the bound is raised to its time.
//! * A key that comes back starts from the bound, never from a fuller bucket than it left.
//! * When no place is free, a new key is charged to the bound itself: the spill bucket.
//!
//! So a key's bucket is never fuller than if it alone had been held for ever.

use std::hash::{BuildHasherDefault, Hasher};

use indexmap::IndexMap;

use super::keys::Key;

/// Other buckets looked at when a new key comes and there is room, so that refilled ones go before
/// the table grows; and when there is none.
const STEPS_WITH_ROOM: usize = 2;
const STEPS_WITHOUT_ROOM: usize = 8;

/// What a limiter has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Requests let pass.
    pub allowed: u64,
    /// Requests denied.
    pub denied: u64,
    /// Of those allowed, how many were charged to a spill bucket because `keys_max` was reached.
    pub overflowed: u64,
    /// Keys held now.
    pub keys: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.overflowed += other.overflowed;
        self.keys += other.keys;
    }
}

/// A part of the keys. Times are nanoseconds since the limiter was made.
#[derive(Debug)]
pub(super) struct Shard {
    held: IndexMap<Key, u64, BuildHasherDefault<KeyIsHash>>,
    capacity: usize,
    /// Where the search for refilled buckets goes on.
    hand: usize,
    /// No key that is not held has a later arrival time than this.
    absent: u64,
    figures: Figures,
}

impl Shard {
    /// An empty shard that will hold up to `capacity` keys, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            held: IndexMap::default(),
            capacity: capacity.max(1),
            hand: 0,
            absent: 0,
            figures: Figures::default(),
        }
    }

    /// Charges one request to `key`. `gcra` takes an arrival time and says what becomes of the
    /// request and the arrival time after it; `full_after` is that time for a full bucket.
    pub(super) fn charge<T, E>(
        &mut self,
        key: Key,
        full_after: u64,
        gcra: impl Fn(u64) -> Result<(T, u64), E>,
    ) -> Result<(T, u64), E> {
        let charged = match self.held.get_mut(&key) {
            Some(arrival) => gcra(*arrival).inspect(|(_, after)| *arrival = *after),
            None => self.charge_absent(key, full_after, gcra),
        };
        match charged {
            Ok(_) => self.figures.allowed += 1,
            Err(_) => self.figures.denied += 1,
        }
        charged
    }

    fn charge_absent<T, E>(
        &mut self,
        key: Key,
        full_after: u64,
        gcra: impl Fn(u64) -> Result<(T, u64), E>,
    ) -> Result<(T, u64), E> {
        // A full bucket and one never used have the same future: that is how to know one.
        let is_full = |arrival| matches!(gcra(arrival), Ok((_, after)) if after == full_after);
        let steps = if self.held.len() < self.capacity { STEPS_WITH_ROOM } else { STEPS_WITHOUT_ROOM };
        // A denied key is not held, so nothing is moved for it.
        gcra(self.absent)?;
        self.drop_full(steps, is_full);
        // Again, since dropping may have raised the bound.
        let (outcome, after) = gcra(self.absent)?;
        if self.held.len() < self.capacity {
            self.held.insert(key, after);
        } else {
            self.absent = after;
            self.figures.overflowed += 1;
        }
        Ok((outcome, after))
    }

    /// Looks at `steps` buckets from where the last search ended and drops those that are full.
    pub(super) fn drop_full(&mut self, steps: usize, is_full: impl Fn(u64) -> bool) {
        for _ in 0..steps.min(self.held.len()) {
            if self.hand >= self.held.len() {
                self.hand = 0;
            }
            match self.held.get_index(self.hand) {
                // The last bucket takes this place: the hand stays to look at it next.
                Some((_, &arrival)) if is_full(arrival) => {
                    self.held.swap_remove_index(self.hand);
                    self.absent = self.absent.max(arrival);
                }
                _ => self.hand += 1,
            }
        }
    }

    /// Gives memory back once three quarters of it are unused.
    pub(super) fn shrink(&mut self) {
        if self.held.capacity() > 64 && self.held.capacity() / 4 > self.held.len() {
            self.held.shrink_to(self.held.len() * 2);
        }
    }

    /// Keys held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// What was done so far.
    pub(super) fn figures(&self) -> Figures {
        Figures { keys: self.held.len() as u64, ..self.figures }
    }
}

/// A [`Key`] is a keyed hash already; hashing it again would only cost.
#[derive(Default)]
struct KeyIsHash(u64);

impl Hasher for KeyIsHash {
    fn write(&mut self, bytes: &[u8]) {
        // Not reached by `Key`, which writes one u64; kept right for any other type.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
