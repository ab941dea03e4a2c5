//! What a guest asked for during a callback, acted on when the callback has returned; and who waits
//! for it.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

use tollgate_proxy_wasm::{FaultKind, GuestFault, Refusal};

use super::exchange::{Side, SideIndex};
use super::reply::Reply;
use crate::telemetry::metrics::FilterFailure;

/// Who may wait for a paused filter to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiter {
    /// The spine, while headers are held back.
    Spine,
    /// The request body on its way to the upstream.
    RequestBody,
    /// The response body on its way to the client.
    ResponseBody,
}

/// How a filter failed without its callback failing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// It asked for what cannot be done.
    #[error(transparent)]
    Refused(Refusal),
    /// It says so.
    #[error(transparent)]
    Told(GuestFault),
}

impl Fault {
    /// As what it is counted.
    pub(super) fn kind(&self) -> FilterFailure {
        match self {
            Self::Refused(_) => FilterFailure::Host,
            Self::Told(GuestFault { kind: FaultKind::Error, .. }) => FilterFailure::Error,
            Self::Told(GuestFault { kind: FaultKind::Budget, .. }) => FilterFailure::Budget,
        }
    }
}

/// The requests of all filters of one exchange.
#[derive(Default)]
pub(super) struct Signals {
    reply: RefCell<Option<(usize, Reply)>>,
    closed_by: Cell<Option<usize>>,
    fault: RefCell<Option<(usize, Fault)>>,
    has_edited: Cell<bool>,
    /// One bit per position and side.
    resumed: [Cell<u64>; 2],
    wakers: [RefCell<Option<Waker>>; 3],
}

impl Signals {
    /// The first answer counts.
    pub(super) fn reply(&self, position: usize, reply: Reply) {
        self.reply.borrow_mut().get_or_insert((position, reply));
        self.wake();
    }

    pub(super) fn take_reply(&self) -> Option<(usize, Reply)> {
        self.reply.borrow_mut().take()
    }

    pub(super) fn close(&self, position: usize) {
        self.closed_by.set(self.closed_by.get().or(Some(position)));
        self.wake();
    }

    pub(super) fn closed_by(&self) -> Option<usize> {
        self.closed_by.get()
    }

    /// Whether a filter closed the stream since this was last asked.
    pub(super) fn take_closed(&self) -> bool {
        self.closed_by.take().is_some()
    }

    /// A filter changed something. Only filters in shadow are asked.
    pub(super) fn edited(&self) {
        self.has_edited.set(true);
    }

    /// Whether a filter changed something since this was last asked.
    pub(super) fn take_edited(&self) -> bool {
        self.has_edited.take()
    }

    /// The first of a filter counts. One that another filter left behind, in the end of its part, must
    /// not hide this one's.
    pub(super) fn fail(&self, position: usize, fault: Fault) {
        if !self.has_failed(position) {
            self.fault.replace(Some((position, fault)));
            self.wake();
        }
    }

    /// Whether the filter has failed.
    pub(super) fn has_failed(&self, position: usize) -> bool {
        self.fault.borrow().as_ref().is_some_and(|(by, _)| *by == position)
    }

    pub(super) fn take_fault(&self) -> Option<(usize, Fault)> {
        self.fault.take()
    }

    pub(super) fn resume(&self, position: usize, side: Side) {
        let bits = &self.resumed[side.index()];
        bits.set(bits.get() | bit(position));
        self.wake();
    }

    /// Whether the filter was resumed since this was last asked.
    pub(super) fn take_resumed(&self, position: usize, side: Side) -> bool {
        let bits = &self.resumed[side.index()];
        let before = bits.get();
        bits.set(before & !bit(position));
        before & bit(position) != 0
    }

    /// Whether anything is there to be acted on outside the callback that caused it.
    pub(super) fn is_urgent(&self) -> bool {
        self.closed_by.get().is_some() || self.reply.borrow().is_some()
    }

    /// Wakes this task when something is asked for.
    pub(super) fn register(&self, waiter: Waiter, cx: &Context<'_>) {
        let mut slot = self.wakers[waiter as usize].borrow_mut();
        match &mut *slot {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *slot = Some(cx.waker().clone()),
        }
    }

    /// Has everybody who waits look again.
    pub(super) fn wake(&self) {
        for waker in &self.wakers {
            if let Some(waker) = &*waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }
}

fn bit(position: usize) -> u64 {
    1_u64.checked_shl(u32::try_from(position).unwrap_or(u32::MAX)).unwrap_or(0)
}
