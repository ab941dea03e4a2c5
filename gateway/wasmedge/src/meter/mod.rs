//! The metering pass: how a guest's work is counted and stopped.
//!
//! What: [`inspect()`] and [`frame`] refuse what cannot be metered or compiled safely; [`rewrite()`] adds a global
//! that counts fuel down, and code that takes from it, at every loop head, at the entry of every
//! function that calls or is long, and before every bulk operation by its length. Below zero the
//! guest calls [`REFILL`], an import, which puts a new slice into the counter or traps.
//!
//! [`fuse`] adds entries that run several of the guest's functions in one call, and [`mailbox`] spares calls
//! out of it.
//!
//! Why not WasmEdge's own ways: its gas metering made call-heavy code nine times slower, its
//! timeout corrupts the heap, and its interruptible code makes interpreters useless and misses
//! loops made of tail calls.
//!
//! How the guest is kept away from it: names that begin with [`RESERVED`] are refused in the
//! source module, indices are renumbered around the new items, so that no instruction of the
//! source can name them, and the only module that could import the exported counter would be a
//! second one, which this crate never links to a first.
//!
//! Limits: see [`crate::compile::ModuleLimits`]. One charge is at most 2^32 units and each slice
//! is above zero, so that the 64-bit counter cannot wrap.

mod frame;
mod fuse;
mod inspect;
mod mailbox;
mod proposals;
mod refusal;
mod rewrite;
mod weigh;

pub use fuse::{BEGIN, END, Entry, Reached};
pub use proposals::unsupported_proposals;
pub use refusal::Refusal;

pub(crate) use inspect::inspect;
pub(crate) use rewrite::rewrite;

use crate::compile::ModuleLimits;
use crate::types::FuncType;

/// Whether the compiler would take `wasm`: all that can be said without compiling it.
///
/// # Errors
/// Why not.
pub fn vet(wasm: &[u8], limits: &ModuleLimits) -> Result<(), Refusal> {
    inspect(wasm, limits)?;
    rewrite(wasm, limits).map(drop)
}

/// Part of the cache key: change it with anything that changes what the pass emits.
pub(crate) const PASS_VERSION: &str = "meter 4";

/// Beginning of all import modules and exports that the pass adds.
pub(crate) const RESERVED: &str = "tollgate:";
/// Module of the pass's import.
pub(crate) const MODULE: &str = "tollgate:meter";
/// Name of the pass's import: gives the counter a new value, or traps.
pub(crate) const REFILL: &str = "refill";
/// The exported counter, for the host to read.
pub(crate) const FUEL_EXPORT: &str = "tollgate:fuel";
/// The memory under a name of our own, whatever the source exports.
pub(crate) const MEMORY_EXPORT: &str = "tollgate:memory";

/// The memory of the mailbox, in a module that has one.
pub(crate) const MAILBOX_EXPORT: &str = "tollgate:mailbox";

/// Exported with entries: the step of the entry that runs.
pub(crate) const STEP_EXPORT: &str = "tollgate:step";
/// Exported with entries: whether the entry that runs is to stop after its step.
pub(crate) const SPLIT_EXPORT: &str = "tollgate:split";

/// Type of [`REFILL`].
pub(crate) fn refill_type() -> FuncType {
    FuncType::new(&[], &[])
}

#[cfg(test)]
mod tests;
