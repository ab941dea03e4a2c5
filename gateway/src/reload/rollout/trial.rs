//! A rollout that is under way: where it stands, and what comes next.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::judge::{Departure, Enough, judge};
use crate::admin::{Phases, RolloutStatus, Served, Trigger};
use crate::generation::{Blueprint, Trial};
use crate::policy::KeptFile;
use crate::policy::rollout::{Rollout, Share, Step};
use crate::telemetry::Timestamp;
use crate::telemetry::metrics::{RolloutMetrics, RolloutSide, Tally};

/// A policy on trial.
pub(in crate::reload) struct Running {
    pub(in crate::reload) blueprint: Arc<Blueprint>,
    pub(in crate::reload) trial: Arc<Trial>,
    /// What it was read from, for the history.
    pub(super) files: Arc<[KeptFile]>,
    pub(super) plan: Rollout,
    pub(super) trigger: Trigger,
    pub(super) phases: Phases,
    base: u64,
    begun: Timestamp,
    step: usize,
    step_begun: (Instant, Timestamp),
    /// What both had served when the step began.
    before: Both,
    /// What was added to the metrics.
    shown: Both,
    /// Why it serves nothing more.
    departed: OnceLock<Departure>,
}

#[derive(Clone, Default)]
struct Both {
    base: Tally,
    candidate: Tally,
}

/// What is to become of a rollout now.
pub(super) enum Next {
    /// It stays as it is.
    Stay,
    /// It goes on to the next step.
    Step,
    /// It has gone well to the end.
    Promote,
    /// It goes badly.
    TakeBack(Departure),
}

impl Running {
    /// A rollout that begins now with its first step.
    pub(super) fn begin(
        blueprint: Arc<Blueprint>,
        files: Arc<[KeptFile]>,
        plan: Rollout,
        trial: Arc<Trial>,
        base: u64,
        (trigger, phases): (Trigger, Phases),
    ) -> Self {
        let now = (Instant::now(), Timestamp::now());
        let (before, shown) = (Both::default(), Both::default());
        let begun = now.1;
        let running = Self {
            blueprint,
            trial,
            files,
            plan,
            trigger,
            phases,
            base,
            begun,
            step: 0,
            step_begun: now,
            before,
            shown,
            departed: OnceLock::new(),
        };
        running.trial.set_share(running.share());
        running
    }

    /// How much the candidate serves in this step.
    pub(super) fn share(&self) -> Share {
        self.step_now().map_or(Share::NONE, |step| step.share)
    }

    fn step_now(&self) -> Option<&Step> {
        self.plan.steps.get(self.step)
    }

    /// Looks at what both have served, and decides.
    pub(super) fn look(&self, now: Instant) -> Next {
        if let Some(departure) = self.departed.get() {
            return Next::TakeBack(departure.clone());
        }
        if self.trial.is_over() {
            // Somebody has ended it: the order is on its way.
            return Next::Stay;
        }
        let all = self.served();
        let candidate = all.candidate.since(&self.before.candidate);
        let since_step = all.base.since(&self.before.base);
        let enough = Enough::of(self.plan.minimum_requests.get());
        let base = if enough.is_there(&since_step) { since_step } else { all.base };
        if let Some(departure) = judge(&base, &candidate, &self.plan.margins, enough) {
            return Next::TakeBack(departure);
        }
        let Some(step) = self.step_now() else { return Next::Promote };
        let is_over = now.saturating_duration_since(self.step_begun.0) >= step.time
            && candidate.requests >= u64::from(self.plan.minimum_requests.get())
            && enough.is_there(&base);
        match is_over {
            false => Next::Stay,
            true if self.step + 1 < self.plan.steps.len() => Next::Step,
            true => Next::Promote,
        }
    }

    /// Ends its share at once, if it goes badly; what else follows from that is done by who looks next.
    pub(super) fn stop_if_it_goes_badly(&self, now: Instant) {
        if let Next::TakeBack(departure) = self.look(now) {
            self.trial.end();
            self.departed.get_or_init(|| departure);
        }
    }

    /// Goes on to the next step.
    pub(super) fn next_step(&mut self) {
        self.step += 1;
        self.restart_step();
    }

    /// Counts anew in this step.
    pub(super) fn restart_step(&mut self) {
        self.before = self.served();
        self.step_begun = (Instant::now(), Timestamp::now());
        self.trial.set_share(self.share());
    }

    fn served(&self) -> Both {
        Both {
            base: self.trial.tally(RolloutSide::Base),
            candidate: self.trial.tally(RolloutSide::Candidate),
        }
    }

    /// Adds what has come to the metrics.
    pub(super) fn publish(&mut self, metrics: &RolloutMetrics) {
        let now = self.served();
        metrics.add(RolloutSide::Base, &now.base.since(&self.shown.base));
        metrics.add(RolloutSide::Candidate, &now.candidate.since(&self.shown.candidate));
        self.shown = now;
    }

    pub(super) fn status(&self) -> RolloutStatus {
        let all = self.served();
        RolloutStatus {
            generation: self.blueprint.number,
            base: self.base,
            digest: crate::reload::attempt::hexadecimal(&self.blueprint.digest),
            trigger: self.trigger,
            begun: self.begun,
            step: self.step + 1,
            steps: self.plan.steps.len(),
            share_percent: percent(self.share()),
            step_begun: self.step_begun.1,
            step_seconds: self.step_now().map_or(0.0, |step| step.time.as_secs_f64()),
            minimum_requests: self.plan.minimum_requests.get(),
            candidate_served: served(&all.candidate.since(&self.before.candidate)),
            base_served: served(&all.base.since(&self.before.base)),
        }
    }
}

/// As it is shown.
pub(super) fn percent(share: Share) -> f64 {
    f64::from(share.hundredths()) / 100.0
}

fn served(tally: &Tally) -> Served {
    Served {
        requests: tally.requests,
        errors: tally.failed,
        denials: tally.denied,
        traps: tally.trapped,
        latency_p95_ms: tally.durations.percentile(95).as_micros() as f64 / 1000.0,
    }
}
