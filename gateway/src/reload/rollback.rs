//! Kept policies in force: on demand, and at a start when the policy's own files cannot be served.
//!
//! A rollback leaves the policy's files alone. The gateway stands by it (it is **pinned**) until the files
//! change or someone asks for a reload; SIGHUP is no such demand, as it comes with every rotation of the
//! access log. A gateway that is started again while its files still say what they said then stands by it too.
//!
//! A start with a kept policy because of broken files (the gateway is **degraded**) ends with the first good
//! ones, which the watcher sees.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::hexadecimal;
use super::rejected::Rejected;
use super::{Reloader, files};
use crate::admin::{Degraded, Phases, ReloadOutcome, Trigger};
use crate::history::{Applied, EventKind, Pin, PinReason, Record};
use crate::policy::remote::{Fetch, NoFetch, OnlyKept};
use crate::policy::{self, Loaded};
use crate::telemetry::Timestamp;

/// What a gateway starts with.
pub struct First {
    /// The policy.
    pub loaded: Loaded,
    /// How long reading it took.
    pub parse: Duration,
    /// Where it was read from.
    pub origin: Origin,
}

/// Where the first policy was read from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// The policy's own files.
    Files,
    /// The history, since the gateway was told to go back before it ended.
    Pinned {
        /// The generation that is in force again.
        of: u64,
        /// What it was told.
        pin: Pin,
    },
    /// The history, since the policy's own files cannot be served.
    Kept {
        /// The generation that is in force again.
        of: u64,
        /// What is wrong with the files.
        reason: String,
    },
}

impl Origin {
    fn trigger(&self) -> Trigger {
        match self {
            Self::Files => Trigger::Start,
            Self::Pinned { .. } => Trigger::Rollback,
            Self::Kept { .. } => Trigger::Fallback,
        }
    }
}

impl Reloader {
    /// Puts the first policy in force.
    pub(super) async fn apply(&mut self, first: First) -> ReloadOutcome {
        let First { loaded, parse, origin } = first;
        let mut phases = Phases { parse: Some(parse), ..Phases::default() };
        let (digest, files, trigger) =
            (hexadecimal(&loaded.digest), Arc::clone(&loaded.files), origin.trigger());
        let result = self.swap(loaded, trigger, &mut phases).await;
        if let Ok(generation) = result {
            let applied =
                Applied { generation, digest: digest.clone(), trigger: trigger.as_str().to_owned() };
            match origin {
                Origin::Files => {
                    let (digest, trigger) = (digest, applied.trigger.clone());
                    self.history.record(EventKind::Applied { generation, digest, trigger });
                    self.history.in_force(applied, Some(files), None);
                }
                Origin::Pinned { of, pin } => {
                    self.history.record(EventKind::RolledBack { generation, digest, to: of });
                    self.pinned(applied, pin).await;
                }
                Origin::Kept { of, reason } => {
                    self.history.record(EventKind::fallback(generation, digest, of, &reason));
                    let pin = self.history.pin();
                    self.shared.metrics.control().pinned.set(i64::from(pin.as_ref().is_some_and(Pin::holds)));
                    self.history.in_force(applied, None, pin);
                    self.degraded(of, reason).await;
                }
            }
        }
        self.tell(result, trigger, phases)
    }

    /// Puts the policy of generation `to` in force, else the one before the one in force, and stands by it.
    pub(super) async fn roll_back(&mut self, to: Option<u64>) -> ReloadOutcome {
        let mut phases = Phases::default();
        let result = self.try_roll_back(to, &mut phases).await;
        match result {
            Ok(Some(generation)) => self.tell(Ok(generation), Trigger::Rollback, phases),
            Ok(None) => self.unchanged(Trigger::Rollback),
            Err(rejected) => self.tell(Err(rejected), Trigger::Rollback, phases),
        }
    }

