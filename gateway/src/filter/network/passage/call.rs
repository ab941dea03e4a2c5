//! One callback of a guest: calling it, reading what came of it, and what follows from a failure.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tollgate_proxy_wasm::{Action, Failure, PeerType};

use super::{Passage, Stop, Verdict};
use crate::filter::chain::FilterInstance;
use crate::filter::exchange::Side;
use crate::filter::run::{Ended, kind_of};
use crate::policy::fault::OnFailure;
use crate::telemetry::Phase;
use crate::telemetry::metrics::{FilterFailure, FilterOutcome};

impl Passage {
    /// Calls the guest at `position` and reads what came of it.
    pub(super) fn call(
        &mut self,
        position: usize,
        side: Side,
        phase: Phase,
        size: usize,
        end_of_stream: bool,
    ) -> Result<Verdict, Stop> {
        let Some(context) = &self.parts[position].context else { return Ok(Verdict::Continue) };
        let filter = Rc::clone(&self.chain.filters[position]);
        let started = Instant::now();
        let result = context.call(phase, size, end_of_stream);
        match self.judge(position, side, &filter, result) {
            Ok(verdict) => {
                let closed = self.check_closed(phase);
                let outcome = match (&verdict, &closed) {
                    (_, Err(_)) => FilterOutcome::Close,
                    (Verdict::Continue, Ok(())) => FilterOutcome::Continue,
                    (Verdict::Hold, Ok(())) => FilterOutcome::Pause,
                };
                count(&filter, phase, outcome, started);
                closed.map(|()| verdict)
            }
            Err(reason) => {
                count(&filter, phase, FilterOutcome::Fail, started);
                self.fail(position, &filter, phase, reason).map(|()| Verdict::Continue)
            }
        }
    }

    /// Reads a guest's result together with what it asked for in the callback.
    pub(super) fn judge(
        &self,
        position: usize,
        side: Side,
        filter: &FilterInstance,
        result: Result<Action, Failure>,
    ) -> Result<Verdict, String> {
        let signals = &self.connection.signals;
        let refusal = signals.take_refusal(position);
        let action = result.map_err(|failure| {
            let reason = failure.to_string();
            filter.failed(kind_of(&failure), &reason);
            reason
        })?;
        if let Some(refusal) = refusal {
            let reason = refusal.to_string();
            filter.failed(FilterFailure::Host, &reason);
            return Err(reason);
        }
        Ok(match action {
            Action::Continue => Verdict::Continue,
            // It resumed the stream in the very callback that pauses it.
            Action::Pause(_) if signals.take_resumed(position, side) => Verdict::Continue,
            Action::Pause(_) => Verdict::Hold,
        })
    }

    pub(super) fn tell_closed(&mut self, position: usize, phase: Phase, peer: PeerType) {
        let Some(context) = &self.parts[position].context else { return };
        if context.is_orphaned() || !context.handles_close(phase) {
            return;
        }
        let filter = Rc::clone(&self.chain.filters[position]);
        let started = Instant::now();
        let result = context.call_close(phase, peer);
        match self.judge(position, Side::Request, &filter, result.map(|()| Action::Continue)) {
            Ok(_) => count(&filter, phase, FilterOutcome::Continue, started),
            Err(reason) => {
                tracing::debug!(filter = &*filter.name, reason, "a filter failed at the end of a connection");
                count(&filter, phase, FilterOutcome::Fail, started);
                self.failed_at_end(position, phase, &reason);
                self.parts[position].context = None;
            }
        }
    }

    /// Ends the part of the filter at `position`.
    pub(super) fn end(&mut self, position: usize) {
        let Some(context) = self.parts[position].context.take() else { return };
        if let Err(failure) = self.chain.filters[position].end(&context) {
            // Its reason was kept already.
            self.chain.filters[position].metrics.failure(kind_of(&failure));
            self.failed_at_end(position, Phase::Done, &failure.to_string());
        }
    }

    /// A guest failed when the connection was over: nothing comes of it but that it is logged.
    fn failed_at_end(&mut self, position: usize, phase: Phase, reason: &str) {
        if self.chain.filters[position].on_failure == OnFailure::Closed {
            self.note(position, phase, reason);
        }
    }

    /// A filter failed: it takes no part any more, and the connection goes on, with what it held back, or
    /// ends, by its policy.
    pub(super) fn fail(
        &mut self,
        position: usize,
        filter: &FilterInstance,
        phase: Phase,
        reason: String,
    ) -> Result<(), Stop> {
        drop(self.parts[position].context.take());
        // What it holds back in the other direction is let go when this task looks again.
        self.connection.signals.wake();
        match filter.on_failure {
            // `policy` keeps filters in shadow from TCP.
            OnFailure::Open | OnFailure::Shadow => {
                tracing::debug!(filter = &*filter.name, reason, "a filter failed open");
                Ok(())
            }
            OnFailure::Closed => {
                self.note(position, phase, &reason);
                Err(Stop::Failed { filter: Arc::clone(&filter.name) })
            }
        }
    }

    /// An error if a filter closed the connection.
    pub(super) fn check_closed(&mut self, phase: Phase) -> Result<(), Stop> {
        let Some(closed) = self.connection.signals.closed() else { return Ok(()) };
        let Some(filter) = self.chain.filters.get(closed.position) else { return Ok(()) };
        let filter = Arc::clone(&filter.name);
        self.note(closed.position, phase, &closed.reason);
        Err(Stop::Closed { filter })
    }

    /// The first filter that ended the connection stays on record.
    pub(super) fn note(&mut self, position: usize, phase: Phase, reason: &str) {
        let Some(filter) = self.chain.filters.get(position) else { return };
        let filter = Arc::clone(&filter.name);
        self.ended.get_or_insert_with(|| Ended { filter, phase, reason: reason.to_owned() });
    }
}

pub(super) fn count(filter: &FilterInstance, phase: Phase, outcome: FilterOutcome, started: Instant) {
    filter.metrics.call(phase, outcome, started.elapsed());
}
