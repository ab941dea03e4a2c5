//! The one task that may swap the policy.
//!
//! Whatever asks for a reload (a file event, SIGHUP, the admin API, faster code of a module) ends up
//! in one place ([`request`]); what comes while a swap runs is gathered and answered by the next.
//! So swaps follow each other and never overlap, and there is one order of generations.
//!
//! The way of an attempt ([`Reloader`], `attempt`):
//! 1. read and check the text on a thread for that ([`workshop`]); equal digest: nothing happens;
//! 2. refuse what cannot change at run time ([`immutable`]);
//! 3. native code of the modules, then a canary that starts the filters that differ;
//! 4. prepare on every worker beside the old generation, then commit;
//! 5. tell: metrics, `/status` ([`status`]), log; watch the new files ([`files`]); make the O2 code of
//!    modules that serve at O0 ([`optimise`]); retire the old generation.
//!
//! A failure in 1 to 4 leaves everything as it was.
//!
//! What came of each attempt is kept (`history`): the gateway can go back, and start without its files
//! (`rollback`).
//!
//! A policy with `rollout` is on trial between prepare and commit: it serves a share of the traffic, which
//! grows, and is taken back if it goes badly ([`rollout`]).
//!
//! A policy may be in shadow beside it all: [`shadow`].
//!
//! A worker that panics is replaced ([`losses`]).
//!
//! Limits: at most 16 old generations serve their last requests, then the oldest are cut; 64 requests wait, more wait to be taken; the blocking threads do one attempt at a time,
//! one compilation behind it and the upkeep.

mod attempt;
mod files;
mod immutable;
mod losses;
mod optimise;
mod rejected;
mod request;
mod rollback;
mod rollout;
mod shadow;
mod status;
mod upkeep;
pub mod watch;
mod workshop;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch as tokio_watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::losses::Losses;
use self::optimise::SlowModule;
use self::request::{Batch, Inbox};
use self::rollout::Rollouts;
use self::shadow::Shadowing;
use self::watch::WatchSet;
use crate::admin::{Phases, Refusal, ReloadOutcome};
use crate::generation::blueprint::Blueprint;
use crate::generation::modules::ModuleStore;
use crate::history::History;
use crate::policy::Policy;
use crate::policy::remote::Fetch;
use crate::telemetry::metrics::SwapPhase;
use crate::worker::{Shared, Workers};

pub use self::losses::Lost;
pub use self::rejected::summary;
pub use self::request::Asked;
pub use self::rollback::{First, Origin};
pub use self::status::Handle;
pub use self::workshop::Workshop;

/// Why a gateway that serves `old` would refuse `new` whatever it says: what a policy asks for that
/// cannot change at run time. `None` if there is nothing.
#[must_use]
pub fn refusal(old: &Policy, new: &Policy) -> Option<String> {
    immutable::check(old, new).err().map(|refused| refused.to_string())
}

/// Old generations that may serve their last requests. Each has route tables, and VMs of its own if
/// its filters differed.
const RETIRING_MAX: usize = 16;
/// How often refilled buckets and what retired policies left are swept away.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Holds the workers and swaps what they run.
pub struct Reloader {
    source: PathBuf,
    /// Who gets modules from elsewhere.
    fetch: Arc<dyn Fetch>,
    workers: Arc<Workers>,
    store: Arc<ModuleStore>,
    shared: Arc<Shared>,
    history: Arc<History>,
    workshop: Arc<Workshop>,
    handle: Arc<Handle>,
    current: Option<Arc<Blueprint>>,
    rollouts: Rollouts,
    shadowing: Option<Shadowing>,
    inbox: Inbox,
    files: tokio_watch::Sender<WatchSet>,
    slow_modules: tokio_watch::Sender<Vec<SlowModule>>,
    /// Old generations, each until the last worker has freed it.
    retiring: JoinSet<Retired>,
    losses: Losses,
    /// Tasks that end with the reloader.
    helpers: JoinSet<()>,
}

/// A generation that no worker has any more.
struct Retired {
    number: u64,
    took: Duration,
    /// Freed here, not on a worker.
    _blueprint: Arc<Blueprint>,
}

impl Reloader {
    /// A reloader for the policy at `source`, and the handle by which it is asked and watched. To be
    /// called on control's runtime.
    pub fn new(
        source: PathBuf,
        fetch: Arc<dyn Fetch>,
        workers: Workers,
        store: Arc<ModuleStore>,
        shared: Arc<Shared>,
        history: Arc<History>,
        workshop: Arc<Workshop>,
    ) -> (Self, Arc<Handle>) {
        let (asking, asked) = mpsc::channel(request::WAITING_MAX);
        let (changes, changed) = mpsc::channel(1);
        let (faster, recompiled) = mpsc::channel(1);
        let (files, watched) = tokio_watch::channel(WatchSet::default());
        let (slow_modules, slow) = tokio_watch::channel(Vec::new());
        let mut helpers = JoinSet::new();
        helpers.spawn(watch::watch(watched, changes));
        helpers.spawn(optimise::optimise(Arc::clone(&store), slow, faster));
        let (count, kept) = (workers.count(), Arc::clone(&history));
        let handle = Arc::new(Handle::new(source.clone(), count, Arc::clone(&shared), asking, kept));
        let reloader = Self {
            source,
            fetch,
            workers: Arc::new(workers),
            store,
            shared,
            history,
            workshop,
            handle: Arc::clone(&handle),
            current: None,
            rollouts: Rollouts::default(),
            shadowing: None,
            inbox: Inbox::new(asked, changed, recompiled),
            files,
            slow_modules,
            retiring: JoinSet::new(),
            losses: Losses::default(),
            helpers,
        };
        (reloader, handle)
    }