    /// The new generation, or none if the policy serves already.
    async fn try_roll_back(&mut self, to: Option<u64>, phases: &mut Phases) -> Result<Option<u64>, Rejected> {
        let record = self.history.find(to).map_err(|kept| Rejected::NotKept { to, kept })?;
        let of = record.generation;
        let loaded = self.revive(record).await?;
        if self.is_current(&loaded) {
            return Ok(None);
        }
        let pin = Pin { to: of, files: self.what_files_say().await, reason: PinReason::Rollback };
        let digest = hexadecimal(&loaded.digest);
        let generation = self.swap(loaded, Trigger::Rollback, phases).await?;
        self.handle.set_degraded(None);
        self.history.record(EventKind::RolledBack { generation, digest: digest.clone(), to: of });
        let trigger = Trigger::Rollback.as_str().to_owned();
        self.pinned(Applied { generation, digest, trigger }, pin).await;
        Ok(Some(generation))
    }

    async fn revive(&self, record: Arc<Record>) -> Result<Loaded, Rejected> {
        let history = Arc::clone(&self.history);
        let read = self.workshop.run(move || -> Result<Loaded, Rejected> {
            let revived = history.revive(record)?;
            let loaded = policy::load_kept(&revived.record.source, &revived.files);
            loaded.map_err(|diagnostics| Rejected::Policy(Arc::new(diagnostics)))
        });
        self.meanwhile(read).await?
    }

    /// The digest of what the policy's files say now, if that can be understood with the modules that are at
    /// hand: a rollback does not wait for a source that stalls.
    async fn what_files_say(&self) -> Option<String> {
        let source = self.source.clone();
        let fetch: Arc<dyn Fetch> = Arc::new(OnlyKept(Arc::clone(&self.fetch)));
        let loaded = self
            .meanwhile(self.workshop.run(move || policy::read(&source, &fetch).result.ok()))
            .await
            .ok()??;
        Some(hexadecimal(&loaded.digest))
    }

    /// Watches what the policy's files name, beside what is in force.
    async fn watch_files(&self) {
        let source = self.source.clone();
        // Nothing that would have to be fetched is watched.
        if let Ok(inputs) =
            self.meanwhile(self.workshop.run(move || policy::read(&source, &NoFetch::shared()).inputs)).await
        {
            self.watch(files::of(&self.source, &inputs, self.current_policy()));
        }
    }

    /// Whether a rollback holds against what the files say: they say what they said then, and nobody asks.
    pub(super) fn is_pinned_against(&self, loaded: &Loaded, trigger: Trigger) -> bool {
        let is_asked = trigger == Trigger::Admin;
        let pin = self.history.pin().filter(|_| !is_asked);
        pin.is_some_and(|pin| pin.files.as_deref() == Some(&hexadecimal(&loaded.digest)))
    }

    /// What the policy's files say is in force.
    pub(super) fn follow_files(&self) {
        self.handle.set_degraded(None);
        self.shared.metrics.control().pinned.set(0);
        if let Some(pin) = self.history.pin() {
            self.history.unpin();
            tracing::info!(to = pin.to, "the rollback has ended, the policy's files are followed again");
        }
    }

    async fn pinned(&self, applied: Applied, pin: Pin) {
        tracing::warn!(
            generation = applied.generation,
            to = pin.to,
            source = %self.source.display(),
            "an earlier policy is in force until the policy's files change or a reload is asked for"
        );
        self.shared.metrics.control().pinned.set(1);
        // Those that are not in force are watched for the change that ends this.
        self.watch_files().await;
        self.history.in_force(applied, None, Some(pin));
    }

    async fn degraded(&self, serves: u64, reason: String) {
        tracing::error!(
            serves,
            reason,
            source = %self.source.display(),
            "the policy's files cannot be served; a kept policy stands in for them"
        );
        // Any of the files may be the one that is missing.
        self.watch_files().await;
        self.handle.set_degraded(Some(Degraded { since: Timestamp::now(), serves, reason }));
    }
}
