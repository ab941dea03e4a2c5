//! What guests asked for on a connection, acted on when the callback has returned.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

use tollgate_proxy_wasm::Refusal;

use crate::filter::exchange::{Side, SideIndex};

/// The requests of all filters of one connection.
#[derive(Default)]
pub(in crate::filter) struct Signals {
    closed: RefCell<Option<Closed>>,
    refused: Cell<Option<(usize, Refusal)>>,
    /// One bit per position and side.
    resumed: [Cell<u64>; 2],
    waker: RefCell<Option<Waker>>,
}

/// A filter has closed the connection.
#[derive(Debug, Clone)]
pub(in crate::filter) struct Closed {
    pub(in crate::filter) position: usize,
    /// Why, if it said so.
    pub(in crate::filter) reason: String,
}

impl Signals {
    /// The first one counts.
    pub(in crate::filter) fn close(&self, position: usize, reason: String) {
        self.closed.borrow_mut().get_or_insert(Closed { position, reason });
        self.wake();
    }

    pub(in crate::filter) fn closed(&self) -> Option<Closed> {
        self.closed.borrow().clone()
    }

    /// The first of a filter counts; one that another left behind must not hide it.
    pub(in crate::filter) fn refuse(&self, position: usize, refusal: Refusal) {
        if self.refused.get().is_none_or(|(by, _)| by != position) {
            self.refused.set(Some((position, refusal)));
            self.wake();
        }
    }

    /// Whether a write of the filter was refused.
    pub(in crate::filter) fn has_refused(&self, position: usize) -> bool {
        self.refused.get().is_some_and(|(by, _)| by == position)
    }

    pub(in crate::filter) fn take_refusal(&self, position: usize) -> Option<Refusal> {
        self.refused.take().filter(|(by, _)| *by == position).map(|(_, refusal)| refusal)
    }

    pub(in crate::filter) fn resume(&self, position: usize, side: Side) {
        let bits = &self.resumed[side.index()];
        bits.set(bits.get() | bit(position));
        self.wake();
    }

    /// Whether the filter was resumed since this was last asked.
    pub(in crate::filter) fn take_resumed(&self, position: usize, side: Side) -> bool {
        let bits = &self.resumed[side.index()];
        let before = bits.get();
        bits.set(before & !bit(position));
        before & bit(position) != 0
    }

    /// Wakes this task when something is asked for.
    pub(in crate::filter) fn register(&self, cx: &Context<'_>) {
        let mut slot = self.waker.borrow_mut();
        match &mut *slot {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *slot = Some(cx.waker().clone()),
        }
    }

    pub(in crate::filter) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// A chain has at most 64 filters.
fn bit(position: usize) -> u64 {
    1_u64.checked_shl(u32::try_from(position).unwrap_or(u32::MAX)).unwrap_or(0)
}
