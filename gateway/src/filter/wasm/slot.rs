//! One VM of a worker, and its replacement when it fails.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_proxy_wasm::{
    CallId, Capabilities, GuestFault, HostFunctions, PluginId, StartError, Vm, VmSpec,
};
use tollgate_wasmedge::{Module, OptLevel};

use super::backoff::{Backoff, Cost, Turn};
use super::calls::HttpReply;
use super::calls::grpc::GrpcReply;
use super::calls::redis::RedisReply;
use super::environment::{Environment, Guests};
use super::plugin::Plugin;
use crate::filter::exchange::Exchange;
use crate::filter::record::Recorder;
use crate::policy::fault::{Circuit, OnFailure};
use crate::policy::filter::WasmFilter;
use crate::telemetry::Phase;

/// What makes two filters share a VM.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VmKey {
    digest: [u8; 32],
    /// Code compiled harder is another VM, which replaces the first.
    level: OptLevel,
    vm_id: Arc<str>,
    configuration: Arc<[u8]>,
    environment: Arc<[(Arc<str>, Arc<str>)]>,
    memory_pages_max: u32,
    capabilities: Capabilities,
    start_budget: Duration,
    /// What a filter in shadow breaks must be its own.
    is_shadow: bool,
}

impl VmKey {
    /// The identity of the VM that `filter` needs.
    pub fn new(filter: &WasmFilter, level: OptLevel) -> Self {
        Self {
            digest: filter.digest,
            level,
            vm_id: Arc::clone(&filter.vm_id),
            configuration: Arc::clone(&filter.vm_configuration),
            environment: Arc::clone(&filter.environment),
            memory_pages_max: filter.memory_pages_max.get(),
            capabilities: filter.allow.functions,
            start_budget: filter.start_budget,
            is_shadow: filter.on_failure == OnFailure::Shadow,
        }
    }

    fn spec(&self) -> VmSpec {
        let variable = |(name, value): &(Arc<str>, Arc<str>)| (name.to_string(), value.to_string());
        VmSpec {
            vm_id: Arc::clone(&self.vm_id),
            configuration: Arc::clone(&self.configuration),
            environment: self.environment.iter().map(variable).collect(),
            memory_pages_max: self.memory_pages_max,
            capabilities: self.capabilities,
            start_budget: self.start_budget,
        }
    }
}

/// One VM, from its first build to the last generation that uses it.
pub struct VmSlot {
    key: VmKey,
    module: Module,
    functions: Rc<HostFunctions<Environment>>,
    guests: Arc<Guests>,
    current: RefCell<Option<Rc<Vm<Environment>>>>,
    /// Counts builds, so that a plugin knows whether it lives in the current one.
    build: Cell<u64>,
    plugins: RefCell<Vec<Weak<Plugin>>>,
    backoff: RefCell<Backoff>,
    /// What the VM has held back, to be woken when it fails; dead ones are left out now and then, so
    /// their number is bounded by that of exchanges and connections.
    held: RefCell<Vec<Weak<dyn Waiting>>>,
    /// The filter that is being started in the VM right now.
    starting: RefCell<Option<Rc<Plugin>>>,
}

/// What a guest may hold back.
pub trait Waiting: 'static {
    /// Has it look again.
    fn wake(&self);
}

impl Waiting for Exchange {
    fn wake(&self) {
        self.signals.wake();
    }
}

/// A VM that works.
pub(super) struct Live {
    pub(super) vm: Rc<Vm<Environment>>,
    /// The number of its build.
    pub(super) build: u64,
}

impl VmSlot {
    /// A slot whose VM is built with its first plugin.
    pub fn new(
        key: VmKey,
        module: Module,
        functions: Rc<HostFunctions<Environment>>,
        guests: Arc<Guests>,
    ) -> Rc<Self> {
        Rc::new(Self {
            key,
            module,
            functions,
            guests,
            current: RefCell::default(),
            build: Cell::new(0),
            plugins: RefCell::default(),
            backoff: RefCell::new(Backoff::new(Circuit::default())),
            held: RefCell::default(),
            starting: RefCell::default(),
        })
    }

    /// What is recorded of a filter, if anything is.
    pub(super) fn recorder(&self) -> &Recorder {
        &self.guests.recorder
    }

    /// What it is.
    pub fn key(&self) -> &VmKey {
        &self.key
    }

    /// The filter in this VM that lives and is the one asked for.
    pub(super) fn find(&self, is_it: impl Fn(&Plugin) -> bool) -> Option<Rc<Plugin>> {
        self.plugins.borrow().iter().filter_map(Weak::upgrade).find(|plugin| is_it(plugin))
    }

    pub(super) fn register(&self, plugin: &Rc<Plugin>) {
        let mut plugins = self.plugins.borrow_mut();
        plugins.retain(|plugin| plugin.strong_count() > 0);
        plugins.push(Rc::downgrade(plugin));
    }

    /// The VM, built now if there is none that works. `Ok(None)` while it
    /// rests after failures.
    pub(super) fn vm(self: &Rc<Self>) -> Result<Option<Live>, StartError> {
        if let Some(vm) = &*self.current.borrow()
            && vm.failed().is_none()
        {
            return Ok(Some(Live { vm: Rc::clone(vm), build: self.build.get() }));
        }
        if self.backoff.borrow().is_resting(Instant::now()) {
            return Ok(None);
        }
        let build = self.build.get() + 1;
        let environment = Environment::new(Arc::clone(&self.guests), Rc::downgrade(self), build);
        let vm = Vm::new(&self.module, &self.functions, self.key.spec(), Rc::new(environment))
            .inspect_err(|_| self.backoff.borrow_mut().failed(Cost::Time, Instant::now()))?;
        let vm = Rc::new(vm);
        self.backoff.borrow_mut().went_well(Turn::Probe);
        self.current.replace(Some(Rc::clone(&vm)));
        self.build.set(build);
        Ok(Some(Live { vm, build: self.build.get() }))
    }

