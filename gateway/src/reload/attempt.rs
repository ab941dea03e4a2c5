//! One attempt to swap.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use super::rejected::Rejected;
use super::{Reloader, count_phases, files, immutable, milliseconds};
use crate::admin::{GenerationStatus, Phases, Refusal, ReloadOutcome, Trigger};
use crate::generation::blueprint::{Blueprint, Modules};
use crate::generation::canary;
use crate::history::{Applied, EventKind};
use crate::policy::{self, Diagnostics, KeptFile, Loaded, Places, Policy, Reading};
use crate::telemetry::Timestamp;
use crate::telemetry::metrics::{RolloutEvent, SwapOutcome};
use crate::worker::Beside;

/// Warnings of a policy that are logged; `tollgate check` shows them all.
const WARNINGS_LOGGED_MAX: usize = 10;

impl Reloader {
    /// Reads the policy again and puts it in force, if it differs from the one in force.
    pub(super) async fn reload(&mut self, trigger: Trigger) -> ReloadOutcome {
        let mut phases = Phases::default();
        let loaded = match self.read(&mut phases).await {
            Ok(loaded) if self.is_pinned_against(&loaded, trigger) => {
                // They can be served, but are not wanted.
                self.handle.set_degraded(None);
                return self.unchanged(trigger);
            }
            Ok(loaded) if self.is_current(&loaded) => {
                let reason = Some("the policy in force was read again".to_owned());
                self.end_rollout(RolloutEvent::Replaced, reason).await;
                self.follow_files();
                return self.unchanged(trigger);
            }
            Ok(loaded) if self.is_on_trial(&loaded) => return self.unchanged(trigger),
            Ok(loaded) => loaded,
            Err(rejected) => return self.tell(Err(rejected), trigger, phases),
        };
        let (digest, files) = (hexadecimal(&loaded.digest), Arc::clone(&loaded.files));
        let blueprint = match self.ready(loaded, &mut phases).await {
            Ok(blueprint) => blueprint,
            Err(rejected) => return self.tell(Err(rejected), trigger, phases),
        };
        if let Some(plan) = blueprint.policy.rollout.clone() {
            return self.begin_rollout(blueprint, files, plan, trigger, phases).await;
        }
        let generation = self.put_in_force(blueprint, trigger, &mut phases).await;
        self.keep(generation, digest, files, trigger);
        self.tell(Ok(generation), trigger, phases)
    }

    /// What the policy's files say is in force: the history keeps it, and no rollback holds any more.
    pub(super) fn keep(&self, generation: u64, digest: String, files: Arc<[KeptFile]>, trigger: Trigger) {
        self.follow_files();
        let trigger = trigger.as_str().to_owned();
        self.history.record(EventKind::Applied {
            generation,
            digest: digest.clone(),
            trigger: trigger.clone(),
        });
        self.history.in_force(Applied { generation, digest, trigger }, Some(files), None);
    }

    /// Puts the policy in force once more, with code that was compiled harder meanwhile.
    pub(super) async fn take_faster_code(&mut self) {
        if self.rollouts.running.is_some() {
            return self.take_faster_code_on_trial().await;
        }
        let Some(current) = self.current.clone() else { return };
        let same = Loaded {
            policy: current.policy.clone(),
            warnings: Diagnostics::default(),
            places: Places::default(),
            digest: current.digest,
            files: Arc::default(),
        };
        let mut phases = Phases::default();
        let result = self.swap(same, Trigger::Recompiled, &mut phases).await;
        if let Ok(generation) = result {
            let (digest, trigger) = (hexadecimal(&current.digest), Trigger::Recompiled.as_str().to_owned());
            self.history.record(EventKind::Applied {
                generation,
                digest: digest.clone(),
                trigger: trigger.clone(),
            });
            self.history.in_force(Applied { generation, digest, trigger }, None, self.history.pin());
        }
        self.tell(result, Trigger::Recompiled, phases);
    }

