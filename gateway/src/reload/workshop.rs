//! Where policies are read and their tables built: one thread.
//!
//! What reading a large policy leaves behind is memory that the allocator keeps for the thread that had it. On
//! tokio's blocking threads, of which each attempt takes any, each of them would come to hold as much as the
//! largest policy ever needed.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// The thread. It does one thing after the other, in the order asked.
#[derive(Debug)]
pub struct Workshop(
    /// Of which only its one blocking thread is used. `None`: it could not be had, and any thread will do.
    Option<Runtime>,
);

impl Workshop {
    /// The thread begins with its first work.
    #[must_use]
    pub fn new() -> Self {
        let keep_alive = Duration::from_secs(u64::from(u32::MAX));
        let builder = &mut Builder::new_current_thread();
        let built =
            builder.max_blocking_threads(1).thread_keep_alive(keep_alive).thread_name("policy").build();
        Self(built.inspect_err(|error| tracing::warn!(%error, "policies have no thread of their own")).ok())
    }

    /// Has `work` done, which may block. To be called on a tokio runtime.
    pub(super) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        match &self.0 {
            Some(runtime) => runtime.spawn_blocking(work),
            None => tokio::task::spawn_blocking(work),
        }
    }

    /// Has `work` done and waits for it; not to be called on a tokio runtime.
    ///
    /// # Panics
    /// If `work` does.
    pub fn wait<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let Some(runtime) = &self.0 else { return work() };
        match runtime.block_on(runtime.spawn_blocking(work)) {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Default for Workshop {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Workshop {
    /// It may be dropped where nothing may block.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn all_work_is_done_on_one_thread_that_is_not_the_callers() {
        let workshop = Workshop::new();
        let first = workshop.wait(|| thread::current().id());
        assert_ne!(first, thread::current().id());
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let work: Vec<_> = (0..4).map(|_| workshop.run(|| thread::current().id())).collect();
            for done in work {
                assert_eq!(done.await.unwrap(), first);
            }
            let broken = workshop.run(|| panic!("on purpose")).await;
            assert!(broken.unwrap_err().is_panic());
            assert_eq!(workshop.run(|| thread::current().id()).await.unwrap(), first);
            drop(workshop);
        });
    }
}
