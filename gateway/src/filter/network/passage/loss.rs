//! Filters that lose their VM, or their right to go on, between two callbacks of a connection.

use std::rc::Rc;

use super::{Passage, Stop, Verdict, data_phase};
use crate::filter::exchange::Side;
use crate::filter::wasm::Context;
use crate::telemetry::Phase;
use crate::telemetry::metrics::FilterFailure;

impl Passage {
    /// A guest whose VM was lost to a neighbour's fault, and that holds nothing back, begins anew in the
    /// new VM; it must let the connection pass at once. One that holds something back fails.
    pub(super) fn rehome(&mut self, position: usize, side: Side) -> Result<(), Stop> {
        if !self.is_orphan(position) {
            return Ok(());
        }
        if self.parts[position].flows.iter().any(|flow| flow.is_paused) {
            return self.fail_lost(position, data_phase(side));
        }
        drop(self.parts[position].context.take());
        match self.begin(position)? {
            Verdict::Continue => Ok(()),
            Verdict::Hold => {
                let filter = Rc::clone(&self.chain.filters[position]);
                let reason = "its VM failed in the middle of the connection".to_owned();
                self.fail(position, &filter, data_phase(side), reason)
            }
        }
    }

    fn is_orphan(&self, position: usize) -> bool {
        self.parts[position].context.as_ref().is_some_and(Context::is_orphaned)
    }

    /// Whether the filter at `position` cannot answer for what it holds back any more: its VM is gone, or
    /// a write of it was refused outside a callback of this connection.
    pub(super) fn is_lost(&self, position: usize) -> bool {
        self.is_orphan(position)
            || self.parts[position].context.is_some() && self.connection.signals.has_refused(position)
    }

    /// The filter at `position` fails if it is lost.
    pub(super) fn fail_lost(&mut self, position: usize, phase: Phase) -> Result<(), Stop> {
        if !self.is_lost(position) {
            return Ok(());
        }
        let filter = Rc::clone(&self.chain.filters[position]);
        let reason = match self.connection.signals.take_refusal(position) {
            Some(refusal) => {
                let reason = refusal.to_string();
                filter.failed(FilterFailure::Host, &reason);
                reason
            }
            None => "its VM failed while the connection waited for it".to_owned(),
        };
        self.fail(position, &filter, phase, reason)
    }
}
