//! The functions a guest imports, one file per family, and the state they work on.
//!
//! Order of a call: the engine hands over the caller and the arguments; [`host_functions`] refuses the call if
//! the guest is restricted; the function reads what the guest points to (bounds and limits checked),
//! asks the exchange or the environment, and answers a status that SDKs tolerate.
//!
//! *Restricted*: while the module initialises and while its allocator runs, only log, clock,
//! arguments, environment and random may be called. Anything else traps.
//!
//! Nothing here calls a guest but [`memory::return_bytes`], which runs the allocator.

mod buffers;
pub(crate) mod calls;
mod foreign;
mod grpc;
pub(crate) mod headers;
mod http_call;
mod lifecycle;
mod log_time;
mod memory;
mod metrics;
mod properties;
mod queues;
mod redis;
mod refused;
mod shared;
mod support;
mod upstreams;
mod wasi;

pub use support::Support;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tollgate_wasmedge::{Func, FuncType, Linker};

use crate::abi::status::Status;
use crate::abi::{AbiVersion, LogLevel};
use crate::capabilities::Capabilities;
use crate::environment::{Environment, Refusal, RefusalReason, Stream};
use crate::plugin::{Plugin, VmSpec};
use crate::shared_data::Namespace;
use crate::vm::contexts::Contexts;
use crate::vm::error::GuestLog;
use calls::Calls;

/// What the engine keeps for each instance. Shared with the VM, so that it needs no instance to
/// reach it, and so that a host function can hold it while it runs the allocator.
pub(crate) type State<E> = Rc<Host<E>>;

const ENV: &str = "env";

/// The host functions of the ABI and of WASI, ready to be linked to any module. Build one for each
/// worker and environment type.
pub struct HostFunctions<E: Environment> {
    all: SharedLinker<E>,
    /// Those for guests that may not call all of them, made when the first comes.
    restricted: RefCell<Vec<(Capabilities, SharedLinker<E>)>>,
    /// Makes a linker without functions.
    linker: fn() -> Linker<State<E>>,
}

type SharedLinker<E> = Rc<Linker<State<E>>>;

/// Sets of functions kept for the next VM. A policy has a few; the oldest goes first.
const RESTRICTED_KEPT: usize = 64;

impl<E: Environment> HostFunctions<E> {
    /// All functions: the 39 of Proxy-Wasm 0.2.1, the four of 0.1.0 that old SDK headers still
    /// import, those of Higress's dialect, and WASI preview 1 under both of its module names.
    pub fn new() -> Self {
        Self::linked(Linker::new)
    }

    /// The same functions, and [`Self::calls`] of them, for tools.
    pub fn counting() -> Self {
        Self::linked(Linker::counting)
    }

    fn linked(linker: fn() -> Linker<State<E>>) -> Self {
        let all = Rc::new(link(linker(), Capabilities::ALL));
        Self { all, restricted: RefCell::default(), linker }
    }

    /// Functions that guests called, by module and name, and how often. Nothing but for
    /// [`Self::counting`].
    pub fn calls(&self) -> BTreeMap<(String, String), u64> {
        let restricted = self.restricted.borrow();
        let mut sums = BTreeMap::new();
        for linker in restricted.iter().map(|(_, linker)| linker).chain([&self.all]) {
            for (module, name, calls) in linker.calls() {
                *sums.entry((module.to_owned(), name.to_owned())).or_default() += calls;
            }
        }
        sums
    }

    /// Every function that a module may import: module, name, type; sorted by module and name.
    pub fn types(&self) -> impl Iterator<Item = (&str, &str, &FuncType)> {
        self.all.types()
    }

    /// The functions for a guest of these capabilities. One that may call all of them pays nothing.
    pub(crate) fn linker(&self, allowed: Capabilities) -> SharedLinker<E> {
        if allowed == Capabilities::ALL {
            return Rc::clone(&self.all);
        }
        let mut restricted = self.restricted.borrow_mut();
        if let Some((_, known)) = restricted.iter().find(|(of, _)| *of == allowed) {
            return Rc::clone(known);
        }
        if restricted.len() >= RESTRICTED_KEPT {
            restricted.remove(0);
        }
        let linker = Rc::new(link((self.linker)(), allowed));
        restricted.push((allowed, Rc::clone(&linker)));
        linker
    }
}

