//! A hardened WasmEdge engine: compile, load, instantiate, call, meter.
//!
//! The way of a module:
//!
//! 1. [`Compiler`] meters it and compiles it ahead of time in a child process, and caches the
//!    native code: an [`Artifact`].
//! 2. [`Module::load`] maps the code; a [`Module`] is shared by all threads.
//! 3. A [`Linker`] per thread holds the host functions over the embedder's state.
//! 4. [`Instance::new`] on a thread made by [`spawn_guarded`]; [`Instance::func`] once for each
//!    export; [`Instance::call`] as often as there are requests.
//!
//! # What a guest cannot do
//!
//! Kill the process, by any fault, recursion or frame size, or a panic of a host function; run
//! longer than its budget; grow memory or tables beyond their limits; read or write anything
//! but its own memory; touch the meter. Each of these ends in a [`Trap`], and the next call
//! works. Nothing has to be switched on: the handlers are installed at the first load, instances
//! are refused on unguarded threads, and only metered code is ever loaded. `harden` and `meter`
//! say how.
//!
//! # Budget
//!
//! The budget of a call is CPU time of its thread, host functions and nested calls included. The
//! guest counts fuel; the clock is read only when a slice of fuel is spent. It starts at the
//! first refill of a call, so a call may have run for a slice (400 000 units, 50 to 300 µs as a
//! rule) that is not counted, and may overshoot by a slice, which is about a tenth of the budget.
//! Calls that stay within what an earlier one left of its slice read no clock. What the worst slice of a call
//! took beyond what guest code takes does not count: a hypervisor had the processor, or an interrupt. `budget` says
//! how much longer than its budget a guest can run so.
//!
//! A guest that exports `tollgate_on_budget_low` (no parameters, no results) is told, by a nested call of
//! it, when three quarters of a budget are gone: an interpreter can then end its script by itself.
//!
//! # Linux only
//!
//! On x86-64 and AArch64, with WasmEdge 0.17.1.

mod budget;
mod caller;
mod compile;
mod context;
mod func;
mod harden;
mod heap;
mod instance;
mod linker;
mod mailbox;
mod memory;
mod meter;
mod module;
mod raw;
mod thread;
mod trampoline;
mod trap;
mod types;
mod value;

pub use caller::Caller;
pub use compile::{
    Artifact, CacheError, CompileError, Compiler, CompilerOptions, Facts, ModuleLimits, OptLevel,
    compiler_child,
};
pub use func::Func;
pub use harden::HardenError;
pub use heap::trim_heap;
pub use instance::{Instance, InstanceLimits, InstantiateError, START_BUDGET};
pub use linker::Linker;
pub use mailbox::{Edit, Posted};
pub use memory::Memory;
pub use meter::{BEGIN, END, Entry, Reached, Refusal, unsupported_proposals, vet};
pub use module::{LoadError, Module};
pub use thread::{DEFAULT_STACK, GuardedThread, Panicked, run_guarded, spawn_guarded};
pub use trap::Trap;
pub use types::{Export, ExternType, FuncType, Import, ValType};
pub use value::{WasmParams, WasmResults, WasmValue};