    /// If the VM has failed: whoever it holds back is to look again.
    pub(super) fn wake_orphans(&self) {
        if self.live().is_some() {
            return;
        }
        for waiting in self.held.take().iter().filter_map(Weak::upgrade) {
            waiting.wake();
        }
    }

    /// Has it look again when the VM fails.
    pub(super) fn hold<W: Waiting>(&self, waiting: &Rc<W>) {
        let mut held = self.held.borrow_mut();
        if held.len() == held.capacity() {
            held.retain(|waiting| waiting.strong_count() > 0);
        }
        let waiting: Weak<W> = Rc::downgrade(waiting);
        held.push(waiting);
    }

    /// The VM, if it is there and works.
    pub(super) fn live(&self) -> Option<Rc<Vm<Environment>>> {
        self.current.borrow().as_ref().filter(|vm| vm.failed().is_none()).cloned()
    }

    /// Whether there is a VM that works.
    pub fn is_live(&self) -> bool {
        self.live().is_some()
    }

    /// Fuel that the guest has used since its VM was built; 0 if there is none that works.
    pub fn fuel_used(&self) -> u64 {
        self.live().map_or(0, |vm| vm.fuel_used())
    }

    /// The guest's memory in bytes; 0 if there is none that works.
    pub fn memory_bytes(&self) -> u64 {
        self.live().map_or(0, |vm| vm.memory_bytes())
    }

    /// The number of the current build.
    pub(super) fn build(&self) -> u64 {
        self.build.get()
    }

    /// While `start` runs, `plugin` is the one that the VM's environment knows by an id it has not seen.
    pub(super) fn starting<R>(&self, plugin: &Rc<Plugin>, start: impl FnOnce() -> R) -> R {
        let before = self.starting.replace(Some(Rc::clone(plugin)));
        let result = start();
        self.starting.replace(before);
        result
    }

    /// The filter that calls out as `id` in the VM of `build`.
    pub(super) fn caller(&self, build: u64, id: PluginId) -> Option<Rc<Plugin>> {
        self.find(|plugin| plugin.is_at(build, id)).or_else(|| self.starting.borrow().clone())
    }

    /// A call of the VM of `build` has ended; one of an earlier VM has nothing to say any more.
    pub(super) fn http_call_ended(&self, build: u64, plugin: PluginId, call: CallId, reply: HttpReply) {
        let Some(vm) = self.live().filter(|_| build == self.build.get()) else { return };
        tracing::debug!(call = call.get(), outcome = reply.outcome().word(), "a call of a filter ended");
        let Some(plugin) = self.find(|known| known.is_at(build, plugin)) else { return };
        // A failure is noted in it.
        let _ = plugin.aside(Phase::CallResponse, || vm.on_http_call_response(call, Rc::new(reply)));
    }

    /// The guest says that it has failed. It lives on.
    pub(super) fn guest_failed(&self, build: u64, id: PluginId, fault: &GuestFault) {
        let Some(plugin) = self.find(|plugin| plugin.is_at(build, id)) else { return };
        plugin.note_failure(&fault.reason);
        plugin.failed(Cost::of_fault(fault.kind));
    }

    /// A gRPC call of the VM of `build` brought something, or has ended.
    pub(super) fn grpc_told(&self, build: u64, plugin: PluginId, call: CallId, reply: GrpcReply) {
        let Some(vm) = self.live().filter(|_| build == self.build.get()) else { return };
        tracing::debug!(call = call.get(), what = reply.word(), "a gRPC call of a filter brought something");
        let Some(plugin) = self.find(|known| known.is_at(build, plugin)) else { return };
        let reply = Rc::new(reply);
        let tell = || match &*reply {
            GrpcReply::Initial(_) => vm.on_grpc_initial_metadata(call, Rc::clone(&reply) as _),
            GrpcReply::Message(_) => vm.on_grpc_message(call, Rc::clone(&reply) as _),
            GrpcReply::Trailing(_) => vm.on_grpc_trailing_metadata(call, Rc::clone(&reply) as _),
            GrpcReply::Closed(_) => vm.on_grpc_close(call, Rc::clone(&reply) as _),
        };
        // A failure is noted in it.
        let _ = plugin.aside(Phase::CallResponse, tell);
    }

    /// A Redis call of the VM of `build` has ended.
    pub(super) fn redis_call_ended(&self, build: u64, plugin: PluginId, call: CallId, reply: RedisReply) {
        let Some(vm) = self.live().filter(|_| build == self.build.get()) else { return };
        tracing::debug!(call = call.get(), outcome = reply.word(), "a Redis call of a filter ended");
        let Some(plugin) = self.find(|known| known.is_at(build, plugin)) else { return };
        // A failure is noted in it.
        let _ = plugin.aside(Phase::CallResponse, || vm.on_redis_call_response(call, Rc::new(reply)));
    }

    /// A timer of the VM of `build` went off; one of an earlier VM has nothing to say any more.
    pub(super) fn tick(&self, build: u64, id: PluginId) {
        let Some(vm) = self.live().filter(|_| build == self.build.get()) else { return };
        let Some(plugin) = self.find(|plugin| plugin.is_at(build, id)) else { return };
        if plugin.is_circuit_open() {
            return;
        }
        // A failure is noted in it.
        let _ = plugin.aside(Phase::Tick, || vm.on_tick(id));
    }
}
