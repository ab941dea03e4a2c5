//! What the admin API sees of the gateway, and how it asks for a reload.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::request::Asked;
use super::shadow::Shown;
use crate::admin::{
    Begun, Control, Degraded, EndpointStatus, FilterState, FilterStatus, GenerationStatus, NotRecorded,
    NotShadowed, NotSteered, Readiness, Refusal, RefusalKind, RejectedStatus, ReloadOutcome, RolloutOrder,
    RolloutReport, ShadowOrder, ShadowReport, Status, Trigger, UpstreamStatus,
};
use crate::explain::{self, Comparison, Inquiry, QuestionError, Report};
use crate::filter::record::Wanted;
use crate::generation::Trial;
use crate::generation::blueprint::Blueprint;
use crate::history::{History, Overview, Pin, Record};
use crate::policy::fault::OnFailure;
use crate::policy::filter::{Filter, FilterKind};
use crate::policy::listener::Service;
use crate::policy::upstream::Upstream;
use crate::policy::{self, Diagnostics, KeptFile};
use crate::telemetry::Timestamp;
use crate::worker::Shared;

/// The reloader as others see it: written by the reloader, read by the admin API.
pub struct Handle {
    source: PathBuf,
    started: Timestamp,
    workers: usize,
    shared: Arc<Shared>,
    asking: mpsc::Sender<Asked>,
    history: Arc<History>,
    board: Mutex<Board>,
}

/// What is known now.
#[derive(Default)]
struct Board {
    is_draining: bool,
    current: Option<Current>,
    degraded: Option<Degraded>,
    retiring: usize,
    last_error: Option<RejectedStatus>,
    rollout: RolloutReport,
    /// What is on trial, for it to be ended at once.
    trial: Option<Arc<Trial>>,
    shadow: Option<Shown>,
}

struct Current {
    status: GenerationStatus,
    blueprint: Arc<Blueprint>,
    /// How many routes run each filter.
    routes: HashMap<Arc<str>, usize>,
}

impl Handle {
    pub(super) fn new(
        source: PathBuf,
        workers: usize,
        shared: Arc<Shared>,
        asking: mpsc::Sender<Asked>,
        history: Arc<History>,
    ) -> Self {
        let board = Mutex::default();
        Self { source, started: Timestamp::now(), workers, shared, asking, history, board }
    }

    /// Asks for the policy to be read again; how that ends is logged and shown by the status.
    pub fn reload_on_signal(&self) {
        // A full queue means that an attempt is about to begin that answers this too.
        let _ = self.asking.try_send(Asked::Signal);
    }

    /// The number of the generation in force.
    pub fn generation(&self) -> Option<u64> {
        self.board().current.as_ref().map(|current| current.status.number)
    }

    /// How long requests may take to finish at shutdown, as the policy in force says.
    pub fn drain_timeout(&self) -> Duration {
        let board = self.board();
        board.current.as_ref().map_or(Duration::ZERO, |current| current.blueprint.policy.limits.drain_timeout)
    }

    /// The file that the policy is read from.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// No more requests should be sent here.
    pub fn drain(&self) {
        self.board().is_draining = true;
        self.shared.guests.recorder.end();
    }

    pub(super) fn committed(&self, blueprint: Arc<Blueprint>, status: GenerationStatus, retiring: usize) {
        let mut routes = HashMap::new();
        let of_routes = blueprint.policy.routes.iter().flat_map(|route| &route.filters);
        let services = blueprint.policy.listeners.iter().filter_map(|listener| match &listener.service {
            Service::Tcp(service) => Some(service),
            Service::Http => None,
        });
        for filter in of_routes.chain(services.flat_map(|service| &service.filters)) {
            *routes.entry(Arc::clone(&filter.name)).or_default() += 1;
        }
        let old = {
            let mut board = self.board();
            board.last_error = None;
            board.current.replace(Current { status, blueprint, routes })
        };
        // Freed after the lock.
        drop(old);
        self.set_retiring(retiring);
    }

    /// `number` was replaced, and its end came `took` later: the cost of the swap after it.
    pub(super) fn retired(&self, number: u64, took: Duration, retiring: usize) {
        if let Some(current) = &mut self.board().current
            && current.status.number == number + 1
        {
            current.status.phases.retire = Some(took);
        }
        self.set_retiring(retiring);
    }

