//! The filters of one route on one worker.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tollgate_proxy_wasm::Failure;

use super::run::Shadows;
use super::wasm::{Context, Plugin};
use crate::limit::Limiter;
use crate::policy::fault::OnFailure;
use crate::policy::filter::HeaderEdits;
use crate::telemetry::metrics::{FilterFailure, FilterMetrics, Handle};

/// Filters in one chain; `policy` refuses longer ones.
pub const FILTERS_MAX: usize = 64;

/// A filter on one worker.
pub struct FilterInstance {
    /// Its name in the policy.
    pub name: Arc<str>,
    /// What it does.
    pub kind: Kind,
    /// What becomes of an exchange when it fails.
    pub on_failure: OnFailure,
    /// Where its calls are counted.
    pub metrics: Handle<FilterMetrics>,
    /// Those of its exchanges that it has not decided on, if it is in shadow.
    pub shadows: Shadows,
}

impl FilterInstance {
    /// Counts a failure and keeps its reason for the status.
    pub(super) fn failed(&self, why: FilterFailure, reason: &str) {
        self.metrics.failure(why);
        if let (Kind::Wasm(plugin), true) = (&self.kind, why != FilterFailure::CircuitOpen) {
            plugin.note_failure(reason);
        }
    }

    /// Ends its part in an exchange, and counts that.
    pub(super) fn end(&self, context: &Context) -> Result<(), Failure> {
        let started = self.metrics.times_next_end().then(Instant::now);
        let ended = context.end();
        self.metrics.end(ended.is_ok(), started.map(|started| started.elapsed()));
        ended
    }

    /// Looks through the exchanges that it may still decide on. For the sweep.
    pub fn sweep_shadows(&self) {
        if let Some(plugin) = self.in_shadow() {
            self.shadows.sweep(self, plugin.definition().calls.timeout);
        }
    }

    /// The guest, if nothing it says is to take effect.
    pub(super) fn in_shadow(&self) -> Option<&Rc<Plugin>> {
        match (&self.kind, self.on_failure) {
            (Kind::Wasm(plugin), OnFailure::Shadow) => Some(plugin),
            _ => None,
        }
    }

    /// The guest and where it is counted, if it is one.
    pub fn guest(&self) -> Option<(&Rc<Plugin>, &Handle<FilterMetrics>)> {
        match &self.kind {
            Kind::Wasm(plugin) => Some((plugin, &self.metrics)),
            Kind::RateLimit(_) | Kind::Headers(_) => None,
        }
    }
}

/// The closed set of filters.
pub enum Kind {
    /// A token bucket, shared by all workers.
    RateLimit(Arc<Limiter>),
    /// Header edits.
    Headers(Arc<HeaderEdits>),
    /// A guest.
    Wasm(Rc<Plugin>),
}

/// The filters of a route, in the order of the request.
#[derive(Default)]
pub struct Chain {
    /// At most [`FILTERS_MAX`].
    pub filters: Vec<Rc<FilterInstance>>,
    /// Whether any of them is a guest, which may read heads after they were sent.
    pub has_guests: bool,
}

impl Chain {
    /// A chain of these filters.
    pub fn new(filters: Vec<Rc<FilterInstance>>) -> Self {
        let has_guests = filters.iter().any(|filter| matches!(filter.kind, Kind::Wasm(_)));
        Self { filters, has_guests }
    }
}
