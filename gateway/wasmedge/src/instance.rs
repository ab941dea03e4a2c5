//! A module with memory of its own, ready to be called.

use crate::context::{Context, Core, Entered};
use crate::func::Func;
use crate::harden::local;
use crate::linker::{HostModules, Linker};
use crate::mailbox::Posted;
use crate::memory::Memory;
use crate::meter::Entry;
use crate::module::Module;
use crate::raw::{self, Executor, ModuleInstance};
use crate::trap::Trap;
use crate::types::{ExternType, FuncType, ValType};
use crate::value::{WasmParams, WasmResults};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wasmedge_sys::ffi;

/// CPU time that a module's start function may take.
pub const START_BUDGET: Duration = Duration::from_secs(1);

/// What an instance may grow to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceLimits {
    /// Pages of 64 KiB, at most 65 536. A module that declares more than this from the start is
    /// refused; growing beyond it fails inside the guest, as `memory.grow` may.
    pub memory_pages_max: u32,
}

impl Default for InstanceLimits {
    /// 16 MiB.
    fn default() -> Self {
        Self { memory_pages_max: 256 }
    }
}

/// Why an instance could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstantiateError {
    /// The module imports something that the linker does not have.
    #[error("import `{module}`.`{name}` ({ty}) is not provided")]
    UnresolvedImport {
        /// Module name of the import.
        module: String,
        /// Field name of the import.
        name: String,
        /// What the module expects.
        ty: ExternType,
    },
    /// The module imports a host function by another type.
    #[error("import `{module}`.`{name}` should be a function {wanted}, but the host's is {found}")]
    ImportType {
        /// Module name of the import.
        module: String,
        /// Field name of the import.
        name: String,
        /// What the module expects.
        wanted: FuncType,
        /// What the linker has.
        found: Box<FuncType>,
    },
    /// The module's memory starts larger than the limit.
    #[error("the module needs {declared} pages of memory from the start, but may have {limit}")]
    MemoryMinimum {
        /// Pages that the module declares.
        declared: u32,
        /// Pages that [`InstanceLimits`] allows.
        limit: u32,
    },
    /// The thread was not made by [`crate::spawn_guarded`]: guest code could leave its stack.
    #[error("instances may only be made on a guarded thread")]
    UnguardedThread,
    /// The start function, or a segment that does not fit, ended the instantiation.
    #[error("the module's start failed: {0}")]
    Start(#[source] Trap),
    /// The library could not allocate.
    #[error("out of memory or address space")]
    OutOfMemory,
    /// Anything else the library says.
    #[error("instantiation failed: {0}")]
    Engine(String),
}

/// An instance over the embedder's state `S`. It stays on the thread that made it.
pub struct Instance<S: 'static> {
    // Dropped in this order: the guest's instance before what it refers to.
    raw: Option<ModuleInstance>,
    context: NonNull<Context<S>>,
    _executor: Rc<Executor>,
    _host: Rc<HostModules>,
}

impl<S: 'static> std::fmt::Debug for Instance<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("id", &self.context().core.id).finish_non_exhaustive()
    }
}