fn link<E: Environment>(mut linker: Linker<State<E>>, allowed: Capabilities) -> Linker<State<E>> {
    log_time::link(&mut linker);
    lifecycle::link(&mut linker);
    headers::link(&mut linker);
    buffers::link(&mut linker);
    properties::link(&mut linker);
    shared::link(&mut linker);
    queues::link(&mut linker);
    foreign::link(&mut linker);
    metrics::link(&mut linker);
    http_call::link(&mut linker);
    upstreams::link(&mut linker);
    grpc::link(&mut linker);
    redis::link(&mut linker);
    wasi::link(&mut linker);
    refused::link(&mut linker, allowed);
    linker
}

impl<E: Environment> Default for HostFunctions<E> {
    fn default() -> Self {
        Self::new()
    }
}

/// Links functions that answer a status, and counts their calls. The name of the module is always
/// `env`. `restricted` ones trap while the guest is restricted, `open` ones never do.
macro_rules! host_functions {
    ($linker:ident, open, $($name:literal => $function:path),+ $(,)?) => {
        $($linker.func($crate::host::ENV, $name, |caller, args| {
            caller.state().count_call(const { $crate::host_calls::index_of($name) });
            $function(caller, args).map(|s| s.wire())
        });)+
    };
    ($linker:ident, restricted, $($name:literal => $function:path),+ $(,)?) => {
        $($linker.func($crate::host::ENV, $name, |caller, args| {
            $crate::host::headers::do_posted(caller);
            caller.state().count_call(const { $crate::host_calls::index_of($name) });
            if caller.state().is_restricted() || caller.is_allocating() {
                return Err(::tollgate_wasmedge::Trap::Host(concat!($name, " called from the allocator or during initialisation")));
            }
            $function(caller, args).map(|s| s.wire())
        });)+
    };
}
use host_functions;

/// What the host functions of one VM work on.
pub(crate) struct Host<E: Environment> {
    pub(crate) abi: AbiVersion,
    pub(crate) env: Rc<E>,
    pub(crate) spec: VmSpec,
    pub(crate) contexts: RefCell<Contexts<E::Stream>>,
    /// Contexts for which the guest called `proxy_done`, until the running callback returns.
    pub(crate) done: RefCell<Vec<u32>>,
    /// Side calls under way, and the reply that is being delivered.
    pub(crate) calls: RefCell<Calls>,
    /// Functions it was told that it may not call, each once.
    refusals_told: RefCell<Vec<&'static str>>,
    /// The guest's last lines while a plugin starts.
    pub(crate) start_log: RefCell<Option<GuestLog>>,
    /// The exports this side calls from inside host functions; set once the instance exists.
    pub(crate) allocate: OnceCell<Func<u32, u32>>,
    /// Whether `proxy_on_vm_start` runs: ABI 0.1.0 reads both configurations by one call.
    pub(crate) in_vm_start: Cell<bool>,
    restricted: Cell<bool>,
    active: RefCell<Active<E>>,
    /// The context whose callback runs; the guest may have made another one active.
    running: Cell<u32>,
    /// Whether the exchange whose callback runs was answered or closed during it.
    stopped: Cell<bool>,
    shared: Arc<Namespace>,
    scratch: Cell<Vec<u8>>,
}

/// The context that host functions act on.
pub(crate) struct Active<E: Environment> {
    pub(crate) context: u32,
    pub(crate) plugin: Option<Rc<Plugin>>,
    pub(crate) stream: Option<Rc<E::Stream>>,
}

impl<E: Environment> Active<E> {
    /// Outside any callback.
    pub(crate) const fn none() -> Self {
        Self { context: 0, plugin: None, stream: None }
    }
}

