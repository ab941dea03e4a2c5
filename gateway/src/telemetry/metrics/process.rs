//! What is counted of the process: client connections on workers, policy swaps on control.

use std::fmt;
use std::time::Duration;

use super::cells::{Counter, Gauge, Histogram, HistogramSum, SWAP_BOUNDS};
use super::encode::Page;
use super::sharded::Sharded;
use crate::telemetry::logging::lost_lines;

/// Client connections of one worker.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    /// Connections accepted and served.
    pub connections_accepted: Counter,
    /// Connections closed at once because `connections_max` was reached.
    pub connections_refused: Counter,
    /// Connections that ended by an error: bad framing, a time-out, a reset.
    pub connections_failed: Counter,
    /// Connections cut in a request because its policy was too old.
    pub connections_cut: Counter,
    /// Connections open now.
    pub connections_active: Gauge,
    /// Those of them that are parked.
    pub connections_parked: Gauge,
    /// Wasm VMs.
    pub wasm_vms: Gauge,
    /// Their memory.
    pub wasm_memory_bytes: Gauge,
}

/// Policy swaps.
#[derive(Debug)]
pub struct ControlMetrics {
    outcomes: [Counter; SwapOutcome::ALL.len()],
    phases: [Histogram<12>; SwapPhase::ALL.len()],
    /// Workers started in the place of one that panicked.
    pub worker_restarts: Counter,
    /// The number of the generation in force.
    pub generation: Gauge,
    /// 1 while a kept policy serves because the policy's own files cannot.
    pub degraded: Gauge,
    /// 1 while the gateway stands by a policy that it was told to go back to.
    pub pinned: Gauge,
    /// Attempts to write the history of the policy that failed.
    pub history_failures: Counter,
    /// Generations replaced but still serving their last requests.
    pub generations_retiring: Gauge,
}

/// How an attempt to swap the policy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwapOutcome {
    /// The new policy is in force.
    Applied,
    /// It equals the one in force.
    Unchanged,
    /// It was refused; the old one goes on.
    Refused,
}

/// A part of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwapPhase {
    /// Reading and checking the text.
    Parse,
    /// Metering and compiling modules, or fetching them from the cache.
    Compile,
    /// Building the new generation on every worker.
    Prepare,
    /// Pointing every worker to it.
    Commit,
    /// From commit to the end of the old generation's last request.
    Retire,
}

impl SwapOutcome {
    const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

impl SwapPhase {
    const ALL: [Self; 5] = [Self::Parse, Self::Compile, Self::Prepare, Self::Commit, Self::Retire];

    fn as_str(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Compile => "compile",
            Self::Prepare => "prepare",
            Self::Commit => "commit",
            Self::Retire => "retire",
        }
    }
}

impl Default for ControlMetrics {
    fn default() -> Self {
        Self {
            outcomes: Default::default(),
            phases: std::array::from_fn(|_| Histogram::new(&SWAP_BOUNDS)),
            worker_restarts: Counter::default(),
            generation: Gauge::default(),
            degraded: Gauge::default(),
            pinned: Gauge::default(),
            history_failures: Counter::default(),
            generations_retiring: Gauge::default(),
        }
    }
}

impl ControlMetrics {
    /// Counts an attempt.
    pub fn swap(&self, outcome: SwapOutcome) {
        self.outcomes[outcome as usize].inc();
    }

    /// Counts how long a part of an attempt took.
    pub fn phase(&self, phase: SwapPhase, duration: Duration) {
        self.phases[phase as usize].observe(duration);
    }
}

/// Writes the families of workers.
pub(super) fn encode_workers(page: &mut Page<'_>, workers: &Sharded<WorkerMetrics>) -> fmt::Result {
    page.gauges("workers", "Worker threads", |family| family.single(workers.sum(|_| 1)))?;
    page.counters("client_connections", "Client connections, by what became of them at accept", |family| {
        family.add(&[("outcome", "accepted")], workers.sum(|w| w.connections_accepted.get()))?;
        family.add(&[("outcome", "refused")], workers.sum(|w| w.connections_refused.get()))
    })?;
    page.counters("client_connections_failed", "Client connections that ended by an error", |family| {
        family.single(workers.sum(|w| w.connections_failed.get()))
    })?;
    page.counters("client_connections_cut", "Client connections cut under a policy too old", |family| {
        family.single(workers.sum(|w| w.connections_cut.get()))
    })?;
    page.gauges("client_connections_active", "Client connections open", |family| {
        family.single(workers.sum(|w| w.connections_active.get()))
    })?;
    page.gauges(
        "client_connections_parked",
        "Client connections open and idle for more than a second",
        |family| family.single(workers.sum(|w| w.connections_parked.get())),
    )?;
    page.gauges("wasm_vms", "Wasm VMs at work, those of a policy in shadow among them", |family| {
        family.single(workers.sum(|w| w.wasm_vms.get()))
    })?;
    page.gauges("wasm_memory_bytes", "Memory of those VMs", |family| {
        family.single(workers.sum(|w| w.wasm_memory_bytes.get()))
    })
}

/// Writes the families of control.
pub(super) fn encode_control(page: &mut Page<'_>, control: &ControlMetrics) -> fmt::Result {
    page.counters("worker_restarts", "Workers started in the place of one that panicked", |family| {
        family.single(control.worker_restarts.get())
    })?;
    page.gauges("generation", "Number of the policy generation in force", |family| {
        family.single(control.generation.get())
    })?;
    page.gauges("policy_degraded", "1 while a kept policy stands in for the policy's files", |family| {
        family.single(control.degraded.get())
    })?;
    page.gauges(
        "policy_pinned",
        "1 while the policy's files are not followed, until they change",
        |family| family.single(control.pinned.get()),
    )?;
    page.counters(
        "policy_history_failures",
        "Attempts to write the policy's history that failed",
        |family| family.single(control.history_failures.get()),
    )?;
    page.counters("log_lines_lost", "Lines of the log that standard error did not take", |family| {
        family.single(lost_lines())
    })?;
    page.gauges("generations_retiring", "Old generations with requests left", |family| {
        family.single(control.generations_retiring.get())
    })?;
    page.counters("policy_swaps", "Attempts to swap the policy, by outcome", |family| {
        SwapOutcome::ALL.into_iter().try_for_each(|outcome| {
            family.add(&[("outcome", outcome.as_str())], control.outcomes[outcome as usize].get())
        })
    })?;
    page.histograms("policy_swap_phase_seconds", "Time of each phase of a swap", |family| {
        SwapPhase::ALL.into_iter().try_for_each(|phase| {
            let sum = HistogramSum::of(std::iter::once(&control.phases[phase as usize]));
            family.add(&[("phase", phase.as_str())], &sum)
        })
    })
}
