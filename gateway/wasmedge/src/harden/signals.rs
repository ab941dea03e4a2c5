//! The handlers in front of WasmEdge's.
//!
//! WasmEdge's handler jumps out of whatever faulted, back to where the guest was called. That is
//! right for guest code and wrong for anything else: it would skip Rust's destructors and leave
//! locks held. So a fault is sorted first:
//!
//! * guest code, or host code reading the guest's memory on its behalf (a `memset` that the
//!   compiler put in place of a loop): the library's handler makes a trap of it;
//! * host code at the end of the stack: it gets the reserve and goes on;
//! * anything else is a bug of the host: the action from before this crate decides, which for
//!   Rust programs says what happened and ends the process.

use super::local::{self, Local};
use super::{HardenError, host_code, stack};
use crate::context::Core;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::{mem, ptr};

const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGFPE];

/// The actions of [`SIGNALS`], in that order.
type Actions = [libc::sigaction; SIGNALS.len()];

struct Chain {
    engine: Actions,
    previous: Actions,
}

static CHAIN: OnceLock<Chain> = OnceLock::new();

/// The actions in force.
pub(super) fn current() -> Actions {
    SIGNALS.map(read)
}

/// Puts our handlers in front of the library's, which must be in force now.
///
/// # Errors
/// If the library has none, or if ours do not stay.
pub(super) fn install(previous: Actions) -> Result<(), HardenError> {
    let engine = current();
    for (index, signal) in SIGNALS.into_iter().enumerate() {
        if engine[index].sa_sigaction == previous[index].sa_sigaction {
            return Err(HardenError::NoEngineHandler { signal });
        }
    }
    let _ = CHAIN.set(Chain { engine, previous });
    for signal in SIGNALS {
        // SAFETY: zero is a valid value of this plain structure.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = on_fault as *const () as usize;
        // NODEFER: the library's handler leaves by a jump that does not restore the mask.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        // SAFETY: the handler keeps to what a handler may do, and lives for ever.
        let result = unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
        let now = read(signal);
        let stays = now.sa_sigaction == action.sa_sigaction && now.sa_flags & libc::SA_ONSTACK != 0;
        if result != 0 || !stays {
            return Err(HardenError::Install { signal });
        }
    }
    Ok(())
}

fn read(signal: c_int) -> libc::sigaction {
    // SAFETY: zero is a valid value of this plain structure, and the call only fills it in.
    unsafe {
        let mut action = mem::zeroed();
        libc::sigaction(signal, ptr::null(), &mut action);
        action
    }
}

/// What to do about a fault.
enum Fault {
    Guest,
    StackOfHost,
    Bug,
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes both, valid for the duration of the handler.
    let (address, at) = unsafe { ((*info).si_addr().addr(), program_counter(context)) };
    let fault = local::with(|local| match sort(signal, address, at, local) {
        Fault::StackOfHost if !stack::open_reserve(local) => Fault::Bug,
        fault => fault,
    });
    let Some(chain) = CHAIN.get() else { return };
    let index = usize::from(signal != SIGNALS[0]);
    match fault {
        Fault::StackOfHost => {}
        // Does not come back: it jumps to where the guest was called. No frame in between has
        // anything to drop.
        Fault::Guest => forward(&chain.engine[index], signal, info, context),
        Fault::Bug => forward(&chain.previous[index], signal, info, context),
    }
}

fn sort(signal: c_int, address: usize, at: usize, local: &Local) -> Fault {
    // SAFETY: null, or the core of a call that is under way on this thread.
    let Some(core) = (unsafe { local.current.get().as_ref() }) else { return Fault::Bug };
    let guest = !host_code::contains(at);
    if signal == libc::SIGSEGV && (local.guard_low.get()..local.floor.get()).contains(&address) {
        if guest {
            local.overflowed.set(true);
            return Fault::Guest;
        }
        return if local.reserve_open.get() { Fault::Bug } else { Fault::StackOfHost };
    }
    if guest || (signal == libc::SIGSEGV && in_memory_reservation(core, address)) {
        return Fault::Guest;
    }
    Fault::Bug
}

/// Whether `address` is one that the guest's own loads and stores can form: a 32-bit pointer
/// and a 32-bit offset above the base of its memory.
fn in_memory_reservation(core: &Core, address: usize) -> bool {
    let base = core.view().base.addr();
    base != 0 && address >= base && address - base < 8 << 30
}

/// Runs the handler of `action`, or gives the signal its default and lets the fault repeat.
fn forward(action: &libc::sigaction, signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    match action.sa_sigaction {
        // A fault cannot be ignored: the instruction would fault for ever.
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: restores the default; the fault repeats and ends the process.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        handler if action.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: with this flag the number is a function of this type.
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                unsafe { mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without the flag the number is a function of this type.
            let handler: extern "C" fn(c_int) = unsafe { mem::transmute(handler) };
            handler(signal);
        }
    }
}

/// # Safety
/// `context` must be what the kernel passed to a handler.
#[cfg(target_arch = "x86_64")]
unsafe fn program_counter(context: *mut c_void) -> usize {
    // SAFETY: the caller's promise.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] as usize }
}

/// # Safety
/// `context` must be what the kernel passed to a handler.
#[cfg(target_arch = "aarch64")]
unsafe fn program_counter(context: *mut c_void) -> usize {
    // SAFETY: the caller's promise.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.pc as usize }
}