    /// What was refused lies no more at the source.
    pub(super) fn unchanged(&self) {
        self.board().last_error = None;
    }

    pub(super) fn refused(&self, refusal: Refusal, trigger: Trigger) {
        self.board().last_error = Some(RejectedStatus { at: Timestamp::now(), trigger, refusal });
    }

    pub(super) fn set_shadow(&self, shown: Option<Shown>) {
        self.board().shadow = shown;
    }

    fn blueprint(&self) -> Option<Arc<Blueprint>> {
        self.board().current.as_ref().map(|current| Arc::clone(&current.blueprint))
    }

    /// A kept policy stands in for the policy's files, or no more.
    pub(super) fn set_degraded(&self, degraded: Option<Degraded>) {
        self.shared.metrics.control().degraded.set(i64::from(degraded.is_some()));
        self.board().degraded = degraded;
    }

    /// Asks, and waits for the answer.
    async fn ask(&self, ask: impl FnOnce(oneshot::Sender<ReloadOutcome>) -> Asked) -> ReloadOutcome {
        let (waiting, outcome) = oneshot::channel();
        if self.asking.send(ask(waiting)).await.is_ok()
            && let Ok(outcome) = outcome.await
        {
            return outcome;
        }
        ReloadOutcome::Refused(Refusal {
            kind: RefusalKind::Internal,
            generation: self.generation(),
            message: "the gateway is shutting down".to_owned(),
            diagnostics: None,
        })
    }

    pub(super) fn set_rollout(&self, report: RolloutReport, trial: Option<Arc<Trial>>) {
        let old = {
            let mut board = self.board();
            (std::mem::replace(&mut board.rollout, report), std::mem::replace(&mut board.trial, trial))
        };
        // Freed after the lock.
        drop(old);
    }

    pub(super) fn set_retiring(&self, retiring: usize) {
        self.board().retiring = retiring;
        let gauge = &self.shared.metrics.control().generations_retiring;
        gauge.set(i64::try_from(retiring).unwrap_or(i64::MAX));
    }

    fn filter_status(&self, filter: &Filter, routes: usize) -> FilterStatus {
        let metrics = self.shared.metrics.filter(&filter.name);
        let health = metrics.health();
        FilterStatus {
            name: Arc::clone(&filter.name),
            kind: match filter.kind {
                FilterKind::Wasm(_) => "wasm",
                FilterKind::RateLimit(_) => "rate_limit",
                FilterKind::Headers(_) => "headers",
            },
            state: match (health.open, health.half_open) {
                (0, 0) => FilterState::Ok,
                (0, _) => FilterState::HalfOpen,
                _ => FilterState::CircuitOpen,
            },
            routes,
            failures: metrics.failures(),
            restarts: health.restarts,
            circuits_open: health.open,
            retry_at: health.retry_at,
            last_failure: health.last_failure,
        }
    }

    fn upstream_status(&self, upstream: &Upstream) -> UpstreamStatus {
        let metrics = self.shared.metrics.upstream(&upstream.name);
        let endpoints = upstream.endpoints.iter().enumerate().map(|(index, endpoint)| EndpointStatus {
            address: endpoint.to_string().into(),
            skipped: metrics.is_skipped(index),
        });
        UpstreamStatus { name: Arc::clone(&upstream.name), endpoints: endpoints.collect() }
    }

    /// A panic elsewhere leaves the board whole: each change of it is one assignment.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control for Handle {
    async fn reload(&self) -> ReloadOutcome {
        self.ask(Asked::Admin).await
    }

    async fn roll_back(&self, to: Option<u64>) -> ReloadOutcome {
        self.ask(|waiting| Asked::RollBack { to, waiting }).await
    }

    fn history(&self) -> Overview {
        self.history.overview()
    }

    async fn explain(&self, inquiry: Inquiry, nearest: usize) -> Option<Result<Report, QuestionError>> {
        let blueprint = self.blueprint()?;
        let told = spawn_blocking(move || explain::explain(&blueprint.policy, &inquiry, nearest));
        told.await.ok()
    }

