//! A Wasm filter on one worker.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::task::AbortHandle;
use tollgate_proxy_wasm::{
    Action, ContextId, Failure, HostCalls, PluginId, PluginSpec, QueueId, QueueTurn, StartError, Vm,
};

use super::backoff::{Backoff, CircuitState, Cost, Turn};
use super::calls::Reach;
use super::calls::redis::RedisSetups;
use super::context::Context;
use super::environment::Environment;
use super::inbox::{self, Inbox};
use super::lines::LineLimit;
use super::network::GuestStream;
use super::slot::{Live, VmSlot};
use crate::filter::record::Recorder;
use crate::filter::run::kind_of;
use crate::policy::filter::WasmFilter;
use crate::telemetry::metrics::{
    CircuitHealth, FilterHealth, FilterMetrics, FilterOutcome, Handle, LastFailure,
};
use crate::telemetry::{Phase, Timestamp};

/// A filter in a VM. Ends in its VM when the last generation that uses it is gone.
pub struct Plugin {
    slot: Rc<VmSlot>,
    name: Arc<str>,
    definition: WasmFilter,
    metrics: Handle<FilterMetrics>,
    /// Its host calls in the VM where it was last started.
    host_calls: RefCell<Option<Rc<HostCalls>>>,
    lines: LineLimit,
    /// By the generation in force: pools may change while the definition does not.
    reach: RefCell<Rc<Reach>>,
    /// What the guest said about its Redis servers.
    redis: RedisSetups,
    /// The build of the VM that it was started in, and its id there.
    home: Cell<Option<(u64, PluginId)>>,
    /// Starts in a VM that replaced a failed one.
    restarts: Cell<u64>,
    backoff: RefCell<Backoff>,
    last_failure: RefCell<Option<LastFailure>>,
    /// Notices of the queues that it reads, and the task that delivers them.
    inbox: Arc<Inbox>,
    delivery: OnceCell<AbortHandle>,
}

/// What became of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The guest was told, or can never be.
    Done,
    /// It was told, and there is more.
    Again,
    /// It rests after failures.
    Resting,
}

