//! The way from guest code into Rust.
//!
//! Order, on every call: is there stack enough for Rust to run; which instance calls; the host
//! function inside `catch_unwind`; results or the trap, which is kept beside the library's own
//! result code, so that exactly it comes back from the call. Nothing unwinds or jumps over a
//! Rust frame: the stack check comes before any of them has something to drop.

use crate::caller::{Caller, SETTLE};
use crate::context::{Context, Core};
use crate::harden::local;
use crate::trap::Trap;
use crate::value::{RawValue, WasmParams, WasmResults};
use std::cell::Cell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use wasmedge_sys::ffi;

/// The library's signature of a host function with a binding.
pub(crate) type Trampoline = unsafe extern "C" fn(
    *mut c_void,
    *mut c_void,
    *const ffi::WasmEdge_CallingFrameContext,
    *const RawValue,
    u32,
    *mut RawValue,
    u32,
) -> ffi::WasmEdge_Result;

const SUCCESS: ffi::WasmEdge_Result = ffi::WasmEdge_Result { Code: 0 };
/// Any failure code ends the guest's call; the trap that is kept says why.
const FAIL: ffi::WasmEdge_Result = ffi::WasmEdge_Result { Code: 2 };

/// Calls the host function `function` of a linker over `S`.
///
/// # Safety
/// `function` must be a `fn(&mut Caller<'_, S>, P) -> Result<R, Trap>`, and the innermost
/// instance called on this thread must have a state `S`. The linker sees to both: only guest code
/// reaches this, only instances over `S` are linked with it, and what runs is the innermost.
pub(crate) unsafe extern "C" fn host<S: 'static, P: WasmParams, R: WasmResults>(
    function: *mut c_void,
    _data: *mut c_void,
    frame: *const ffi::WasmEdge_CallingFrameContext,
    params: *const RawValue,
    params_len: u32,
    results: *mut RawValue,
    results_len: u32,
) -> ffi::WasmEdge_Result {
    let current = local::with(|local| local.current.get());
    // SAFETY: set by `Entered` for the whole of the call that this is part of, and the caller
    // guarantees that it is the core of a `Context<S>`, which begins with it.
    let context = unsafe { &*current.cast::<Context<S>>() };
    if local::stack_is_short() {
        return fail(&context.core, Trap::StackOverflow);
    }
    bind_early(&context.core, frame);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller guarantees the type; the library passes what the type says.
        let (f, params) = unsafe {
            let f: fn(&mut Caller<'_, S>, P) -> Result<R, Trap> = std::mem::transmute(function);
            (f, P::from_raw(slice_of(params, params_len)))
        };
        f(&mut Caller { context }, params)
    }));
    match outcome {
        Ok(Ok(values)) => {
            // SAFETY: the library passes room for as many results as the type says.
            unsafe { put(values.into_raw().as_ref(), results, results_len) };
            context.core.settle(SETTLE);
            SUCCESS
        }
        Ok(Err(trap)) => fail(&context.core, trap),
        Err(panic) => {
            discard(panic);
            fail(&context.core, Trap::HostPanic)
        }
    }
}

/// As [`host`], and counts the call in `data`.
///
/// # Safety
/// As [`host`]; `data` must be a `Cell<u64>` of this thread that lives as long as the function.
pub(crate) unsafe extern "C" fn counted<S: 'static, P: WasmParams, R: WasmResults>(
    function: *mut c_void,
    data: *mut c_void,
    frame: *const ffi::WasmEdge_CallingFrameContext,
    params: *const RawValue,
    params_len: u32,
    results: *mut RawValue,
    results_len: u32,
) -> ffi::WasmEdge_Result {
    // SAFETY: the caller's promise.
    let calls = unsafe { &*data.cast::<Cell<u64>>() };
    calls.set(calls.get().wrapping_add(1));
    // SAFETY: the caller's promise.
    unsafe { host::<S, P, R>(function, data, frame, params, params_len, results, results_len) }
}

/// The meter's call for another slice of fuel: nothing in, nothing out.
///
/// # Safety
/// Only for the meter's own import, called by guest code.
pub(crate) unsafe extern "C" fn refill(
    _function: *mut c_void,
    _data: *mut c_void,
    frame: *const ffi::WasmEdge_CallingFrameContext,
    _params: *const RawValue,
    _params_len: u32,
    _results: *mut RawValue,
    _results_len: u32,
) -> ffi::WasmEdge_Result {
    let current = local::with(|local| local.current.get());
    // SAFETY: as in `host`; every context begins with a core.
    let core = unsafe { &*current };
    if local::stack_is_short() {
        return fail(core, Trap::StackOverflow);
    }
    bind_early(core, frame);
    match core.refill() {
        Ok(()) => SUCCESS,
        Err(trap) => fail(core, trap),
    }
}

/// While the start function runs the instance is not known to us yet: ask the frame.
#[inline]
fn bind_early(core: &Core, frame: *const ffi::WasmEdge_CallingFrameContext) {
    if core.module.get().is_null() {
        // SAFETY: the frame is valid during this host call; its module is the guest's instance.
        core.bind(unsafe { ffi::WasmEdge_CallingFrameGetModuleInstance(frame) });
    }
}

fn fail(core: &Core, trap: Trap) -> ffi::WasmEdge_Result {
    core.trap.set(Some(trap));
    FAIL
}

/// Drops a panic's payload, whose own drop may panic again.
#[cold]
fn discard(panic: Box<dyn std::any::Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(second);
    }
}

/// # Safety
/// `values` must hold `len` values, or `len` must be zero.
unsafe fn slice_of<'a>(values: *const RawValue, len: u32) -> &'a [RawValue] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(values, len as usize) }
}

/// # Safety
/// `room` must have place for `len` values.
unsafe fn put(values: &[RawValue], room: *mut RawValue, len: u32) {
    debug_assert_eq!(values.len(), len as usize);
    // SAFETY: the caller's promise; never more than `len`.
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), room, values.len().min(len as usize)) };
}
