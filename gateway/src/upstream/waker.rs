//! The waker of a connection: one for its whole life, pointing to whoever waits for it now.
//!
//! hyper keeps wakers in five places of a connection. With one lasting waker none of them is ever
//! replaced; only the target changes from request to request. It can be muted, too: reading a body
//! wakes the connection that feeds it, which is about to be driven in the same breath anyway.
//!
//! `Wake` demands `Send` and `Sync`, hence a mutex and an atomic. Neither is ever contended: the
//! runtime, the connection and its user are on one thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// A waker whose target can be changed.
pub(super) struct ConnectionWaker {
    target: Arc<Target>,
    waker: Waker,
}

struct Target {
    task: Mutex<Waker>,
    is_muted: AtomicBool,
}

impl ConnectionWaker {
    /// One that wakes nobody yet.
    pub(super) fn new() -> Self {
        let task = Mutex::new(Waker::noop().clone());
        let target = Arc::new(Target { task, is_muted: AtomicBool::new(false) });
        Self { waker: Waker::from(Arc::clone(&target)), target }
    }

    /// From now on wakes `task`.
    pub(super) fn aim(&self, task: &Waker) {
        self.target.lock().clone_from(task);
    }

    /// From now on wakes nobody.
    pub(super) fn aim_at_nobody(&self) {
        self.aim(Waker::noop());
    }

    /// A context with this waker.
    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    /// Runs `body`; wake-ups meanwhile are lost. The caller drives the connection afterwards.
    pub(super) fn muted<T>(&self, body: impl FnOnce() -> T) -> T {
        self.target.is_muted.store(true, Ordering::Relaxed);
        let result = body();
        self.target.is_muted.store(false, Ordering::Relaxed);
        result
    }
}

impl Target {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waker> {
        // A waker is whole at any moment, so a panic elsewhere does not spoil it.
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Target {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_muted.load(Ordering::Relaxed) {
            self.lock().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wakes_its_target_unless_muted() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let counted = || count.0.load(Ordering::Relaxed);
        let waker = ConnectionWaker::new();
        let kept = waker.context().waker().clone();
        kept.wake_by_ref();
        assert_eq!(counted(), 0);
        waker.aim(&Waker::from(Arc::clone(&count)));
        kept.wake_by_ref();
        assert_eq!(counted(), 1);
        waker.muted(|| kept.wake_by_ref());
        assert_eq!(counted(), 1);
        waker.aim_at_nobody();
        kept.wake_by_ref();
        assert_eq!(counted(), 1);
    }
}