/// Why a filter cannot take part in an exchange.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// It failed too often lately.
    #[error("the filter rests after failures")]
    CircuitOpen,
    /// Its VM could not be built again.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The guest failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl Plugin {
    /// The plugin for the filter `name` in the VM of `slot`: the one that runs there already, if its
    /// definition is the same, else a new one, started now, which may call what is in `reach` and is
    /// counted in `metrics`.
    pub fn start(
        slot: &Rc<VmSlot>,
        name: &Arc<str>,
        definition: &WasmFilter,
        reach: &Rc<Reach>,
        metrics: Handle<FilterMetrics>,
    ) -> Result<Rc<Self>, StartError> {
        let is_same = |plugin: &Self| plugin.name == *name && plugin.definition == *definition;
        if let Some(running) = slot.find(is_same) {
            return Ok(running);
        }
        let plugin = Rc::new(Self {
            slot: Rc::clone(slot),
            name: Arc::clone(name),
            definition: definition.clone(),
            metrics,
            host_calls: RefCell::default(),
            lines: LineLimit::default(),
            reach: RefCell::new(Rc::clone(reach)),
            redis: RedisSetups::default(),
            home: Cell::new(None),
            restarts: Cell::new(0),
            backoff: RefCell::new(Backoff::new(definition.circuit)),
            last_failure: RefCell::default(),
            inbox: Arc::default(),
            delivery: OnceCell::new(),
        });
        if let Some(Live { vm, build }) = slot.vm()? {
            plugin.start_in(&vm, build).inspect_err(|_| slot.wake_orphans())?;
        }
        slot.register(&plugin);
        plugin.delivery.get_or_init(|| {
            let deliver = inbox::deliver(Rc::downgrade(&plugin), Arc::clone(&plugin.inbox));
            tokio::task::spawn_local(deliver).abort_handle()
        });
        Ok(plugin)
    }

    fn start_in(self: &Rc<Self>, vm: &Vm<Environment>, build: u64) -> Result<PluginId, StartError> {
        let mut spec = plugin_spec(&self.name, &self.definition);
        spec.queue_reader = Some(Arc::clone(&self.inbox) as _);
        let id = self.slot.starting(self, || vm.add_plugin(spec))?;
        self.home.set(Some((build, id)));
        self.publish_host_calls();
        self.host_calls.replace(vm.host_calls(id));
        Ok(id)
    }

    fn restart_in(self: &Rc<Self>, vm: &Vm<Environment>, build: u64) -> Result<PluginId, StartError> {
        self.restarts.set(self.restarts.get() + u64::from(self.home.get().is_some()));
        self.start_in(vm, build)
    }

    /// How often it was started again since this was last asked.
    pub fn take_restarts(&self) -> u64 {
        self.restarts.take()
    }

    /// Shows what it has done and what it takes. For the sweep.
    pub fn publish(&self) {
        self.publish_host_calls();
        let vm = self.slot.live();
        let memory = vm.as_ref().map_or(0, |vm| vm.memory_bytes());
        let home = self.home.get().filter(|(build, _)| *build == self.slot.build());
        let contexts = vm.zip(home).map_or(0, |(vm, (_, id))| vm.contexts_of(id));
        let guest = self.metrics.guest();
        guest.memory_bytes.set(i64::try_from(memory).unwrap_or(i64::MAX));
        guest.contexts.set(i64::try_from(contexts).unwrap_or(i64::MAX));
    }

    fn publish_host_calls(&self) {
        if let Some(calls) = &*self.host_calls.borrow() {
            let guest = self.metrics.guest();
            calls.take(|function, count| guest.host_calls(function, count));
        }
    }

    /// Where it is counted.
    pub(super) fn metrics(&self) -> &Handle<FilterMetrics> {
        &self.metrics
    }

    /// Bounds what it logs.
    pub(super) fn lines(&self) -> &LineLimit {
        &self.lines
    }

    /// Its definition.
    pub fn definition(&self) -> &WasmFilter {
        &self.definition
    }

    /// Its name in the policy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it may call.
    pub(super) fn reach(&self) -> Rc<Reach> {
        Rc::clone(&self.reach.borrow())
    }

    /// How it logs in to Redis servers.
    pub(super) fn redis(&self) -> &RedisSetups {
        &self.redis
    }

    /// From now on it may call what is in `reach`; calls under way go on.
    pub fn set_reach(&self, reach: Rc<Reach>) {
        self.reach.replace(reach);
    }

    /// What is recorded of a filter, if anything is.
    pub fn recorder(&self) -> &Recorder {
        self.slot.recorder()
    }

    /// Its VM's slot.
    pub fn slot(&self) -> &Rc<VmSlot> {
        &self.slot
    }

    /// Has its timer go off now, whatever its period; for tools.
    pub fn tick(&self) {
        if let Some((build, id)) = self.home.get() {
            self.slot.tick(build, id);
        }
    }

    /// Whether it runs as this in the VM.
    pub(super) fn is_at(&self, build: u64, id: PluginId) -> bool {
        self.home.get() == Some((build, id))
    }

    /// It failed; if that took its VM, whoever waits for that VM looks again.
    pub(super) fn failed(&self, cost: Cost) {
        self.backoff.borrow_mut().failed(cost, Instant::now());
        self.slot.wake_orphans();
    }

    /// Its part in an exchange ended, and it did well.
    pub(super) fn went_well(&self, turn: Turn) {
        let mut backoff = self.backoff.borrow_mut();
        if !backoff.is_clear() {
            backoff.went_well(turn);
        }
    }

    /// Its part in an exchange ended with the VM, through no fault of its own.
    pub(super) fn was_cut_short(&self, turn: Turn) {
        self.backoff.borrow_mut().was_cut_short(turn);
    }

    /// Keeps what it failed at last, for the status.
    pub fn note_failure(&self, reason: &str) {
        self.last_failure.replace(Some(LastFailure::now(reason)));
    }

    /// Whether it is kept from running after failures. Its neighbours in the VM are not.
    pub fn is_circuit_open(&self) -> bool {
        let backoff = self.backoff.borrow();
        !backoff.is_clear() && backoff.is_resting(Instant::now())
    }

    /// How it is, for the status.
    pub fn health(&self) -> FilterHealth {
        let now = Instant::now();
        let (circuit, retry_at) = match self.backoff.borrow().state(now) {
            CircuitState::Closed => (CircuitHealth::Closed, None),
            CircuitState::HalfOpen => (CircuitHealth::HalfOpen, None),
            CircuitState::Open { until } => {
                (CircuitHealth::Open, Some(Timestamp(SystemTime::now() + (until - now))))
            }
        };
        FilterHealth { circuit, retry_at, last_failure: self.last_failure.borrow().clone() }
    }

    /// Whether an exchange may go through. A filter that never fails costs no look at the clock.
    fn admit(&self) -> Result<Turn, BeginError> {
        let mut backoff = self.backoff.borrow_mut();
        if backoff.is_clear() {
            return Ok(Turn::Ordinary);
        }
        backoff.admit(Instant::now()).ok_or(BeginError::CircuitOpen)
    }

    /// Its VM and its id there, built and started again if they were lost.
    fn revive(self: &Rc<Self>) -> Result<(Rc<Vm<Environment>>, PluginId), BeginError> {
        let Live { vm, build } = self.slot.vm()?.ok_or(BeginError::CircuitOpen)?;
        let id = match self.home.get() {
            Some((home, id)) if home == build => id,
            _ => self.restart_in(&vm, build).inspect_err(|_| self.failed(Cost::Time))?,
        };
        Ok((vm, id))
    }

    /// Runs a callback that belongs to no exchange: counts and times it, and its failure.
    pub(super) fn aside<T>(
        &self,
        phase: Phase,
        callback: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        let result = callback();
        let outcome = if result.is_ok() { FilterOutcome::Continue } else { FilterOutcome::Fail };
        self.metrics.call(phase, outcome, begun.elapsed());
        if let Err(failure) = &result {
            let filter = &*self.name;
            tracing::warn!(filter, phase = phase.as_str(), %failure, "a filter failed outside an exchange");
            self.metrics.failure(kind_of(failure));
            self.note_failure(&failure.to_string());
            self.failed(Cost::of(failure));
        }
        result
    }

    /// Tells the guest that a queue has something to read. One whose VM was lost is started again,
    /// and registers the queue anew: nobody else would bring it back while no request comes.
    pub(super) fn queue_ready(self: &Rc<Self>, queue: QueueId) -> Delivery {
        if self.is_circuit_open() {
            return Delivery::Resting;
        }
        let (vm, id) = match self.revive() {
            Ok(live) => live,
            Err(BeginError::CircuitOpen) => return Delivery::Resting,
            Err(error) => {
                tracing::warn!(filter = &*self.name, %error, "a filter did not start to read its queue");
                return Delivery::Resting;
            }
        };
        match self.aside(Phase::QueueReady, || vm.on_queue_ready(id, queue)) {
            Ok(QueueTurn::Over) => Delivery::Done,
            Ok(QueueTurn::Again) => Delivery::Again,
            Err(_) => Delivery::Again,
        }
    }

    /// Begins the filter's part in an exchange or a connection.
    pub fn begin(self: &Rc<Self>, seat: impl Into<GuestStream>) -> Result<Context, BeginError> {
        let begun = self.begin_by(|vm, id| Ok((vm.create_stream(id, Rc::new(seat.into()))?, ())));
        begun.map(|(context, ())| context)
    }

    /// Begins the filter's part in an exchange, and shows it the request's headers: `size` counts them.
    /// The inner result is theirs.
    pub fn begin_exchange(
        self: &Rc<Self>,
        seat: impl Into<GuestStream>,
        size: usize,
        end_of_stream: bool,
    ) -> Result<(Context, Result<Action, Failure>), BeginError> {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let begin =
            |vm: &Vm<Environment>, id| vm.begin_exchange(id, Rc::new(seat.into()), size, end_of_stream);
        let (context, headers) = self.begin_by(begin)?;
        let headers = context.note(headers);
        Ok((context, headers))
    }

    fn begin_by<T>(
        self: &Rc<Self>,
        begin: impl FnOnce(&Vm<Environment>, PluginId) -> Result<(ContextId, T), Failure>,
    ) -> Result<(Context, T), BeginError> {
        let turn = self.admit()?;
        let begun = self.begin_as(begin, turn);
        if begun.is_err() {
            self.backoff.borrow_mut().was_cut_short(turn);
        }
        begun
    }

    fn begin_as<T>(
        self: &Rc<Self>,
        begin: impl FnOnce(&Vm<Environment>, PluginId) -> Result<(ContextId, T), Failure>,
        turn: Turn,
    ) -> Result<(Context, T), BeginError> {
        let (vm, id) = self.revive()?;
        let (id, first) = begin(&vm, id).inspect_err(|failure| self.failed(Cost::of(failure)))?;
        Ok((Context::new(Rc::clone(self), vm, id, turn), first))
    }
}

/// How `definition` starts as the filter `name`, with nobody to read its queues.
pub fn plugin_spec(name: &Arc<str>, definition: &WasmFilter) -> PluginSpec {
    PluginSpec {
        name: Arc::clone(name),
        root_id: Arc::clone(&definition.root_id),
        configuration: Arc::clone(&definition.configuration),
        budget: definition.budget,
        queue_reader: None,
        calls_max: usize::try_from(definition.calls.at_once.get()).unwrap_or(usize::MAX),
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if let Some(delivery) = self.delivery.get() {
            delivery.abort();
        }
        if let (Some((build, id)), Some(vm)) = (self.home.get(), self.slot.live())
            && build == self.slot.build()
        {
            vm.remove_plugin(id);
            self.slot.wake_orphans();
        }
        self.publish_host_calls();
    }
}
