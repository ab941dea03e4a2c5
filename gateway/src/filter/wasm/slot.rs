//! One VM of a worker, and its replacement when it fails.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_proxy_wasm::{HostFunctions, PluginId, StartError, Vm, VmSpec};
use tollgate_wasmedge::{Module, OptLevel};

use super::backoff::{Backoff, Cost};
use super::environment::{Environment, Guests};
use super::plugin::Plugin;
use crate::filter::exchange::Exchange;
use crate::policy::filter::WasmFilter;

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
    start_budget: Duration,
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
            start_budget: filter.start_budget,
        }
    }

    fn spec(&self) -> VmSpec {
        let variable = |(name, value): &(Arc<str>, Arc<str>)| (name.to_string(), value.to_string());
        VmSpec {
            vm_id: Arc::clone(&self.vm_id),
            configuration: Arc::clone(&self.configuration),
            environment: self.environment.iter().map(variable).collect(),
            memory_pages_max: self.memory_pages_max,
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
    /// Exchanges that the VM has held back, to be woken when it fails; dead ones are left out now and
    /// then, so their number is bounded by that of exchanges.
    held: RefCell<Vec<Weak<Exchange>>>,
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
            backoff: RefCell::default(),
            held: RefCell::default(),
        })
    }

    /// What it is.
    pub fn key(&self) -> &VmKey {
        &self.key
    }

    /// A filter in this VM that lives, if its definition is this one.
    pub(super) fn plugins(&self) -> Vec<Rc<Plugin>> {
        self.plugins.borrow().iter().filter_map(Weak::upgrade).collect()
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
        let environment = Rc::new(Environment::new(Arc::clone(&self.guests), Rc::downgrade(self)));
        let vm = Vm::new(&self.module, &self.functions, self.key.spec(), environment)
            .inspect_err(|_| self.failed(Cost::Time))?;
        let vm = Rc::new(vm);
        self.current.replace(Some(Rc::clone(&vm)));
        self.build.set(self.build.get() + 1);
        Ok(Some(Live { vm, build: self.build.get() }))
    }

    /// A callback failed the VM.
    pub(super) fn failed(&self, cost: Cost) {
        self.backoff.borrow_mut().failed(cost, Instant::now());
        for exchange in self.held.take().iter().filter_map(Weak::upgrade) {
            exchange.signals.wake();
        }
    }

    /// Has the exchange look again when the VM fails.
    pub(super) fn hold(&self, exchange: &Rc<Exchange>) {
        let mut held = self.held.borrow_mut();
        if held.len() == held.capacity() {
            held.retain(|exchange| exchange.strong_count() > 0);
        }
        held.push(Rc::downgrade(exchange));
    }

    /// An exchange went well.
    pub(super) fn went_well(&self) {
        if !self.backoff.borrow().is_clear() {
            self.backoff.borrow_mut().went_well();
        }
    }

    /// The VM, if it is there and works.
    pub(super) fn live(&self) -> Option<Rc<Vm<Environment>>> {
        self.current.borrow().as_ref().filter(|vm| vm.failed().is_none()).cloned()
    }

    /// The number of the current build.
    pub(super) fn build(&self) -> u64 {
        self.build.get()
    }

    /// Whether guest code is kept from running after failures.
    pub fn is_circuit_open(&self) -> bool {
        self.backoff.borrow().is_resting(Instant::now())
    }

    /// A timer went off.
    pub(super) fn tick(self: &Rc<Self>, plugin: PluginId) {
        let Some(vm) = self.live() else { return };
        if let Err(failure) = vm.on_tick(plugin) {
            tracing::warn!(%failure, "a filter failed in its timer");
            self.failed(Cost::of(&failure));
        }
    }
}
