//! What keeps a guest's fault from becoming the process's.
//!
//! * [`park`]: WasmEdge installs its handlers for SIGSEGV and SIGFPE when the first guest call of
//!   the process enters, and removes them when the last one leaves; two threads at that edge lose
//!   a fault and with it the process. One thread parked inside a guest call for ever keeps them.
//! * [`signals`]: our handlers go in front of the library's. They run on an alternate stack, so
//!   that a guest may run out of its own, and hand on only faults of guest code.
//! * [`stack`]: a guard of 16 MiB under each thread's stack (compiled code does not probe its
//!   frames), and a reserve for host code that a guest's recursion caught short.
//! * [`host_code`]: tells guest code from host code by address.
//!
//! Order: [`init`] runs once, at the first load of a module, before any guest code; it parks,
//! then installs, then reads the handlers back. Threads are prepared by [`crate::spawn_guarded`],
//! and instances can be made on no other thread.
//!
//! Limits: x86-64 and AArch64 Linux. The facts about the library were read in WasmEdge 0.17.1;
//! `tests/faults.rs` must pass again at every upgrade.

pub(crate) mod host_code;
pub(crate) mod local;
pub(crate) mod park;
mod signals;
pub(crate) mod stack;

pub(crate) use stack::GUARD;

use crate::compile::Artifact;
use std::sync::{Mutex, PoisonError};

/// Why the process could not be made safe for guest code.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HardenError {
    /// The parking thread did not get into its guest call.
    #[error("no thread could be parked inside a guest call: {0}")]
    Park(String),
    /// The library did not install the handlers that this crate wraps.
    #[error("WasmEdge did not install a handler for signal {signal}")]
    NoEngineHandler {
        /// Signal number.
        signal: i32,
    },
    /// `sigaction` failed or did not take.
    #[error("the handler for signal {signal} could not be installed")]
    Install {
        /// Signal number.
        signal: i32,
    },
}

/// Makes the process safe for guest code, once. After a failure the next call tries again.
pub(crate) fn init(artifact: &Artifact) -> Result<(), HardenError> {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !*done {
        // Whatever is loaded by now is host code; compiled guests come after.
        host_code::learn();
        // SAFETY: only silences the library, which writes to standard output.
        unsafe { wasmedge_sys::ffi::WasmEdge_LogOff() };
        let previous = signals::current();
        park::park(artifact.park())?;
        signals::install(previous)?;
        *done = true;
    }
    Ok(())
}