    async fn compare(
        &self,
        source: PathBuf,
        files: Vec<KeptFile>,
    ) -> Option<Result<Comparison, Diagnostics>> {
        let blueprint = self.blueprint()?;
        let told = spawn_blocking(move || {
            let new = policy::load_kept(&source, &files)?.policy;
            let refused = super::refusal(&blueprint.policy, &new);
            Ok(Comparison::between(&blueprint.policy, &new, refused))
        });
        told.await.ok()
    }

    fn kept(&self, number: u64) -> Option<Arc<Record>> {
        self.history.find(Some(number)).ok()
    }

    fn shadow(&self) -> ShadowReport {
        let shown = self.board().shadow.clone();
        shown.map_or_else(ShadowReport::default, |shown| shown.report())
    }

    async fn set_shadow(&self, order: ShadowOrder) -> Result<ShadowReport, NotShadowed> {
        let (waiting, done) = oneshot::channel();
        self.asking.send(Asked::Shadow(order, waiting)).await.map_err(|_| NotShadowed::Draining)?;
        done.await.map_err(|_| NotShadowed::Draining)?
    }

    fn rollout(&self) -> RolloutReport {
        self.board().rollout.clone()
    }

    async fn steer_rollout(&self, order: RolloutOrder) -> Result<RolloutReport, NotSteered> {
        if order == RolloutOrder::Abort
            && let Some(trial) = &self.board().trial
        {
            // The reloader may be compiling; clients must not wait for that.
            trial.end();
        }
        let (waiting, steered) = oneshot::channel();
        let asking = self.asking.clone();
        // Of its own: what is ended already must be heard of, also if nobody waits for the answer.
        let asked = tokio::spawn(async move { asking.send(Asked::Rollout(order, waiting)).await });
        asked.await.ok().and_then(Result::ok).ok_or(NotSteered::Draining)?;
        steered.await.map_err(|_| NotSteered::Draining)??;
        Ok(self.rollout())
    }

    fn status(&self) -> Status {
        let board = self.board();
        let current = board.current.as_ref();
        let policy = current.map(|current| &current.blueprint.policy);
        let routes = |filter: &Filter| current.and_then(|c| c.routes.get(&filter.name)).copied().unwrap_or(0);
        let filters = policy.into_iter().flat_map(|policy| &policy.filters);
        Status {
            version: env!("CARGO_PKG_VERSION"),
            started: self.started,
            workers: self.workers,
            generation: current.map(|current| current.status.clone()),
            generations_retiring: board.retiring,
            degraded: board.degraded.clone(),
            pinned: self.history.pin().filter(Pin::holds),
            history: self.history.summary(),
            rollout: board.rollout.running.clone(),
            last_error: board.last_error.clone(),
            filters: filters.map(|filter| self.filter_status(filter, routes(filter))).collect(),
            upstreams: policy
                .into_iter()
                .flat_map(|policy| &policy.upstreams)
                .map(|upstream| self.upstream_status(upstream))
                .collect(),
        }
    }

    fn readiness(&self) -> Readiness {
        let board = self.board();
        match &board.current {
            _ if board.is_draining => Readiness::Draining,
            Some(_) if board.degraded.is_some() => Readiness::Degraded,
            Some(_) => Readiness::Ready,
            None => Readiness::Starting,
        }
    }

    fn record(&self, wanted: Wanted) -> Result<Begun, NotRecorded> {
        let board = self.board();
        let current = board.current.as_ref().filter(|_| !board.is_draining).ok_or(NotRecorded::NoPolicy)?;
        let filters = current.blueprint.policy.filters.iter();
        let modules = filters.filter(|filter| match &filter.kind {
            FilterKind::Wasm(wasm) => wasm.on_failure != OnFailure::Shadow,
            FilterKind::RateLimit(_) | FilterKind::Headers(_) => false,
        });
        if !modules.clone().any(|filter| filter.name == wanted.filter) {
            return Err(NotRecorded::NoFilter(modules.map(|filter| filter.name.to_string()).collect()));
        }
        let generation = current.status.number;
        let live = self.shared.guests.recorder.start(wanted).map_err(|_| NotRecorded::Busy)?;
        Ok(Begun { live, generation })
    }
}
