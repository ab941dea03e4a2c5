//! What the signal handler must know about the thread it runs on.
//!
//! Plain cells without destructors: reading them takes no lock and allocates nothing, which is
//! what a signal handler may do.

use crate::context::Core;
use std::cell::Cell;

/// State of one thread. All zero on a thread that [`crate::spawn_guarded`] did not make.
pub(crate) struct Local {
    /// Where the guard begins: the lowest address of the stack's mapping.
    pub(crate) guard_low: Cell<usize>,
    /// Where the reserve begins: the part of the guard that host code may be lent.
    pub(crate) reserve_low: Cell<usize>,
    /// Where the ordinary stack ends; below it lies the reserve.
    pub(crate) floor: Cell<usize>,
    /// The reserve is accessible at the moment.
    pub(crate) reserve_open: Cell<bool>,
    /// The last fault was guest code running into the guard.
    pub(crate) overflowed: Cell<bool>,
    /// The innermost instance that is being called; null outside calls.
    pub(crate) current: Cell<*const Core>,
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            guard_low: Cell::new(0),
            reserve_low: Cell::new(0),
            floor: Cell::new(0),
            reserve_open: Cell::new(false),
            overflowed: Cell::new(false),
            current: Cell::new(std::ptr::null()),
        }
    };
}

#[inline]
pub(crate) fn with<T>(f: impl FnOnce(&Local) -> T) -> T {
    LOCAL.with(f)
}

/// Whether this thread has the guard, the reserve and the alternate signal stack.
pub(crate) fn is_guarded() -> bool {
    with(|local| local.floor.get() != 0)
}

/// Stack that must be left when a host function starts: its own frames, those of the library
/// around it, and unwinding after a panic.
pub(crate) const HOST_STACK: usize = 256 * 1024;

/// Whether too little stack is left for a host function to run.
#[inline]
pub(crate) fn stack_is_short() -> bool {
    let marker = 0_u8;
    let here = std::ptr::from_ref(&marker).addr();
    with(|local| here < local.floor.get() + HOST_STACK)
}