    /// Puts the first policy in force.
    ///
    /// # Errors
    /// Why it cannot be; there is no generation then, and no request is served.
    pub async fn start(&mut self, first: First) -> Result<(), Refusal> {
        match self.apply(first).await {
            ReloadOutcome::Refused(refusal) => Err(refusal),
            ReloadOutcome::Applied { .. }
            | ReloadOutcome::OnTrial { .. }
            | ReloadOutcome::Unchanged { .. } => Ok(()),
        }
    }

    /// Ends the workers of a gateway that could not start; it may start again with other sockets.
    pub async fn abandon(self) {
        self.workers.drain(Duration::ZERO).await;
    }

    /// Answers requests to reload until `stop`, and gives the workers back. A swap that runs then is
    /// abandoned, which no request notices.
    ///
    /// # Errors
    /// [`Lost`]: workers panic, and no more are put in their place.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<Arc<Workers>, Lost> {
        let result = tokio::select! {
            lost = self.serve() => Err(lost),
            () = stop => Ok(()),
        };
        self.handle.drain();
        self.helpers.shutdown().await;
        self.retiring.shutdown().await;
        result.map(|()| self.workers)
    }

    async fn serve(&mut self) -> Lost {
        let mut upkeep = every(UPKEEP_EVERY);
        let mut looks = every(rollout::LOOK_EVERY);
        loop {
            tokio::select! {
                Some(batch) = self.inbox.next() => {
                    self.answer(batch).await;
                    self.cap_retiring().await;
                }
                worker = self.workers.lost() => {
                    if let Err(lost) = self.replace(worker).await {
                        return lost;
                    }
                }
                Some(retired) = self.retiring.join_next() => {
                    if let Ok(retired) = retired {
                        self.retired(&retired);
                    }
                }
                _ = upkeep.tick() => {
                    let shadow = self.shadowing.as_ref().map(|shadowing| &shadowing.plan.blueprint);
                    let live: Vec<_> = self.live().chain(shadow).cloned().collect();
                    upkeep::run(live, self.retiring.is_empty(), &self.shared);
                }
                _ = looks.tick(), if self.rollouts.running.is_some() => {
                    self.look_after_rollout().await;
                    self.cap_retiring().await;
                }
            }
        }
    }

    /// The policy in force and the one on trial.
    fn live(&self) -> impl Iterator<Item = &Arc<Blueprint>> {
        self.current.iter().chain(self.rollouts.running.as_ref().map(|running| &running.blueprint))
    }

    async fn answer(&mut self, batch: Batch) {
        for (order, waiting) in batch.orders {
            let done = self.steer_rollout(order).await;
            // A client that went away needs no answer.
            let _ = waiting.send(done);
        }
        for (order, waiting) in batch.shadows {
            let done = self.set_shadow(order).await;
            let _ = waiting.send(done);
        }
        if let Some(trigger) = batch.reread {
            let outcome = self.reload(trigger).await;
            for waiting in batch.waiting {
                // A client that went away needs no answer.
                let _ = waiting.send(outcome.clone());
            }
        }
        for (to, waiting) in batch.roll_backs {
            // As above.
            let _ = waiting.send(self.roll_back(to).await);
        }
        if batch.recompiled {
            self.take_faster_code().await;
        }
    }

    /// Cuts what the oldest generations still serve, if there are too many.
    async fn cap_retiring(&self) {
        let live: Vec<u64> = self.live().map(|blueprint| blueprint.number).collect();
        if let Some(through) = self.workers.retirements().excess(&live, RETIRING_MAX) {
            tracing::warn!(through, max = RETIRING_MAX, "old policies are cut from their last requests");
            self.workers.cut(through).await;
        }
    }

    fn retired(&mut self, retired: &Retired) {
        self.shared.metrics.control().phase(SwapPhase::Retire, retired.took);
        self.handle.retired(retired.number, retired.took, self.retiring.len());
        tracing::debug!(
            generation = retired.number,
            took_ms = milliseconds(retired.took),
            "generation retired"
        );
    }

    /// Waits for the end of a generation that was replaced just now.
    fn retire(&mut self, old: Arc<Blueprint>) {
        let workers = Arc::clone(&self.workers);
        let since = Instant::now();
        self.retiring.spawn(async move {
            workers.wait_retired(old.number).await;
            Retired { number: old.number, took: since.elapsed(), _blueprint: old }
        });
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// With three decimals.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// Counts the phases that were reached.
fn count_phases(phases: &Phases, shared: &Shared) {
    let reached = [
        (SwapPhase::Parse, phases.parse),
        (SwapPhase::Compile, phases.compile),
        (SwapPhase::Prepare, phases.prepare),
        (SwapPhase::Commit, phases.commit),
    ];
    for (phase, took) in reached {
        if let Some(took) = took {
            shared.metrics.control().phase(phase, took);
        }
    }
}
