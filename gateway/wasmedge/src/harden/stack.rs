//! Stacks for guest code, and the alternate stacks their signals run on.
//!
//! From low to high addresses: guard (never accessible), reserve (the top of the guard), stack.
//! Compiled code does not probe large frames, so the guard must be larger than any frame that
//! `meter::inspect` lets through. The reserve serves host code that runs out of stack because the
//! guest used it up just before calling: jumping out of, say, the allocator would leave its lock
//! held. So the handler opens the reserve, the host code finishes, the trampoline sees that the
//! stack is short and ends the call, and the reserve is closed when the outermost call returns.

use super::local::{self, Local};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use std::ffi::c_void;
use std::{io, ptr};

/// Inaccessible memory below each stack.
pub(crate) const GUARD: usize = 16 << 20;
/// The top part of the guard that host code may be lent.
const RESERVE: usize = 1 << 20;
/// Size of an alternate signal stack: the handlers, and the library's own, need far less.
const SIGNAL_STACK: usize = 256 << 10;
/// Granule of the sizes above; a multiple of every page size in use.
const GRANULE: usize = 64 << 10;

/// A mapping with an inaccessible lower part; unmapped when dropped.
pub(crate) struct GuardedMemory {
    base: *mut c_void,
    len: usize,
    guard: usize,
}

// SAFETY: plain memory, owned.
unsafe impl Send for GuardedMemory {}

impl GuardedMemory {
    /// `usable` bytes, rounded up, above `guard` inaccessible ones.
    fn new(guard: usize, usable: usize) -> io::Result<Self> {
        let usable = usable
            .checked_next_multiple_of(GRANULE)
            .and_then(|usable| usable.checked_add(guard).map(|_| usable))
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let len = guard + usable;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::STACK;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), flags)? };
        let memory = Self { base, len, guard };
        // SAFETY: the upper part of the mapping just made; nothing uses it yet.
        unsafe {
            rustix::mm::mprotect(base.byte_add(guard), usable, MprotectFlags::READ | MprotectFlags::WRITE)?;
        }
        Ok(memory)
    }

    /// A thread's stack with `usable` bytes.
    pub(crate) fn stack(usable: usize) -> io::Result<Self> {
        Self::new(GUARD + RESERVE, usable)
    }

    /// Lowest accessible address.
    pub(crate) fn usable(&self) -> *mut c_void {
        self.base.wrapping_byte_add(self.guard)
    }

    /// Accessible bytes.
    pub(crate) fn usable_len(&self) -> usize {
        self.len - self.guard
    }

    fn bounds(&self) -> Bounds {
        let low = self.base.addr();
        Bounds { guard_low: low, reserve_low: low + self.guard - RESERVE, floor: low + self.guard }
    }
}

impl Drop for GuardedMemory {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`; whoever drops this has seen to it that nothing runs on it.
        let _ = unsafe { rustix::mm::munmap(self.base, self.len) };
    }
}

#[derive(Clone, Copy)]
struct Bounds {
    guard_low: usize,
    reserve_low: usize,
    floor: usize,
}

/// The present thread's alternate signal stack. While it lives the thread counts as guarded.
pub(crate) struct Prepared {
    _memory: GuardedMemory,
    previous: libc::stack_t,
}

impl Prepared {
    /// Sets the alternate stack and notes the bounds of `stack`, which the thread runs on.
    pub(crate) fn new(stack: &GuardedMemory) -> io::Result<Self> {
        let memory = GuardedMemory::new(GRANULE, SIGNAL_STACK)?;
        let wanted = libc::stack_t { ss_sp: memory.usable(), ss_flags: 0, ss_size: memory.usable_len() };
        // SAFETY: zero is a valid value of this plain structure.
        let mut previous: libc::stack_t = unsafe { std::mem::zeroed() };
        // SAFETY: the new stack lives until `drop`, which takes it out of use first.
        if unsafe { libc::sigaltstack(&wanted, &mut previous) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let bounds = stack.bounds();
        local::with(|local| {
            local.guard_low.set(bounds.guard_low);
            local.reserve_low.set(bounds.reserve_low);
            local.floor.set(bounds.floor);
        });
        Ok(Self { _memory: memory, previous })
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        local::with(|local| local.floor.set(0));
        // SAFETY: puts back what was there.
        unsafe { libc::sigaltstack(&self.previous, ptr::null_mut()) };
    }
}

/// Lends the reserve to host code. Called in a signal handler: one system call, nothing else.
pub(super) fn open_reserve(local: &Local) -> bool {
    let low = local.reserve_low.get();
    // SAFETY: the reserve belongs to this thread's stack mapping, and nothing else is there.
    let opened = unsafe {
        rustix::mm::mprotect(
            ptr::with_exposed_provenance_mut(low),
            RESERVE,
            MprotectFlags::READ | MprotectFlags::WRITE,
        )
    };
    local.reserve_open.set(opened.is_ok());
    opened.is_ok()
}

/// Takes the reserve back, after the outermost call has returned.
#[cold]
pub(crate) fn close_reserve(local: &Local) {
    let low = ptr::with_exposed_provenance_mut(local.reserve_low.get());
    // SAFETY: as in `open_reserve`; the stack pointer is far above by now.
    unsafe {
        let _ = rustix::mm::madvise(low, RESERVE, Advice::LinuxDontNeed);
        if rustix::mm::mprotect(low, RESERVE, MprotectFlags::empty()).is_ok() {
            local.reserve_open.set(false);
        }
    }
}