    async fn read(&self, phases: &mut Phases) -> Result<Loaded, Rejected> {
        let (source, fetch) = (self.source.clone(), Arc::clone(&self.fetch));
        let begun = Instant::now();
        let reading = self.meanwhile(self.workshop.run(move || policy::read(&source, &fetch))).await;
        phases.parse = Some(begun.elapsed());
        let Reading { result, inputs } = reading?;
        self.watch(files::of(&self.source, &inputs, self.current_policy()));
        result.map_err(|diagnostics| Rejected::Policy(Arc::new(diagnostics)))
    }

    /// From a policy to a generation in force: its number. All before the commit can fail and then
    /// has changed nothing.
    pub(super) async fn swap(
        &mut self,
        loaded: Loaded,
        trigger: Trigger,
        phases: &mut Phases,
    ) -> Result<u64, Rejected> {
        let blueprint = self.ready(loaded, phases).await?;
        Ok(self.put_in_force(blueprint, trigger, phases).await)
    }

    /// From a policy to a generation that every worker has prepared.
    async fn ready(&self, loaded: Loaded, phases: &mut Phases) -> Result<Arc<Blueprint>, Rejected> {
        self.watch(files::of(&self.source, &loaded.policy.inputs, self.current_policy()));
        if let Some(current) = &self.current {
            immutable::check(&current.policy, &loaded.policy)?;
        }
        let (loaded, modules) = self.compile(loaded, phases).await?;
        let begun = Instant::now();
        let (loaded, modules) = self.try_start(loaded, modules).await?;
        log_warnings(&loaded.warnings);
        let blueprint = self.blueprint(loaded, modules, self.current.clone()).await?;
        self.workers.prepare(&blueprint, Beside::Current).await?;
        phases.prepare = Some(begun.elapsed());
        Ok(blueprint)
    }

    /// Commits what every worker has prepared; a trial ends.
    async fn put_in_force(
        &mut self,
        blueprint: Arc<Blueprint>,
        trigger: Trigger,
        phases: &mut Phases,
    ) -> u64 {
        let number = blueprint.number;
        self.end_rollout(RolloutEvent::Replaced, Some(format!("generation {number} came"))).await;
        phases.commit = Some(self.workers.commit(number).await.took);
        self.committed(blueprint, trigger, *phases)
    }

    pub(super) async fn compile(
        &self,
        loaded: Loaded,
        phases: &mut Phases,
    ) -> Result<(Loaded, Modules), Rejected> {
        let (store, current) = (Arc::clone(&self.store), self.current.clone());
        let begun = Instant::now();
        let done = spawn_blocking(move || {
            let modules = store.fetch(&loaded.policy, current.as_ref().map(|current| &current.modules));
            (loaded, modules)
        });
        let (loaded, modules) = self.meanwhile(done).await?;
        phases.compile = Some(begun.elapsed());
        Ok((loaded, modules?))
    }

    pub(super) async fn try_start(
        &self,
        loaded: Loaded,
        modules: Modules,
    ) -> Result<(Loaded, Modules), Rejected> {
        let current = self.current.clone();
        let done = spawn_blocking(move || {
            let current = current.as_ref().map(|current| &current.policy);
            let result = canary::try_start(&loaded.policy, current, &modules);
            (loaded, modules, result)
        });
        let (loaded, modules, result) = self.meanwhile(done).await?;
        result?;
        Ok((loaded, modules))
    }

    /// Builds the route table and the rest that all workers share, as far as it is not that of `beside`; a
    /// large policy takes a while.
    pub(super) async fn blueprint(
        &self,
        loaded: Loaded,
        modules: Modules,
        beside: Option<Arc<Blueprint>>,
    ) -> Result<Arc<Blueprint>, Rejected> {
        let shared = Arc::clone(&self.shared);
        let current = self.current.as_ref().map_or(0, |current| current.number);
        let number = (current.max(self.rollouts.highest) + 1).max(self.history.next_number());
        let built = self
            .workshop
            .run(move || Blueprint::new(number, loaded, modules, beside.as_deref(), &shared.metrics));
        Ok(Arc::new(self.meanwhile(built).await?))
    }

