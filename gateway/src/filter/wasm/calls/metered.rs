//! Calls, as they are counted.

use std::time::Instant;

use tollgate_proxy_wasm::CallKind;

use super::Outcome;
use crate::telemetry::metrics::{FilterMetrics, Handle, SideCallKind, SideCallOutcome};

/// A call under way. Whoever works on it holds it: dropped without having ended, it was cancelled.
pub(in crate::filter::wasm) struct Metered {
    metrics: Handle<FilterMetrics>,
    kind: SideCallKind,
    begun: Instant,
    outcome: SideCallOutcome,
}

impl Metered {
    /// A call of this filter begins now.
    pub(in crate::filter::wasm) fn begin(metrics: &Handle<FilterMetrics>, kind: CallKind) -> Self {
        let kind = label(kind);
        metrics.guest().side_call_begun(kind);
        let metrics = metrics.clone();
        Self { metrics, kind, begun: Instant::now(), outcome: SideCallOutcome::Cancelled }
    }

    /// It has ended.
    pub(in crate::filter::wasm) fn end(mut self, outcome: Outcome) {
        self.outcome = match outcome {
            Outcome::Answered => SideCallOutcome::Answered,
            Outcome::Connect => SideCallOutcome::Connect,
            Outcome::Reset => SideCallOutcome::Reset,
            Outcome::Timeout => SideCallOutcome::Timeout,
            Outcome::TooLarge => SideCallOutcome::TooLarge,
        };
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.metrics.guest().side_call_ended(self.kind, self.outcome, self.begun.elapsed());
    }
}

/// The name of a kind in metrics.
pub(in crate::filter::wasm) fn label(kind: CallKind) -> SideCallKind {
    match kind {
        CallKind::Http => SideCallKind::Http,
        CallKind::GrpcCall => SideCallKind::Grpc,
        CallKind::GrpcStream => SideCallKind::GrpcStream,
        CallKind::Redis => SideCallKind::Redis,
    }
}
