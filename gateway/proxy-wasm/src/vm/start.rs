//! How a VM and a plugin come up.
//!
//! VM: ABI marker → allocator → instance → `_initialize` and `main`, or `_start` (restricted).
//! Plugin: `proxy_on_context_create` → `proxy_on_vm_start` → `proxy_on_configure`, all under the start
//! budget. As the C++ host does, `proxy_on_vm_start` runs for every plugin: SDKs give each root
//! context its own. So a refusal there concerns that plugin, not those that serve already.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use tollgate_wasmedge::{Func, Instance, InstanceLimits, Module, Trap};

use super::Vm;
use super::exports::{Exports, Finder, U2, name};
use crate::abi::AbiVersion;
use crate::capabilities::Capabilities;
use crate::environment::Environment;
use crate::host::{Active, Host, HostFunctions};
use crate::plugin::{Plugin, PluginId, PluginSpec, VmSpec};
use crate::vm::error::{Failure, GuestLog, StartError};

/// What to run before the first context.
enum Entry {
    Reactor { initialize: Func<(), ()>, main: Option<Main> },
    Command(Func<(), ()>),
    None,
}

enum Main {
    Arguments(Func<U2, u32>),
    Void(Func<(), u32>),
}

impl<E: Environment> Vm<E> {
    /// Makes an instance of `module` and initialises it. Takes some 50 µs and what the module itself
    /// does. Must run on a guarded thread ([`tollgate_wasmedge::spawn_guarded`]).
    pub fn new(
        module: &Module,
        functions: &HostFunctions<E>,
        spec: VmSpec,
        env: Rc<E>,
    ) -> Result<Self, StartError> {
        let abi = find_abi(module)?;
        let linker = functions.linker(spec.capabilities);
        let limits = InstanceLimits { memory_pages_max: spec.memory_pages_max };
        let host = Rc::new(Host::new(abi, spec, env));
        host.start_log.replace(Some(GuestLog::default()));
        let instance = Instance::new(module, &linker, limits, Rc::clone(&host));
        let instance = instance.map_err(|error| StartError::Instantiate(Box::new(error)))?;
        let find = Finder { instance: &instance, module };
        let entry = Entry::find(&find)?;
        let allocate = find_allocator(&find)?;
        host.allocate.get_or_init(|| allocate);
        let exports = Exports::look_up(&instance, module, abi)?;
        let vm = Self { host, instance: RefCell::new(instance), exports, failure: OnceCell::new() };
        let result = vm.initialize(&entry);
        let log = vm.take_start_log();
        result.map_err(|failure| StartError::Failed { failure, log })?;
        vm.host.set_restricted(false);
        // Posted changes are neither asked for a permission nor seen by a linker that counts calls.
        if vm.host.spec.capabilities == Capabilities::ALL && !linker.is_counting() {
            vm.instance.borrow().open_mailbox();
        }
        Ok(vm)
    }

    /// Starts a plugin. If the guest refuses it, the VM goes on without it; on a trap or a spent
    /// budget the VM is failed, with all that runs in it.
    pub fn add_plugin(&self, spec: PluginSpec) -> Result<PluginId, StartError> {
        self.host.start_log.replace(Some(GuestLog::default()));
        let id = self.host.contexts.borrow_mut().next_id();
        let plugin = Rc::new(Plugin::new(PluginId::new(id), spec));
        self.host.contexts.borrow_mut().insert(id, Rc::clone(&plugin), None);
        let result = self.start_plugin(&plugin);
        let log = self.take_start_log();
        let refused = match result {
            Ok(Started::Yes) => return Ok(plugin.id()),
            Ok(Started::ConfigurationRefused) => StartError::ConfigurationRefused { log },
            Ok(Started::VmRefused) => StartError::VmRefused { log },
            Err(failure) => StartError::Failed { failure, log },
        };
        self.remove_plugin(plugin.id());
        Err(refused)
    }

