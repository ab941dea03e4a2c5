//! What is counted of each filter.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::cells::{CALL_BOUNDS, Counter, Gauge, Histogram, HistogramSum};
use super::encode::Page;
use super::guest::GuestCells;
use super::sharded::Sharded;
use crate::telemetry::{Phase, Timestamp};

/// Calls of one filter, on one worker.
#[derive(Debug, Default)]
pub struct FilterMetrics {
    phases: [PhaseMetrics; Phase::ALL.len()],
    failures: [Counter; FilterFailure::ALL.len()],
    shadow: [Counter; ShadowVerdict::ALL.len()],
    /// Instances built to replace one that failed.
    pub restarts: Counter,
    /// 1 while the filter's circuit is open on this worker, else 0.
    pub circuit_open: Gauge,
    health: Mutex<FilterHealth>,
    /// Boxed, since only Wasm filters have it.
    guest: OnceLock<Box<GuestCells>>,
}

/// Of so many ends of a filter's part in an exchange one is timed.
const TIMED_END: u64 = 16;

/// How a filter is on one worker.
#[derive(Debug, Clone, Default)]
pub struct FilterHealth {
    /// Whether it runs.
    pub circuit: CircuitHealth,
    /// When an open circuit lets an exchange through again.
    pub retry_at: Option<Timestamp>,
    /// What it failed at last.
    pub last_failure: Option<LastFailure>,
}

/// Whether a filter runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CircuitHealth {
    /// It does.
    #[default]
    Closed,
    /// The next exchange decides.
    HalfOpen,
    /// It does not.
    Open,
}

/// A failure, for people.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LastFailure {
    /// When.
    pub at: Timestamp,
    /// What happened, at most 256 bytes.
    pub reason: Arc<str>,
}

impl LastFailure {
    /// One that happens now; a long reason is cut.
    pub fn now(reason: &str) -> Self {
        const REASON_MAX: usize = 256;
        let end = reason.floor_char_boundary(REASON_MAX);
        Self { at: Timestamp::now(), reason: reason[..end].into() }
    }
}

/// How a filter is on all workers.
#[derive(Debug, Clone, Default)]
pub struct FilterHealthSum {
    /// Workers on which its circuit is open.
    pub open: usize,
    /// Workers on which the next exchange decides.
    pub half_open: usize,
    /// When the first open circuit lets an exchange through again.
    pub retry_at: Option<Timestamp>,
    /// What it failed at last, on any worker.
    pub last_failure: Option<LastFailure>,
    /// Instances built to replace one that failed.
    pub restarts: u64,
}

#[derive(Debug)]
struct PhaseMetrics {
    outcomes: [Counter; FilterOutcome::ALL.len()],
    duration: Histogram<12>,
}

/// How a call of a filter ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterOutcome {
    /// The request goes on.
    Continue,
    /// The request waits for more.
    Pause,
    /// The filter answered in the upstream's place.
    Respond,
    /// The filter denied the request, as a rate limit does.
    Deny,
    /// The filter closed the stream.
    Close,
    /// The filter failed; see [`FilterFailure`].
    Fail,
}

/// Why a filter failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterFailure {
    /// Its code trapped.
    Trap,
    /// It used up its CPU budget.
    Budget,
    /// It says that it failed, as a script does that raised an error.
    Error,
    /// The host could not serve it.
    Host,
    /// Its circuit was open, so it was not called.
    CircuitOpen,
}

/// What a filter in shadow would have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShadowVerdict {
    /// It changed a head, a body, trailers or a property.
    Edit,
    /// It held the exchange back.
    Pause,
    /// It denied the request: its answer was 4xx.
    Deny,
    /// It answered in the upstream's place.
    Respond,
    /// It closed the stream.
    Close,
    /// It failed.
    Fail,
    /// The body was larger than it may be shown, or held back.
    TooLarge,
}

impl ShadowVerdict {
    const ALL: [Self; 7] =
        [Self::Edit, Self::Pause, Self::Deny, Self::Respond, Self::Close, Self::Fail, Self::TooLarge];

    /// As it is written in labels and fields.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Pause => "pause",
            Self::Deny => "deny",
            Self::Respond => "respond",
            Self::Close => "close",
            Self::Fail => "fail",
            Self::TooLarge => "too_large",
        }
    }
}

impl serde::Serialize for ShadowVerdict {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl FilterOutcome {
    const ALL: [Self; 6] = [Self::Continue, Self::Pause, Self::Respond, Self::Deny, Self::Close, Self::Fail];

    fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Pause => "pause",
            Self::Respond => "respond",
            Self::Deny => "deny",
            Self::Close => "close",
            Self::Fail => "fail",
        }
    }
}

impl FilterFailure {
    const ALL: [Self; 5] = [Self::Trap, Self::Budget, Self::Error, Self::Host, Self::CircuitOpen];

    fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Budget => "budget",
            Self::Error => "error",
            Self::Host => "host",
            Self::CircuitOpen => "circuit_open",
        }
    }
}

impl Default for PhaseMetrics {
    fn default() -> Self {
        Self { outcomes: Default::default(), duration: Histogram::new(&CALL_BOUNDS) }
    }
}

impl FilterMetrics {
    /// Counts one call.
    pub fn call(&self, phase: Phase, outcome: FilterOutcome, duration: Duration) {
        let phase = &self.phases[phase as usize];
        phase.outcomes[outcome as usize].inc();
        phase.duration.observe(duration);
    }

