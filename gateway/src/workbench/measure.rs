//! What phases cost.

use std::time::{Duration, Instant};

use super::stage::Stage;
use crate::telemetry::Phase;

/// Takes the time and fuel of phases. A meter that is off takes nothing.
#[derive(Debug, Default)]
pub struct Meter {
    is_on: bool,
    begun: Option<(Instant, u64)>,
    samples: Vec<Sample>,
}

/// One phase of one exchange.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Which.
    pub phase: Phase,
    /// On the wall; nothing else runs on the thread.
    pub time: Duration,
    /// Fuel, about one unit a WebAssembly instruction.
    pub fuel: u64,
}

impl Meter {
    /// A meter that takes nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// A meter that is on.
    pub fn on() -> Self {
        Self { is_on: true, ..Self::default() }
    }

    /// What was taken, which is forgotten.
    pub fn take(&mut self) -> Vec<Sample> {
        std::mem::take(&mut self.samples)
    }

    /// A phase begins. Fuel is read outside the time taken.
    pub(super) fn begin(&mut self, stage: &Stage) {
        if self.is_on {
            let fuel = stage.fuel_used();
            self.begun = Some((Instant::now(), fuel));
        }
    }

    /// It ends.
    pub(super) fn end(&mut self, stage: &Stage, phase: Phase) {
        if let Some((begun, before)) = self.begun.take() {
            let time = begun.elapsed();
            let fuel = stage.fuel_used().saturating_sub(before);
            self.samples.push(Sample { phase, time, fuel });
        }
    }

    pub(super) fn time(&mut self, stage: &Stage, phase: Phase, work: impl FnOnce()) {
        self.begin(stage);
        work();
        self.end(stage, phase);
    }
}
