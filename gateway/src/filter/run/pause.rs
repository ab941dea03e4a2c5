//! Waiting for a filter that holds an exchange back.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tollgate_proxy_wasm::Failure;

use super::{FilterError, Interrupted, Part, Run, Verdict};
use crate::filter::exchange::Side;
use crate::filter::reply::Reply;
use crate::filter::signals::Waiter;
use crate::telemetry::Phase;

impl Run {
    /// Waits while the filter at `position` holds the headers back.
    pub(super) async fn settle(
        &self,
        position: usize,
        side: Side,
        verdict: Verdict,
    ) -> Result<Option<Box<Reply>>, FilterError> {
        let signals = &self.exchange.signals;
        match verdict {
            Verdict::Continue => self.check_closed(phase_of(side)).map(|()| None),
            Verdict::Replied(reply) => Ok(Some(reply)),
            Verdict::Pause(_) => {
                self.check_closed(phase_of(side))?;
                self.hold(position);
                poll_fn(|cx| {
                    if signals.has_failed(position)
                        || signals.take_resumed(position, side)
                        || signals.is_urgent()
                        || self.is_orphan(position)
                    {
                        return Poll::Ready(());
                    }
                    signals.register(Waiter::Spine, cx);
                    Poll::Pending
                })
                .await;
                self.check_closed(phase_of(side))?;
                self.release_failed(position, phase_of(side))?;
                if let Some((by, reply)) = self.take_reply() {
                    self.note(by, phase_of(side), &reply.reason);
                    return Ok(Some(Box::new(reply)));
                }
                self.release_orphan(position, phase_of(side))?;
                Ok(None)
            }
        }
    }

    /// The filter at `position` holds the exchange back: it is to be woken if the VM fails.
    pub(in crate::filter) fn hold(&self, position: usize) {
        if let Some(Part::Guest(context)) = self.parts.borrow().get(position) {
            context.hold(&self.exchange);
        }
    }

    /// Whether what the filter at `position` held back goes on because its VM is gone.
    pub(in crate::filter) fn release_orphan(
        &self,
        position: usize,
        phase: Phase,
    ) -> Result<bool, FilterError> {
        let Some(filter) = self.chain.filters.get(position).filter(|_| self.is_orphan(position)) else {
            return Ok(false);
        };
        let failure = self.failure_of_vm(position);
        let reason = match failure {
            Some(failure) => format!("its VM failed while the exchange waited for it: {failure}"),
            None => "its VM failed while the exchange waited for it".to_owned(),
        };
        self.fail(position, filter, phase, reason).map(|()| true)
    }

    /// Whether what the filter at `position` held back goes on because it failed outside the callbacks of
    /// this exchange, as in the answer to a call: it says so, or a write of its was refused.
    pub(in crate::filter) fn release_failed(
        &self,
        position: usize,
        phase: Phase,
    ) -> Result<bool, FilterError> {
        let signals = &self.exchange.signals;
        let Some(filter) = self.chain.filters.get(position).filter(|_| signals.has_failed(position)) else {
            return Ok(false);
        };
        let Some((_, fault)) = signals.take_fault() else { return Ok(false) };
        if let Some(Part::Guest(context)) = self.parts.borrow().get(position) {
            context.spoil();
        }
        let reason = fault.to_string();
        filter.failed(fault.kind(), &reason);
        self.fail(position, filter, phase, reason).map(|()| true)
    }

    fn failure_of_vm(&self, position: usize) -> Option<Failure> {
        match self.parts.borrow().get(position) {
            Some(Part::Guest(context)) => context.failure_of_vm(),
            _ => None,
        }
    }

    fn is_orphan(&self, position: usize) -> bool {
        matches!(self.parts.borrow().get(position), Some(Part::Guest(context)) if context.is_orphaned())
    }

    /// Wakes this task when a filter asks for something outside a callback of this exchange.
    pub fn wait(&self, waiter: Waiter, cx: &std::task::Context<'_>) {
        if self.chain.has_guests {
            self.exchange.signals.register(waiter, cx);
        }
    }

    /// Works on `work` until a filter answers or closes the stream outside a callback, from a timer say.
    pub async fn until_interrupted<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Interrupted> {
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            self.wait(Waiter::Spine, cx);
            match self.interruption() {
                Some(interrupted) => Poll::Ready(Err(interrupted)),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn interruption(&self) -> Option<Interrupted> {
        if let Err(error) = self.check_closed(Phase::Background) {
            return Some(error.into());
        }
        let (by, reply) = self.take_reply()?;
        self.note(by, Phase::Background, &reply.reason);
        self.answered_by(by, Side::Request);
        Some(Interrupted::Replied(Box::new(reply)))
    }

    /// An error if a filter reset the stream; `phase` is where the exchange is now.
    pub fn check_closed(&self, phase: Phase) -> Result<(), FilterError> {
        let Some(position) = self.exchange.signals.closed_by() else { return Ok(()) };
        let Some(filter) = self.chain.filters.get(position) else { return Ok(()) };
        self.note_closed(position, phase);
        Err(FilterError::Closed { filter: Arc::clone(&filter.name) })
    }
}

fn phase_of(side: Side) -> Phase {
    match side {
        Side::Request => Phase::RequestHeaders,
        Side::Response => Phase::ResponseHeaders,
    }
}
