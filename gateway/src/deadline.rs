//! A deadline that costs nothing when it is met.
//!
//! Arming a timer for each response and disarming it a millisecond later would touch the timer
//! wheel twice per request. Instead a connection, on either side, keeps one timer; a request only
//! writes down its deadline, and the timer, when it goes off, sets itself to the deadline then in force.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that can be set again and again.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Sets it.
    pub(crate) fn set(&mut self, at: Instant) {
        self.at = Some(at);
        if let Some(timer) = self.timer.as_mut().filter(|timer| timer.deadline() > at) {
            timer.as_mut().reset(at);
        }
    }

    /// Whether one is set.
    pub(crate) fn is_set(&self) -> bool {
        self.at.is_some()
    }

    /// Whether it passed longer ago than this.
    pub(crate) fn has_passed_by(&self, grace: Duration) -> bool {
        self.at.is_some_and(|at| Instant::now() > at + grace)
    }

    /// Clears it; the timer may go off once more, for nothing.
    pub(crate) fn clear(&mut self) {
        self.at = None;
    }

    /// Ready when it has passed; pending for ever if none is set.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn is_kept_when_moved_forth_and_back() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut deadline = Deadline::default();
        for (set, passed) in [(5, 5), (7, 12), (1, 13), (60, 73)] {
            deadline.set(Instant::now() + second * set);
            poll_fn(|cx| deadline.poll(cx)).await;
            assert_eq!(start.elapsed().as_secs(), passed);
        }
        // An earlier deadline than the one the timer was armed for.
        deadline.set(Instant::now() + second * 60);
        assert!(poll_fn(|cx| Poll::Ready(deadline.poll(cx))).await.is_pending());
        deadline.set(Instant::now() + second);
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 74);
        deadline.clear();
        assert!(poll_fn(|cx| Poll::Ready(deadline.poll(cx))).await.is_pending());
    }
}
