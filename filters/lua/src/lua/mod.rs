//! Lua's C API with types: the only place, beside [`crate::abi`] and [`crate::callbacks`], with unsafe code.
//!
//! [`Lua`] is a state or a thread of one, borrowed for as long as a callback runs.
//!
//! **Errors.** Whatever allocates or calls Lua may throw, and a throw leaves every Rust frame on its way
//! at once, as `longjmp` would: nothing is dropped. So what owns memory is dropped before anything is
//! thrown: functions take their arguments first (which may throw), then compute with Rust's values, and
//! return [`Raise`] for their own errors, which [`wrap`] throws when all is dropped. Only running out of
//! memory while a result is pushed leaks that one result, whose size is limited.
//!
//! **Soundness.** The pointers come from Lua or are the state's own and live while it does; every method
//! keeps to the stack's discipline that the manual gives for the call behind it. Indices are the caller's
//! affair: Lua's own checks are off, as in any C program, so callers only use those they have made.

pub(crate) mod ffi;
mod heap;
mod running;
mod stack;
mod syntax;
mod tables;

use std::ffi::c_int;
use std::fmt::Display;
use std::ptr;

pub(crate) use ffi::RawState;
pub(crate) use heap::Heap;

/// A state or thread, for one callback.
#[derive(Clone, Copy)]
pub(crate) struct Lua(*mut RawState);

/// A value kept alive in the registry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor(c_int);

/// An error that a function of ours raises in the script.
pub(crate) struct Raise(pub(crate) String);

impl<T: Display> From<T> for Raise {
    fn from(message: T) -> Self {
        Self(message.to_string())
    }
}

/// What functions of ours answer: how many results they have pushed.
pub(crate) type Returns = Result<c_int, Raise>;

/// How running a thread ended.
pub(crate) enum Resumed {
    /// It returned this many values, on its stack.
    Done(c_int),
    /// It waits.
    Yielded,
    /// It raised an error, on its stack.
    Failed,
}

/// Begins a callback's CPU time.
pub(crate) fn begin_budget() {
    // SAFETY: clears a flag of ours.
    unsafe { ffi::lua_budget_begin() };
}

/// Whether the callback that runs has little CPU time left, so that its script was stopped.
pub(crate) fn is_budget_low() -> bool {
    // SAFETY: reads a flag of ours.
    unsafe { ffi::lua_budget_is_low() }
}

/// Turns `fn(&Lua) -> Returns` into a function for Lua. Takes functions only, which have no state.
pub(crate) fn wrap<F: Fn(&Lua) -> Returns + 'static>(_: F) -> ffi::CFunction {
    unsafe extern "C-unwind" fn wrapped<F: Fn(&Lua) -> Returns>(raw: *mut RawState) -> c_int {
        const { assert!(size_of::<F>() == 0, "a function without state") };
        // SAFETY: a value without size can be read from anywhere; `wrap` was given one.
        let function = unsafe { ptr::NonNull::<F>::dangling().read() };
        // SAFETY: Lua calls this with a live thread.
        let lua = unsafe { Lua::new(raw) };
        match function(&lua) {
            Ok(results) => results,
            Err(raise) => lua.throw(raise),
        }
    }
    wrapped::<F>
}

/// Adds functions to the table on top of the stack.
macro_rules! functions {
    ($lua:expr, $($name:literal => $function:path),+ $(,)?) => {
        $($lua.push_function($crate::lua::wrap($function)); $lua.set_raw(-2, $name);)+
    };
}
pub(crate) use functions;

impl Lua {
    /// # Safety
    /// The pointer is a live state or thread, and stays so while the value is used.
    pub(crate) unsafe fn new(raw: *mut RawState) -> Self {
        Self(raw)
    }

    pub(crate) fn raw(self) -> *mut RawState {
        self.0
    }
}

/// A userdata of ours: `repr(C)`, with `u32` as its first field, which holds the tag.
///
/// # Safety
/// The layout is as said, and no two types have the same tag.
pub(crate) unsafe trait Tagged {
    const TAG: u32;
}
