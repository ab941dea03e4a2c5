//! What one callback came to: reading, counting and recording it.

use std::sync::Arc;
use std::time::Instant;

use tollgate_proxy_wasm::{Action, Failure};

use super::{Ended, FilterError, Part, Run, Verdict};
use crate::filter::chain::FilterInstance;
use crate::filter::exchange::Side;
use crate::filter::wasm::{BeginError, Context};
use crate::policy::fault::OnFailure;
use crate::telemetry::Phase;
use crate::telemetry::metrics::{FilterFailure, FilterOutcome};

impl Run {
    /// Reads a guest's result together with what it asked for in the callback.
    pub(super) fn judge(
        &self,
        position: usize,
        filter: &FilterInstance,
        phase: Phase,
        context: &Context,
        result: Result<Action, Failure>,
    ) -> Result<Verdict, String> {
        let signals = &self.exchange.signals;
        let fault = signals.take_fault().filter(|(by, _)| *by == position);
        let action = match result {
            Ok(action) => action,
            Err(failure) => {
                let reason = failure.to_string();
                filter.failed(kind_of(&failure), &reason);
                return Err(reason);
            }
        };
        if let Some((_, fault)) = fault {
            context.spoil();
            let reason = fault.to_string();
            filter.failed(fault.kind(), &reason);
            return Err(reason);
        }
        if let Some((by, reply)) = self.take_reply() {
            self.note(by, phase, &reply.reason);
            return Ok(Verdict::Replied(Box::new(reply)));
        }
        if let Some(by) = signals.closed_by() {
            self.note_closed(by, phase);
        }
        Ok(match action {
            Action::Continue => Verdict::Continue,
            // It resumed the stream in the very callback that pauses it.
            Action::Pause(_) if signals.take_resumed(position, side_of(phase)) => Verdict::Continue,
            Action::Pause(kind) => Verdict::Pause(kind),
        })
    }

    /// Counts a headers callback and applies `on_failure`.
    pub(super) fn conclude(
        &self,
        position: usize,
        filter: &FilterInstance,
        phase: Phase,
        verdict: Result<Verdict, String>,
        started: Instant,
    ) -> Result<Verdict, FilterError> {
        self.count(filter, phase, &verdict, started);
        match verdict {
            Ok(verdict) => {
                if let Verdict::Replied(reply) = &verdict {
                    self.note(position, phase, &reply.reason);
                }
                Ok(verdict)
            }
            Err(reason) => self.fail(position, filter, phase, reason).map(|()| Verdict::Continue),
        }
    }

    pub(super) fn count(
        &self,
        filter: &FilterInstance,
        phase: Phase,
        verdict: &Result<Verdict, String>,
        started: Instant,
    ) {
        let outcome = match verdict {
            Ok(Verdict::Continue | Verdict::Pause(_)) if self.exchange.signals.closed_by().is_some() => {
                FilterOutcome::Close
            }
            Ok(Verdict::Continue) => FilterOutcome::Continue,
            Ok(Verdict::Pause(_)) => FilterOutcome::Pause,
            Ok(Verdict::Replied(reply)) if reply.status.is_client_error() => FilterOutcome::Deny,
            Ok(Verdict::Replied(_)) => FilterOutcome::Respond,
            Err(_) => FilterOutcome::Fail,
        };
        filter.metrics.call(phase, outcome, started.elapsed());
    }

    /// A filter failed: it takes no part any more, and the exchange goes on or ends by its policy.
    pub(super) fn fail(
        &self,
        position: usize,
        filter: &FilterInstance,
        phase: Phase,
        reason: String,
    ) -> Result<(), FilterError> {
        self.exchange.course.has_trapped.set(true);
        self.taped(position, |tape| tape.failed(&reason));
        let part =
            self.parts.borrow_mut().get_mut(position).map(|part| std::mem::replace(part, Part::Absent));
        drop(part);
        match filter.on_failure {
            // One in shadow does not get here.
            OnFailure::Open | OnFailure::Shadow => {
                tracing::debug!(filter = &*filter.name, reason, "a filter failed open");
                Ok(())
            }
            OnFailure::Closed => {
                self.note(position, phase, &reason);
                Err(FilterError::Failed { filter: Arc::clone(&filter.name), reason })
            }
        }
    }

    /// A guest failed when the exchange was over: nothing comes of it but that it is counted and logged.
    pub(super) fn failed_at_end(&self, position: usize, failure: &Failure) {
        let Some(filter) = self.chain.filters.get(position) else { return };
        self.exchange.course.has_trapped.set(true);
        filter.metrics.failure(kind_of(failure));
        if filter.on_failure == OnFailure::Closed {
            self.note(position, Phase::Done, &failure.to_string());
        }
    }

    /// A filter reset the stream.
    pub(super) fn note_closed(&self, position: usize, phase: Phase) {
        self.note(position, phase, "closed the stream");
    }

    /// The first filter that ended the exchange stays on record.
    pub(in crate::filter) fn note(&self, position: usize, phase: Phase, reason: &str) {
        let Some(filter) = self.chain.filters.get(position) else { return };
        self.exchange.course.ended.borrow_mut().get_or_insert_with(|| Ended {
            filter: Arc::clone(&filter.name),
            phase,
            reason: reason.to_owned(),
        });
    }
}

pub(in crate::filter) fn kind_of(failure: &Failure) -> FilterFailure {
    match failure {
        Failure::Budget { .. } => FilterFailure::Budget,
        Failure::Trap { .. } => FilterFailure::Trap,
        Failure::Broken | Failure::UnknownContext | Failure::Reentered => FilterFailure::Host,
    }
}

pub(in crate::filter) fn kind_of_refusal(error: &BeginError) -> FilterFailure {
    match error {
        BeginError::CircuitOpen => FilterFailure::CircuitOpen,
        BeginError::Start(_) => FilterFailure::Host,
        BeginError::Failed(failure) => kind_of(failure),
    }
}

pub(super) fn side_of(phase: Phase) -> Side {
    match phase {
        Phase::RequestHeaders | Phase::RequestBody | Phase::RequestTrailers => Side::Request,
        Phase::ResponseHeaders
        | Phase::ResponseBody
        | Phase::ResponseTrailers
        | Phase::NewConnection
        | Phase::DownstreamData
        | Phase::UpstreamData
        | Phase::DownstreamClose
        | Phase::UpstreamClose
        | Phase::Done
        | Phase::Tick
        | Phase::QueueReady
        | Phase::CallResponse
        | Phase::Background => Side::Response,
    }
}
