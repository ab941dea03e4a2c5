//! A whole policy in shadow: it decides on copies of the requests that the policy in force serves.
//!
//! It is read, compiled and tried as for a reload, and built on every worker with nothing shared: VMs,
//! pools, token buckets, shared data, queues and figures are its own. Calls of its filters to other servers
//! are real. It stays until it is told to end, another takes its place, or the process ends; reloads leave it
//! alone. Its files are not watched, and modules that come at O0 stay so.

use std::path::PathBuf;
use std::sync::Arc;

use super::Reloader;
use super::attempt::hexadecimal;
use super::rejected::Rejected;
use crate::admin::{NotShadowed, Phases, ShadowOrder, ShadowReport, ShadowStatus};
use crate::generation::Blueprint;
use crate::policy::rollout::Share;
use crate::policy::{self, Loaded};
use crate::telemetry::Timestamp;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::shadow::{Finding, ShadowLedger};
use crate::worker::ShadowPlan;

/// A policy in shadow.
pub(super) struct Shadowing {
    source: PathBuf,
    since: Timestamp,
    pub(super) plan: Arc<ShadowPlan>,
}

impl Reloader {
    /// Begins or ends a shadow.
    pub(super) async fn set_shadow(&mut self, order: ShadowOrder) -> Result<ShadowReport, NotShadowed> {
        match order {
            ShadowOrder::Start { policy, share } => self.start_shadow(policy, share).await?,
            ShadowOrder::Stop => {
                self.shadowing.take().ok_or(NotShadowed::None)?;
                self.workers.end_shadow().await;
                tracing::info!("no policy is in shadow any more");
            }
        }
        let report = self.shadowing.as_ref().map(Shadowing::shown);
        self.handle.set_shadow(report.clone());
        Ok(report.map_or_else(ShadowReport::default, |shown| shown.report()))
    }

    async fn start_shadow(&mut self, source: PathBuf, share: Share) -> Result<(), NotShadowed> {
        let (path, fetch) = (source.clone(), Arc::clone(&self.fetch));
        let loaded = self.meanwhile(self.workshop.run(move || policy::read(&path, &fetch).result)).await;
        let loaded = loaded.map_err(refused)?.map_err(|diagnostics| {
            tracing::error!(policy = %source.display(), %diagnostics, "policy not taken into shadow");
            NotShadowed::Policy { errors: diagnostics.list.len() + diagnostics.omitted }
        })?;
        let blueprint = self.shadow_blueprint(loaded).await.map_err(refused)?;
        let plan = Arc::new(ShadowPlan {
            blueprint: Arc::new(blueprint),
            guests: Arc::default(),
            retirements: Arc::default(),
            ledger: Arc::new(ShadowLedger::default()),
            share,
        });
        if let Err(error) = self.workers.begin_shadow(&plan).await {
            self.shadowing = None;
            self.handle.set_shadow(None);
            return Err(refused(error.into()));
        }
        self.shared.metrics.policy_shadow(&plan.ledger);
        tracing::info!(policy = %source.display(), share = %share, "policy in shadow");
        self.shadowing = Some(Shadowing { source, since: Timestamp::now(), plan });
        Ok(())
    }

    async fn shadow_blueprint(&self, loaded: Loaded) -> Result<Blueprint, Rejected> {
        let (loaded, modules) = self.compile(loaded, &mut Phases::default()).await?;
        let (loaded, modules) = self.try_start(loaded, modules).await?;
        let workers = self.workers.count();
        let built = self.meanwhile(self.workshop.run(move || {
            // Figures of its own, which nobody scrapes: it must not count as what is in force.
            Blueprint::new(0, loaded, modules, None, &Metrics::new(workers))
        }));
        built.await
    }
}

/// What is wrong is told in the log, and by `tollgate check`: the text may be anything.
fn refused(rejected: Rejected) -> NotShadowed {
    tracing::error!(reason = %rejected, "policy not taken into shadow");
    NotShadowed::Refused
}

/// A policy in shadow, as the admin API sees it.
#[derive(Clone)]
pub(super) struct Shown {
    source: String,
    digest: String,
    since: Timestamp,
    share: Share,
    ledger: Arc<ShadowLedger>,
}

impl Shadowing {
    fn shown(&self) -> Shown {
        Shown {
            source: self.source.display().to_string(),
            digest: hexadecimal(&self.plan.blueprint.digest),
            since: self.since,
            share: self.plan.share,
            ledger: Arc::clone(&self.plan.ledger),
        }
    }
}

impl Shown {
    pub(super) fn report(&self) -> ShadowReport {
        let status = ShadowStatus {
            policy: self.source.clone(),
            digest: self.digest.clone(),
            since: self.since,
            share_percent: f64::from(self.share.hundredths()) / 100.0,
            findings: Finding::ALL.map(|finding| (finding.as_str(), self.ledger.counted(finding))).into(),
        };
        ShadowReport { shadow: Some(status), samples: self.ledger.samples() }
    }
}