impl<S: 'static> Instance<S> {
    /// Makes an instance of `module` with the host functions of `linker` and runs its start
    /// function, if it has one, under [`START_BUDGET`].
    ///
    /// Takes some 40 µs, 12 GiB of address space for its memory and as much for a mailbox, and the memory the guest
    /// touches.
    ///
    /// # Errors
    /// See [`InstantiateError`].
    pub fn new(
        module: &Module,
        linker: &Linker<S>,
        limits: InstanceLimits,
        state: S,
    ) -> Result<Self, InstantiateError> {
        if !local::is_guarded() {
            return Err(InstantiateError::UnguardedThread);
        }
        let declared = module.memory_pages_min();
        if declared > limits.memory_pages_max {
            return Err(InstantiateError::MemoryMinimum { declared, limit: limits.memory_pages_max });
        }
        linker.check(module)?;
        let host = linker.host_modules()?;
        let executor = host.executor(limits.memory_pages_max)?;
        let core = Core::new(next_id(), module.clone(), executor.get());
        let context = NonNull::from(Box::leak(Box::new(Context { core, state })));
        let mut instance = Self { raw: None, context, _executor: executor, _host: host };
        instance.instantiate(module)?;
        Ok(instance)
    }

    /// The embedder's state.
    pub fn state(&self) -> &S {
        &self.context().state
    }

    /// Looks up an exported function; `None` if it is absent or has another type than
    /// `P -> R`. Do this once and keep the answer: a look-up costs more than a call.
    pub fn func<P: WasmParams, R: WasmResults>(&self, name: &str) -> Option<Func<P, R>> {
        let core = &self.context().core;
        if !core.source.has_func(name, P::TYPES, R::TYPES) {
            return None;
        }
        Func::find(core, name)
    }

    /// Looks up an added entry; `None` if the module lacks one of its functions. `P` must be its
    /// parameters: i32s, as many as it says. What it gives is read by [`crate::Reached`].
    pub fn entry<P: WasmParams>(&self, entry: &Entry) -> Option<Func<P, u64>> {
        let is_its = P::TYPES.len() == entry.params() && P::TYPES.iter().all(|ty| *ty == ValType::I32);
        is_its.then(|| Func::find(&self.context().core, entry.name)).flatten()
    }

    /// The step of the entry that was called last, counted from 0: where it trapped, if it did.
    pub fn step(&self) -> u32 {
        self.context().core.step()
    }

    /// Calls `f` with `params` under a `budget` of CPU time.
    ///
    /// The budget covers nested calls and the time of host functions; how exactly it is kept is
    /// said in the crate's documentation under "Budget".
    ///
    /// # Errors
    /// See [`Trap`]. The instance can be called again afterwards.
    #[inline]
    pub fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        f: &Func<P, R>,
        params: P,
        budget: Duration,
    ) -> Result<R, Trap> {
        let core = &self.context().core;
        core.budget.begin(budget);
        let entered = Entered::new(core);
        let result = f.invoke(core, params);
        drop(entered);
        if core.budget.is_timed() {
            core.end_timed_call();
        }
        result
    }

    /// Lets the guest post changes of header maps from now on, instead of calling for each: whoever does
    /// must ask for them in every host function ([`crate::Caller::take_posted`]) and after every call. Nothing is
    /// posted in a module without a mailbox (see `meter::mailbox`).
    pub fn open_mailbox(&self) {
        self.context().core.mailbox.open();
    }

    /// Takes out the changes that the guest has posted and no host function has taken, in order.
    #[inline]
    pub fn take_posted(&mut self, f: impl FnMut(Posted<'_>)) {
        let mailbox = &self.context().core.mailbox;
        if mailbox.has_posted() {
            mailbox.take_posted(f);
        }
    }

    /// The guest's memory, for looking at between calls.
    pub fn memory(&self) -> Memory<'_> {
        Memory::new(&self.context().core)
    }

    /// Present size of the guest's memory in pages of 64 KiB.
    pub fn memory_pages(&self) -> u32 {
        self.context().core.pages()
    }

    /// Fuel used by all calls since the instance was made, the start function included.
    ///
    /// Exact and reproducible: the same calls with the same data use the same fuel on any
    /// machine. A unit is roughly one WebAssembly instruction. Take the difference of two
    /// readings for the cost of what lies between.
    pub fn fuel_used(&self) -> u64 {
        let core = &self.context().core;
        core.budget.used(core.read_fuel())
    }

    fn context(&self) -> &Context<S> {
        // SAFETY: made from a box in `new`, freed only in `drop`, never borrowed exclusively.
        unsafe { self.context.as_ref() }
    }

    fn instantiate(&mut self, module: &Module) -> Result<(), InstantiateError> {
        let core = &self.context().core;
        core.budget.begin(START_BUDGET);
        let entered = Entered::new(core);
        let mut pointer = ptr::null_mut();
        // SAFETY: executor, store and module are alive; the executor is this thread's own.
        let result = unsafe {
            ffi::WasmEdge_ExecutorInstantiate(core.executor, &mut pointer, self._host.store(), module.ast())
        };
        drop(entered);
        // SAFETY: a new instance that is owned here, or null.
        let raw = unsafe { ModuleInstance::new(pointer) };
        if result.Code != 0 {
            let error = start_error(core, result);
            // What a host function bound during the start is gone.
            drop(raw);
            return Err(error);
        }
        let raw = raw.ok_or(InstantiateError::OutOfMemory)?;
        core.bind(raw.get());
        if core.budget.is_timed() {
            core.end_timed_call();
        }
        self.raw = Some(raw);
        Ok(())
    }
}

impl<S: 'static> Drop for Instance<S> {
    fn drop(&mut self) {
        self.raw = None;
        // SAFETY: made by `Box::leak` in `new`; no call is under way, since calls borrow `self`.
        drop(unsafe { Box::from_raw(self.context.as_ptr()) });
    }
}

/// Codes of the execution phase are traps; others are the library's own troubles.
fn start_error(core: &Core, result: ffi::WasmEdge_Result) -> InstantiateError {
    let stated = core.trap.get().is_some();
    match core.take_trap(result) {
        Trap::Other(_) if !stated => InstantiateError::Engine(raw::message(result)),
        trap => InstantiateError::Start(trap),
    }
}

/// Distinguishes instances, over all threads, for [`Func`].
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