impl<E: Environment> Host<E> {
    /// The state of a VM that has not been initialised: restricted.
    pub(crate) fn new(abi: AbiVersion, spec: VmSpec, env: Rc<E>) -> Self {
        let shared = env.shared_data().namespace(&spec.vm_id);
        Self {
            abi,
            env,
            spec,
            contexts: RefCell::default(),
            done: RefCell::default(),
            calls: RefCell::default(),
            refusals_told: RefCell::default(),
            start_log: RefCell::default(),
            allocate: OnceCell::new(),
            in_vm_start: Cell::new(false),
            restricted: Cell::new(true),
            active: RefCell::new(Active::none()),
            running: Cell::new(0),
            stopped: Cell::new(false),
            shared,
            scratch: Cell::default(),
        }
    }

    /// Makes a context the one that host functions act on, for one callback.
    pub(crate) fn enter(&self, active: Active<E>) {
        self.running.set(active.context);
        self.stopped.set(false);
        self.set_active(active);
    }

    /// Ends a callback; returns whether the guest answered or closed the exchange it ran for.
    pub(crate) fn leave(&self) -> bool {
        self.set_active(Active::none());
        self.stopped.get()
    }

    /// Notes that the guest answered or closed the active exchange.
    fn stop(&self) {
        if self.context() == self.running.get() {
            self.stopped.set(true);
        }
    }

    /// What was active goes after the borrow has ended: its drop may be the gateway's code.
    fn set_active(&self, active: Active<E>) {
        drop(self.active.replace(active));
    }

    /// Counts a host call of the active plugin.
    #[inline]
    fn count_call(&self, function: usize) {
        if let Some(plugin) = &self.active.borrow().plugin {
            plugin.host_calls().count(function);
        }
    }

    pub(crate) fn is_restricted(&self) -> bool {
        self.restricted.get()
    }

    /// Sets the restriction and returns what it was.
    pub(crate) fn set_restricted(&self, restricted: bool) -> bool {
        self.restricted.replace(restricted)
    }

    /// The exchange that host functions act on. A clone, so that no borrow is held while the
    /// gateway's code runs.
    fn stream(&self) -> Option<Rc<E::Stream>> {
        self.active.borrow().stream.clone()
    }

    fn plugin(&self) -> Option<Rc<Plugin>> {
        self.active.borrow().plugin.clone()
    }

    fn context(&self) -> u32 {
        self.active.borrow().context
    }

    /// Records that a write was not done, and answers what keeps SDKs from panicking.
    fn refuse(&self, function: &'static str, reason: impl Into<RefusalReason>) -> Status {
        let refusal = Refusal { function, reason: reason.into() };
        match self.stream() {
            Some(stream) => stream.refuse(refusal),
            None => self.log(LogLevel::Warn, format!("refused by the host: {refusal}").as_bytes()),
        }
        Status::Ok
    }

    /// Runs a write on the active exchange; the guest sees OK, a failure is recorded.
    fn write<X: Into<RefusalReason>>(
        &self,
        function: &'static str,
        write: impl FnOnce(&E::Stream) -> Result<(), X>,
    ) -> Status {
        let Some(stream) = self.stream() else {
            return self.refuse(function, RefusalReason::Unavailable);
        };
        match write(&stream) {
            Ok(()) => Status::Ok,
            Err(error) => self.refuse(function, error),
        }
    }

    /// Passes a line on and, while a plugin starts, keeps it to explain a failure.
    fn log(&self, level: LogLevel, message: &[u8]) {
        if let Some(lines) = &mut *self.start_log.borrow_mut() {
            lines.push(level, message);
        }
        if level >= self.env.log_level() {
            let active = self.active.borrow();
            self.env.log(active.plugin.as_deref(), active.stream.as_deref(), level, message);
        }
    }

    /// Whether a line of this level goes anywhere.
    fn wants_log(&self, level: LogLevel) -> bool {
        level >= self.env.log_level() || self.start_log.borrow().is_some()
    }

    /// Runs `f` with a buffer that keeps its memory from call to call.
    fn with_scratch<R>(&self, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut scratch = self.scratch.take();
        let result = f(&mut scratch);
        if scratch.capacity() <= crate::limits::SCRATCH_BYTES_KEPT {
            self.scratch.set(scratch);
        }
        result
    }
}