    /// Everything that follows from a commit.
    pub(super) fn committed(&mut self, blueprint: Arc<Blueprint>, trigger: Trigger, phases: Phases) -> u64 {
        let number = blueprint.number;
        for limiter in blueprint.limiters.iter() {
            self.shared.metrics.limiter(limiter);
        }
        self.watch(files::of(&self.source, &blueprint.policy.inputs, None));
        let old = self.current.replace(Arc::clone(&blueprint));
        self.look_for_slow_modules();
        self.has_best_code();
        if let Some(old) = old {
            self.retire(old);
        }
        let status = GenerationStatus {
            number,
            committed: Timestamp::now(),
            source: self.source.display().to_string(),
            digest: hexadecimal(&blueprint.digest),
            trigger,
            phases,
        };
        self.handle.committed(blueprint, status, self.retiring.len());
        number
    }

    /// A policy has come into force.
    pub(super) fn tell_applied(&self, generation: u64, trigger: Trigger, phases: &Phases) {
        let control = self.shared.metrics.control();
        control.swap(SwapOutcome::Applied);
        control.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        log_applied(generation, trigger, phases);
    }

    pub(super) fn tell(
        &self,
        result: Result<u64, Rejected>,
        trigger: Trigger,
        phases: Phases,
    ) -> ReloadOutcome {
        count_phases(&phases, &self.shared);
        match result {
            Ok(generation) => {
                self.tell_applied(generation, trigger, &phases);
                ReloadOutcome::Applied { generation, phases }
            }
            Err(rejected) => {
                self.shared.metrics.control().swap(SwapOutcome::Refused);
                let refusal = rejected.into_refusal(self.current.as_ref().map(|current| current.number));
                log_refused(&refusal, trigger);
                let (generation, trigger_name) = (refusal.generation, trigger.as_str().to_owned());
                self.history.record(EventKind::refused(generation, trigger_name, &refusal.message));
                self.handle.refused(refusal.clone(), trigger);
                ReloadOutcome::Refused(refusal)
            }
        }
    }

    pub(super) fn unchanged(&self, trigger: Trigger) -> ReloadOutcome {
        let generation = self.current.as_ref().map_or(0, |current| current.number);
        self.shared.metrics.control().swap(SwapOutcome::Unchanged);
        self.handle.unchanged();
        tracing::debug!(generation, ?trigger, "policy unchanged");
        ReloadOutcome::Unchanged { generation }
    }

    pub(super) fn is_current(&self, loaded: &Loaded) -> bool {
        self.current.as_ref().is_some_and(|current| current.digest == loaded.digest)
    }

    pub(super) fn current_policy(&self) -> Option<&Policy> {
        self.current.as_ref().map(|current| &current.policy)
    }

    /// A set is told as a change once, so it is sent only if it differs.
    pub(super) fn watch(&self, files: super::WatchSet) {
        self.files.send_if_modified(|watched| {
            let differs = *watched != files;
            *watched = files;
            differs
        });
    }
}

fn log_applied(generation: u64, trigger: Trigger, phases: &Phases) {
    let ms = |phase: Option<Duration>| phase.map(milliseconds);
    tracing::info!(
        generation,
        ?trigger,
        parse_ms = ms(phases.parse),
        compile_ms = ms(phases.compile),
        prepare_ms = ms(phases.prepare),
        commit_ms = ms(phases.commit),
        "policy applied"
    );
}

fn log_refused(refusal: &Refusal, trigger: Trigger) {
    tracing::error!(
        generation = refusal.generation,
        ?trigger,
        kind = ?refusal.kind,
        reason = refusal.message,
        diagnostics = refusal.diagnostics.as_deref().map(tracing::field::display),
        "policy refused"
    );
}

fn log_warnings(warnings: &Diagnostics) {
    for warning in warnings.list.iter().take(WARNINGS_LOGGED_MAX) {
        tracing::warn!(
            file = warning.file,
            line = warning.position.map(|position| position.line),
            path = warning.path,
            reason = warning.message,
            "policy warning"
        );
    }
}

pub(super) fn hexadecimal(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
