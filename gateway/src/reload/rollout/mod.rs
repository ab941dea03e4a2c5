//! Policies that come into force in steps, and are taken back when they go badly.
//!
//! A policy with `rollout` that the running gateway reads is prepared as any other. Then it is on trial
//! beside the one in force, on all workers ([`Reloader::begin_rollout`]), and serves its first share. Twenty
//! times a second its requests are compared with those of the other (`judge`): it goes on to the next
//! step, is put in force whole after the last, or is taken back (`trial`).
//!
//! An attempt to reload may take minutes (it compiles), and the trial goes on beside it: one that goes badly
//! meanwhile serves nothing more at once, and is taken back when the attempt is through ([`Reloader::meanwhile`]).
//!
//! What comes in between:
//! * another policy: with `rollout` it takes the place of the one on trial and begins with its first step,
//!   without it is put in force whole; the policy in force, once more: the trial ends. One that is refused
//!   changes nothing.
//! * faster code: the candidate takes it and begins its step anew; the policy in force gets it when the trial
//!   has ended;
//! * a worker that panics: the one in its place has both policies;
//! * a rollback: it is put in force whole, and the trial ends;
//! * the end of the process: the trial ends with it. At the next start the gateway stands by the policy that
//!   was in force, if that was kept on disk; else it puts what the files say in force whole.
//!
//! A policy that is on trial, was taken back, or whose trial somebody ended, is known by its digest, as the pin
//! of a rollback: as long as the files say just that, it is not put on trial again, but by a reload that is
//! asked for.
//!
//! Limits: one trial at a time; [`NOTES_MAX`] events are kept.

mod judge;
#[cfg(test)]
mod tests;
mod trial;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

pub(super) use self::trial::Running;
use self::trial::{Next, percent};
use super::attempt::hexadecimal;
use super::rejected::Rejected;
use super::{Reloader, count_phases, every, optimise};
use crate::admin::{NotSteered, Phases, ReloadOutcome, RolloutNote, RolloutOrder, Trigger};
use crate::generation::{Blueprint, Modules, Trial};
use crate::history::{EventKind, Pin, PinReason};
use crate::policy::rollout::{Rollout, Share};
use crate::policy::{Diagnostics, KeptFile, Loaded, Places};
use crate::telemetry::Timestamp;
use crate::telemetry::metrics::{RolloutEvent, SwapPhase};
use crate::worker::Beside;

/// How often a trial is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Events kept for the admin API.
const NOTES_MAX: usize = 64;

/// What is known of rollouts.
#[derive(Default)]
pub(super) struct Rollouts {
    pub(super) running: Option<Running>,
    /// The highest number that a generation on trial had.
    pub(super) highest: u64,
    /// Whether the policy in force could have faster code.
    missed_faster_code: bool,
    notes: VecDeque<RolloutNote>,
    last: Option<RolloutNote>,
}

impl Reloader {
    /// Whether the policy is the one on trial.
    pub(super) fn is_on_trial(&self, loaded: &Loaded) -> bool {
        self.rollouts.running.as_ref().is_some_and(|running| running.blueprint.digest == loaded.digest)
    }

    /// Puts a policy that every worker has prepared on trial.
    pub(super) async fn begin_rollout(
        &mut self,
        blueprint: Arc<Blueprint>,
        files: Arc<[KeptFile]>,
        plan: Rollout,
        trigger: Trigger,
        phases: Phases,
    ) -> ReloadOutcome {
        if self.rollouts.running.is_some() {
            let reason = format!("generation {} came", blueprint.number);
            self.end_rollout(RolloutEvent::Replaced, Some(reason)).await;
        }
        let trial = Arc::new(Trial::new(plan.key.clone(), blueprint.digest, self.workers.count()));
        let base = self.current.as_ref().map_or(0, |current| current.number);
        self.show_new_limiters(&blueprint);
        self.workers.try_out(blueprint.number, &trial).await;
        self.rollouts.highest = blueprint.number;
        let outcome = ReloadOutcome::OnTrial { generation: blueprint.number, base, phases };
        self.rollouts.running = Some(Running::begin(blueprint, files, plan, trial, base, (trigger, phases)));
        self.stand_by_base(PinReason::Trial);
        self.look_for_slow_modules();
        self.note(RolloutEvent::Begun, None);
        self.handle.unchanged();
        count_phases(&phases, &self.shared);
        outcome
    }

