//! One instance of a module, its plugins and its streams.
//!
//! Order: [`Vm::new`] checks the ABI and initialises the module ([`start`]); [`Vm::add_plugin`]
//! starts a filter; [`Vm::create_stream`], the `on_*` callbacks and [`Vm::finish`] serve an exchange
//! ([`callbacks`]) or a TCP connection ([`connection`]); [`Vm::remove_plugin`] ends a filter.
//!
//! A trap or a spent budget fails the VM for good: nothing inside a guest unwinds, so its state is
//! not to be trusted. From then on no guest call is made, every method answers
//! [`Failure::Broken`], and the gateway builds another VM.
//!
//! All methods take `&self`. A VM belongs to the thread that made it and must not be called from
//! inside its own callbacks ([`Failure::Reentered`]).

mod callbacks;
mod calls;
mod connection;
pub(crate) mod contexts;
pub(crate) mod error;
mod exports;
mod grpc;
mod start;

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tollgate_wasmedge::{Func, Instance, WasmParams, WasmResults};

pub use exports::Handles;

use crate::environment::Environment;
use crate::host::headers::do_one;
use crate::host::{Active, Host, State};
use crate::host_calls::HostCalls;
use crate::plugin::PluginId;
use crate::vm::error::Failure;
use exports::Exports;

const PAGE_BYTES: u64 = 64 << 10;

/// A module that runs, with the plugins and streams in it.
pub struct Vm<E: Environment> {
    host: Rc<Host<E>>,
    instance: RefCell<Instance<State<E>>>,
    exports: Exports,
    failure: OnceCell<Failure>,
}

/// What a callback of an exchange gave.
struct Returned<R> {
    value: R,
    /// The guest answered or closed the exchange itself.
    stopped: bool,
}

impl<E: Environment> Vm<E> {
    /// Why the VM is of no use any more, if it is not.
    pub fn failed(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// Which callbacks the module has, so that the gateway can leave out whole phases.
    pub fn handles(&self) -> Handles {
        self.exports.handles()
    }

    /// Contexts that live: plugins and streams, those that wait for `proxy_done` among them.
    pub fn contexts(&self) -> usize {
        self.host.contexts.borrow().len()
    }

    /// Contexts of one plugin that live, its own among them.
    pub fn contexts_of(&self, plugin: PluginId) -> usize {
        self.host.contexts.borrow().count_of(plugin)
    }

    /// The host calls of a plugin, which go on being counted here as long as it lives.
    pub fn host_calls(&self, plugin: PluginId) -> Option<Rc<HostCalls>> {
        let contexts = self.host.contexts.borrow();
        contexts.get(plugin.get()).map(|entry| Rc::clone(entry.plugin().host_calls()))
    }

    /// The guest's memory in bytes; 0 while a callback runs.
    pub fn memory_bytes(&self) -> u64 {
        self.instance.try_borrow().map_or(0, |instance| u64::from(instance.memory_pages()) * PAGE_BYTES)
    }

    /// Fuel that the guest has used since it was made, about one unit a WebAssembly instruction; 0
    /// while a callback runs.
    pub fn fuel_used(&self) -> u64 {
        self.instance.try_borrow().map_or(0, |instance| instance.fuel_used())
    }

    /// Runs one guest function with `active` as the context that host functions act on. The only
    /// place where this package calls a guest, its allocator aside.
    fn call<P: WasmParams, R: WasmResults>(
        &self,
        callback: &'static str,
        function: &Func<P, R>,
        params: P,
        active: Active<E>,
        budget: Duration,
    ) -> Result<Returned<R>, Failure> {
        self.call_steps(|_| callback, function, params, active, budget)
    }

    /// The same for an entry of several steps; `callback` names a step.
    fn call_steps<P: WasmParams, R: WasmResults>(
        &self,
        callback: impl FnOnce(u32) -> &'static str,
        function: &Func<P, R>,
        params: P,
        active: Active<E>,
        budget: Duration,
    ) -> Result<Returned<R>, Failure> {
        if self.failure.get().is_some() {
            return Err(Failure::Broken);
        }
        let Ok(mut instance) = self.instance.try_borrow_mut() else {
            return Err(Failure::Reentered);
        };
        self.host.enter(active);
        let result = instance.call(function, params, budget);
        instance.take_posted(|posted| do_one(&self.host, posted));
        let stopped = self.host.leave();
        match result {
            Ok(value) => Ok(Returned { value, stopped }),
            Err(trap) => Err(self.fail(Failure::from_trap(callback(instance.step()), trap))),
        }
    }

    /// Marks the VM as failed; the first reason stays.
    fn fail(&self, failure: Failure) -> Failure {
        self.failure.get_or_init(|| failure.clone());
        self.host.cancel_all_calls();
        failure
    }
}
