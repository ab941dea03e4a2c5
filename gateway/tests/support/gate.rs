//! A gate between two threads of a test.

use std::sync::{Arc, Condvar, Mutex};

use super::DEADLINE;

/// Closed at first; once open it stays open. Clones are the same gate.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A closed one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open.
    pub fn pass(&self) {
        let (lock, changed) = &*self.0;
        let wait = changed.wait_timeout_while(lock.lock().unwrap(), DEADLINE, |is_open| !*is_open);
        assert!(!wait.unwrap().1.timed_out(), "the gate was never opened");
    }
}