    /// Publishes how the filter is. For the sweep.
    pub fn set_health(&self, health: FilterHealth) {
        self.circuit_open.set(i64::from(health.circuit == CircuitHealth::Open));
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// Counts one verdict that takes no effect.
    pub fn shadow(&self, verdict: ShadowVerdict) {
        self.shadow[verdict as usize].inc();
    }

    /// What is counted of a Wasm filter; shown from the first time that this is asked for.
    pub fn guest(&self) -> &GuestCells {
        self.guest.get_or_init(Box::default)
    }

    pub(super) fn guest_if_any(&self) -> Option<&GuestCells> {
        self.guest.get().map(|cells| &**cells)
    }

    /// Whether the next end of a part is to be timed: one in sixteen is, so that requests read no clock
    /// for it.
    pub fn times_next_end(&self) -> bool {
        let ends = self.phases[Phase::Done as usize].outcomes[FilterOutcome::Continue as usize].get();
        ends % TIMED_END == TIMED_END - 1
    }

    /// Counts the end of a part. One that was timed stands for those before it that were not.
    pub fn end(&self, is_well: bool, duration: Option<Duration>) {
        let phase = &self.phases[Phase::Done as usize];
        let outcome = if is_well { FilterOutcome::Continue } else { FilterOutcome::Fail };
        phase.outcomes[outcome as usize].inc();
        if let Some(duration) = duration {
            phase.duration.observe_many(duration, TIMED_END);
        }
    }

    /// Counts one failure.
    pub fn failure(&self, why: FilterFailure) {
        self.failures[why as usize].inc();
    }
}

impl Sharded<FilterMetrics> {
    /// Failures of every kind, on all workers.
    pub fn failures(&self) -> u64 {
        self.sum(|part| part.failures.iter().map(Counter::get).sum::<u64>())
    }

    /// How it is on all workers.
    pub fn health(&self) -> FilterHealthSum {
        let mut sum = FilterHealthSum::default();
        for part in self.parts() {
            // Held for a copy; each worker writes its own twice a second.
            let health = part.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
            sum.open += usize::from(health.circuit == CircuitHealth::Open);
            sum.half_open += usize::from(health.circuit == CircuitHealth::HalfOpen);
            sum.retry_at = [sum.retry_at, health.retry_at].into_iter().flatten().min();
            let failures = [sum.last_failure.take(), health.last_failure].into_iter().flatten();
            sum.last_failure = failures.max_by_key(|failure| failure.at);
            sum.restarts += part.restarts.get();
        }
        sum
    }
}

type Named = (Arc<str>, Arc<Sharded<FilterMetrics>>);

/// Writes the families of filters. A phase, and an outcome in it, appears with its first call;
/// failures appear at once, so that their growth from zero is seen.
pub(super) fn encode(page: &mut Page<'_>, filters: &[Named]) -> fmt::Result {
    page.counters("filter_calls", "Calls of a filter, by phase and outcome", |family| {
        each_phase(filters, |name, phase, all| {
            FilterOutcome::ALL.into_iter().try_for_each(|outcome| {
                match all.sum(|part| part.phases[phase as usize].outcomes[outcome as usize].get()) {
                    0 => Ok(()),
                    count => family.add(
                        &[("filter", name), ("phase", phase.as_str()), ("outcome", outcome.as_str())],
                        count,
                    ),
                }
            })
        })
    })?;
    page.histograms("filter_duration_seconds", "Time in one call of a filter", |family| {
        each_phase(filters, |name, phase, all| {
            let sum = HistogramSum::of(all.parts().map(|part| &part.phases[phase as usize].duration));
            if sum.count == 0 {
                return Ok(());
            }
            family.add(&[("filter", name), ("phase", phase.as_str())], &sum)
        })
    })?;
    encode_shadow(page, filters)?;
    encode_failures(page, filters)
}

fn encode_shadow(page: &mut Page<'_>, filters: &[Named]) -> fmt::Result {
    page.counters("filter_shadow", "What a filter in shadow would have done", |family| {
        for (name, all) in filters {
            for verdict in ShadowVerdict::ALL {
                match all.sum(|part| part.shadow[verdict as usize].get()) {
                    0 => {}
                    count => family.add(&[("filter", name), ("verdict", verdict.as_str())], count)?,
                }
            }
        }
        Ok(())
    })
}

fn encode_failures(page: &mut Page<'_>, filters: &[Named]) -> fmt::Result {
    page.counters("filter_failures", "Failures of a filter, by kind", |family| {
        for (name, all) in filters {
            for why in FilterFailure::ALL {
                let count = all.sum(|part| part.failures[why as usize].get());
                family.add(&[("filter", name), ("kind", why.as_str())], count)?;
            }
        }
        Ok(())
    })?;
    page.counters("filter_restarts", "Instances built to replace one that failed", |family| {
        filters
            .iter()
            .try_for_each(|(name, all)| family.add(&[("filter", name)], all.sum(|part| part.restarts.get())))
    })?;
    page.gauges("filter_circuits_open", "Workers on which the filter's circuit is open", |family| {
        filters.iter().try_for_each(|(name, all)| {
            family.add(&[("filter", name)], all.sum(|part| part.circuit_open.get()))
        })
    })
}

fn each_phase(
    filters: &[Named],
    mut write: impl FnMut(&str, Phase, &Sharded<FilterMetrics>) -> fmt::Result,
) -> fmt::Result {
    for (name, all) in filters {
        for phase in Phase::ALL {
            write(name, phase, all)?;
        }
    }
    Ok(())
}