    /// As long as the policy's files say what is on trial, or was taken back, the gateway stands by the policy
    /// in force: after a restart too.
    fn stand_by_base(&self, reason: PinReason) {
        let (Some(current), Some(running)) = (&self.current, &self.rollouts.running) else { return };
        let to = current.number;
        let pin = Pin { to, files: Some(hexadecimal(&running.blueprint.digest)), reason };
        self.shared.metrics.control().pinned.set(i64::from(pin.holds()));
        self.history.stand_by(pin);
    }

    /// Looks at the trial and does what is to be done.
    pub(super) async fn look_after_rollout(&mut self) {
        let metrics = Arc::clone(&self.shared.metrics);
        let Some(running) = &mut self.rollouts.running else { return };
        running.publish(metrics.rollouts());
        match running.look(Instant::now()) {
            Next::Stay => self.show_rollout(),
            Next::Step => {
                running.next_step();
                self.note(RolloutEvent::Stepped, None);
            }
            Next::Promote => self.promote(None).await,
            Next::TakeBack(departure) => {
                self.end_rollout(RolloutEvent::TakenBack, Some(departure.to_string())).await;
            }
        }
        self.catch_up_with_faster_code().await;
    }

    /// Waits for what blocks elsewhere; a trial that goes badly meanwhile serves nothing more.
    ///
    /// # Errors
    /// If the work panicked.
    pub(super) async fn meanwhile<T>(&self, mut work: JoinHandle<T>) -> Result<T, Rejected> {
        let mut looks = every(LOOK_EVERY);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done?),
                _ = looks.tick(), if self.rollouts.running.is_some() => {
                    if let Some(running) = &self.rollouts.running {
                        running.stop_if_it_goes_badly(Instant::now());
                    }
                }
            }
        }
    }

    /// Does what somebody asks for.
    pub(super) async fn steer_rollout(&mut self, order: RolloutOrder) -> Result<(), NotSteered> {
        if self.rollouts.running.is_none() {
            return Err(NotSteered::NoRollout);
        }
        let reason = Some("asked for".to_owned());
        match order {
            RolloutOrder::Promote => self.promote(reason).await,
            RolloutOrder::Abort => self.end_rollout(RolloutEvent::Aborted, reason).await,
        }
        self.catch_up_with_faster_code().await;
        Ok(())
    }

    /// Puts the policy on trial in force whole.
    async fn promote(&mut self, reason: Option<String>) {
        let Some(running) = &self.rollouts.running else { return };
        let (blueprint, trigger) = (Arc::clone(&running.blueprint), running.trigger);
        let files = Arc::clone(&running.files);
        let commit = self.workers.promote(blueprint.number).await.took;
        let phases = Phases { commit: Some(commit), ..running.phases };
        self.note(RolloutEvent::Promoted, reason);
        self.forget_running();
        self.shared.metrics.control().phase(SwapPhase::Commit, commit);
        let digest = hexadecimal(&blueprint.digest);
        let generation = self.committed(blueprint, trigger, phases);
        self.history.unpin();
        self.keep(generation, digest, files, trigger);
        self.tell_applied(generation, trigger, &phases);
        self.show_rollout();
    }

    /// Ends the trial; the policy in force serves everything. Does nothing if there is none.
    pub(super) async fn end_rollout(&mut self, event: RolloutEvent, reason: Option<String>) {
        let Some(running) = &self.rollouts.running else { return };
        let blueprint = Arc::clone(&running.blueprint);
        // Takes effect at once, however busy a worker is.
        running.trial.set_share(Share::NONE);
        self.workers.withdraw(blueprint.number).await;
        match event {
            RolloutEvent::Replaced => self.history.unpin(),
            _ => self.stand_by_base(PinReason::TakenBack),
        }
        self.note(event, reason);
        self.forget_running();
        self.retire(blueprint);
        self.handle.set_retiring(self.retiring.len());
        self.look_for_slow_modules();
        self.show_rollout();
    }

    /// Its last figures go to the metrics.
    fn forget_running(&mut self) {
        if let Some(mut running) = self.rollouts.running.take() {
            running.publish(self.shared.metrics.rollouts());
        }
        self.shared.metrics.rollouts().set_share(0);
    }

    /// Faster code is there: the candidate takes it, the policy in force waits for the trial's end.
    pub(super) async fn take_faster_code_on_trial(&mut self) {
        self.rollouts.missed_faster_code = true;
        if let Err(rejected) = self.recompile_candidate().await {
            // It serves on with the code that it has.
            tracing::warn!(reason = %rejected, "a policy on trial did not take faster code");
        }
    }

    async fn recompile_candidate(&mut self) -> Result<(), Rejected> {
        let Some(running) = &self.rollouts.running else { return Ok(()) };
        let (old, trial) = (Arc::clone(&running.blueprint), Arc::clone(&running.trial));
        let same = Loaded {
            policy: old.policy.clone(),
            warnings: Diagnostics::default(),
            places: Places::default(),
            digest: old.digest,
            files: Arc::default(),
        };
        let (loaded, modules) = self.compile(same, &mut Phases::default()).await?;
        if !has_other_code(&old.modules, &modules) {
            return Ok(());
        }
        let (loaded, modules) = self.try_start(loaded, modules).await?;
        let blueprint = self.blueprint(loaded, modules, Some(Arc::clone(&old))).await?;
        self.workers.prepare(&blueprint, Beside::Candidate).await?;
        self.workers.try_out(blueprint.number, &trial).await;
        self.rollouts.highest = blueprint.number;
        if let Some(running) = &mut self.rollouts.running {
            running.blueprint = blueprint;
            running.restart_step();
        }
        self.retire(old);
        self.handle.set_retiring(self.retiring.len());
        self.look_for_slow_modules();
        tracing::info!("a policy on trial has faster code; its step begins anew");
        self.show_rollout();
        Ok(())
    }

    /// After a trial the policy in force gets the faster code that came meanwhile.
    async fn catch_up_with_faster_code(&mut self) {
        if self.rollouts.running.is_none() && std::mem::take(&mut self.rollouts.missed_faster_code) {
            self.take_faster_code().await;
        }
    }

    /// Whatever was committed just now has the best code there is.
    pub(super) fn has_best_code(&mut self) {
        self.rollouts.missed_faster_code = false;
    }

    /// Has the modules compiled harder that serve at O0 now, on trial or in force.
    pub(super) fn look_for_slow_modules(&self) {
        let candidate = self.rollouts.running.as_ref().map(|running| &running.blueprint);
        let blueprints = self.current.iter().chain(candidate);
        let slow = blueprints.flat_map(|it| optimise::slow_modules(&it.policy, &it.modules)).collect();
        self.slow_modules.send_replace(slow);
    }

    /// Limiters that the policy in force does not have by name; the others are shown when it goes.
    fn show_new_limiters(&self, blueprint: &Blueprint) {
        let is_new = |name: &str| self.current.as_ref().is_none_or(|it| it.limiters.get(name).is_none());
        for limiter in blueprint.limiters.iter().filter(|limiter| is_new(limiter.name())) {
            self.shared.metrics.limiter(limiter);
        }
    }

    /// Tells what has happened: log, metrics, `/policy/rollout`.
    fn note(&mut self, event: RolloutEvent, reason: Option<String>) {
        let Some(running) = &self.rollouts.running else { return };
        let (generation, share) = (running.blueprint.number, running.share());
        log(event, generation, &share.to_string(), reason.as_deref());
        self.history.record(EventKind::Rollout {
            generation,
            digest: hexadecimal(&running.blueprint.digest),
            step: event.as_str().to_owned(),
            detail: told(share, reason.as_deref()),
        });
        let metrics = self.shared.metrics.rollouts();
        metrics.event(event);
        metrics.set_share(share.hundredths());
        let share_percent = percent(share);
        let note =
            RolloutNote { at: Timestamp::now(), event: event.as_str(), generation, share_percent, reason };
        if !matches!(event, RolloutEvent::Begun | RolloutEvent::Stepped) {
            self.rollouts.last = Some(note.clone());
        }
        if self.rollouts.notes.len() == NOTES_MAX {
            self.rollouts.notes.pop_front();
        }
        self.rollouts.notes.push_back(note);
        self.show_rollout();
    }

    fn show_rollout(&self) {
        let running = self.rollouts.running.as_ref();
        let report = crate::admin::RolloutReport {
            running: running.map(Running::status),
            last: self.rollouts.last.clone(),
            events: self.rollouts.notes.iter().cloned().collect(),
        };
        self.handle.set_rollout(report, running.map(|running| Arc::clone(&running.trial)));
    }
}

/// Whether any module of both is compiled otherwise.
fn has_other_code(old: &Modules, new: &Modules) -> bool {
    new.iter().any(|(digest, code)| old.get(digest).is_none_or(|before| before.level != code.level))
}

/// For the history.
fn told(share: Share, reason: Option<&str>) -> String {
    reason.map_or_else(|| format!("at {share}"), |reason| format!("at {share}: {reason}"))
}

fn log(event: RolloutEvent, generation: u64, share: &str, reason: Option<&str>) {
    let what = event.as_str();
    match event {
        RolloutEvent::TakenBack => {
            tracing::error!(generation, share, reason, "policy taken back: the one before it goes on");
        }
        _ => tracing::info!(event = what, generation, share, reason, "rollout"),
    }
}
