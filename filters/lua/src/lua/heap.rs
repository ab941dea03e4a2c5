//! A state's memory: counted, and limited below the instance's own ceiling, so that a script that takes
//! too much gets an error of Lua's rather than the end of its neighbours.

use std::ffi::c_void;
use std::ptr;

use super::Lua;
use super::ffi::{self, RawState};

/// A Lua state with a memory of its own.
pub(crate) struct Heap {
    state: *mut RawState,
    usage: *mut Usage,
}

struct Usage {
    used: usize,
    limit: usize,
}

impl Heap {
    /// A new state that may hold `limit` bytes; `None` if the instance has not even room for that.
    pub(crate) fn new(limit: usize) -> Option<Self> {
        let usage = Box::into_raw(Box::new(Usage { used: 0, limit }));
        // SAFETY: the allocator is Lua's contract, and `usage` outlives the state.
        let state = unsafe { ffi::lua_newstate(allocate, usage.cast()) };
        if state.is_null() {
            // SAFETY: made above, and nobody has it.
            drop(unsafe { Box::from_raw(usage) });
            return None;
        }
        Some(Self { state, usage })
    }

    /// Its main thread.
    pub(crate) fn lua(&self) -> Lua {
        // SAFETY: it lives as long as `self`, and callers use it within a callback only.
        unsafe { Lua::new(self.state) }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and not used after this.
        unsafe {
            ffi::lua_close(self.state);
            drop(Box::from_raw(self.usage));
        }
    }
}

/// `lua_Alloc`: a new size of zero frees; without a block, `old` is a type and no size.
unsafe extern "C" fn allocate(usage: *mut c_void, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
    // SAFETY: `usage` is that of `Heap::new`; blocks are `realloc`'s.
    unsafe {
        let usage = &mut *usage.cast::<Usage>();
        let old = if block.is_null() { 0 } else { old };
        if new == 0 {
            usage.used -= old;
            ffi::free(block);
            return ptr::null_mut();
        }
        let used = (usage.used - old).saturating_add(new);
        // Shrinking never fails: Lua relies on it.
        if new > old && used > usage.limit {
            return ptr::null_mut();
        }
        let moved = ffi::realloc(block, new);
        if !moved.is_null() {
            usage.used = used;
        }
        moved
    }
}