    fn initialize(&self, entry: &Entry) -> Result<(), Failure> {
        match entry {
            Entry::Reactor { initialize, main } => {
                self.run(name::INITIALIZE, initialize, ())?;
                match main {
                    Some(Main::Arguments(main)) => self.run(name::MAIN, main, (0, 0)).map(drop),
                    Some(Main::Void(main)) => self.run(name::MAIN_VOID, main, ()).map(drop),
                    None => Ok(()),
                }
            }
            Entry::Command(start) => self.run(name::START, start, ()),
            Entry::None => Ok(()),
        }
    }

    /// Runs an entry point. A command that ends itself with status 0 has started.
    fn run<P, R>(&self, entry: &'static str, function: &Func<P, R>, params: P) -> Result<R, Failure>
    where
        P: tollgate_wasmedge::WasmParams,
        R: tollgate_wasmedge::WasmResults + Default,
    {
        let mut instance = self.instance.try_borrow_mut().map_err(|_| Failure::Reentered)?;
        match instance.call(function, params, self.host.spec.start_budget) {
            Ok(result) => Ok(result),
            Err(Trap::Exit(0)) if entry == name::START => Ok(R::default()),
            Err(trap) => Err(self.fail(Failure::from_trap(entry, trap))),
        }
    }

    fn start_plugin(&self, plugin: &Rc<Plugin>) -> Result<Started, Failure> {
        let id = plugin.id().get();
        let budget = self.host.spec.start_budget;
        let active = || Active { context: id, plugin: Some(Rc::clone(plugin)), stream: None };
        if self.failed().is_some() {
            return Err(Failure::Broken);
        }
        if let Some(create) = &self.exports.context_create {
            self.call(name::CONTEXT_CREATE, create, (id, 0), active(), budget)?;
        }
        if let Some(vm_start) = &self.exports.vm_start {
            let size = length(&self.host.spec.configuration);
            self.host.in_vm_start.set(true);
            let started = self.call(name::VM_START, vm_start, (id, size), active(), budget);
            self.host.in_vm_start.set(false);
            if started?.value == 0 {
                return Ok(Started::VmRefused);
            }
        }
        let Some(configure) = &self.exports.configure else { return Ok(Started::Yes) };
        let size = length(&plugin.spec().configuration);
        match self.call(name::CONFIGURE, configure, (id, size), active(), budget)?.value {
            0 => Ok(Started::ConfigurationRefused),
            _ => Ok(Started::Yes),
        }
    }

    fn take_start_log(&self) -> GuestLog {
        self.host.start_log.take().unwrap_or_default()
    }
}

/// What the guest answered to its start.
enum Started {
    Yes,
    VmRefused,
    ConfigurationRefused,
}

impl Entry {
    /// `_start` only counts without `_initialize`.
    fn find<E: Environment>(find: &Finder<'_, E>) -> Result<Self, StartError> {
        if let Some(initialize) = find.func(name::INITIALIZE)? {
            return Ok(Self::Reactor { initialize, main: Main::find(find) });
        }
        Ok(find.func(name::START)?.map_or(Self::None, Self::Command))
    }
}

impl Main {
    /// A `main` of another type is not C's, and not for the host to call.
    fn find<E: Environment>(find: &Finder<'_, E>) -> Option<Self> {
        let main = find.instance.func(name::MAIN).map(Self::Arguments);
        main.or_else(|| find.instance.func(name::MAIN_VOID).map(Self::Void))
    }
}

fn find_abi(module: &Module) -> Result<AbiVersion, StartError> {
    if let Some(version) = AbiVersion::ALL.into_iter().find(|version| module.exports_func(version.marker())) {
        return Ok(version);
    }
    let others: Vec<&str> =
        module.exports().filter_map(|export| export.name.strip_prefix(AbiVersion::MARKER)).collect();
    if others.is_empty() {
        return Err(StartError::NoAbiMarker);
    }
    Err(StartError::UnsupportedAbi { found: others.join(", ") })
}

fn find_allocator<E: Environment>(find: &Finder<'_, E>) -> Result<Func<u32, u32>, StartError> {
    match find.func(name::ALLOCATE)? {
        Some(allocate) => Ok(allocate),
        None => find.func(name::MALLOC)?.ok_or(StartError::NoAllocator),
    }
}

/// Configurations come from a policy, whose size is limited far below 4 GiB.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
