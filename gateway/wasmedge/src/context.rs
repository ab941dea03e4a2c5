//! What one instance keeps for the calls into and out of it.
//!
//! The innermost instance being called is noted in the thread's [`harden::local`]; host functions
//! find it there. A `Context` lives in its own box, is only reached through shared references,
//! and holds cells, so that a nested call never meets an exclusive reference.

use crate::budget::{Budget, FIRST_SLICE};
use crate::func::Func;
use crate::harden::{self, local};
use crate::mailbox::Mailbox;
use crate::module::Module;
use crate::raw;
use crate::trap::Trap;
use std::cell::Cell;
use std::ptr;
use wasmedge_sys::ffi;

/// State of an instance that does not depend on the embedder's type.
pub(crate) struct Core {
    /// Tells functions of this instance from those of another.
    pub(crate) id: u64,
    /// What the instance was made from.
    pub(crate) source: Module,
    pub(crate) executor: *mut ffi::WasmEdge_ExecutorContext,
    /// Null until instantiation is over or a host function was called by the start function.
    pub(crate) module: Cell<*const ffi::WasmEdge_ModuleInstanceContext>,
    pub(crate) memory: Cell<*mut ffi::WasmEdge_MemoryInstanceContext>,
    pub(crate) fuel: Cell<*mut ffi::WasmEdge_GlobalInstanceContext>,
    /// Of the entries; null in a module without any.
    step: Cell<*mut ffi::WasmEdge_GlobalInstanceContext>,
    split: Cell<*mut ffi::WasmEdge_GlobalInstanceContext>,
    view: Cell<View>,
    pub(crate) mailbox: Mailbox,
    pub(crate) budget: Budget,
    /// Why the innermost call fails, when a host function decided that.
    pub(crate) trap: Cell<Option<Trap>>,
}

/// The linear memory as last seen. It never moves and never shrinks.
#[derive(Clone, Copy)]
pub(crate) struct View {
    pub(crate) base: *mut u8,
    pub(crate) len: u64,
}

/// A [`Core`] and the embedder's state. `repr(C)`: a pointer to it is a pointer to its core.
#[repr(C)]
pub(crate) struct Context<S> {
    pub(crate) core: Core,
    pub(crate) state: S,
}

/// The export that a guest is called by when three quarters of its budget are gone. It may be called from
/// any loop and at the entry of any function of the guest, so that it must not touch what these work on.
pub(crate) const BUDGET_LOW: &str = "tollgate_on_budget_low";

/// Bytes in a page of linear memory.
const PAGE: u64 = 65_536;

impl Core {
    pub(crate) fn new(id: u64, source: Module, executor: *mut ffi::WasmEdge_ExecutorContext) -> Self {
        Self {
            id,
            source,
            executor,
            module: Cell::new(ptr::null()),
            memory: Cell::new(ptr::null_mut()),
            fuel: Cell::new(ptr::null_mut()),
            step: Cell::new(ptr::null_mut()),
            split: Cell::new(ptr::null_mut()),
            view: Cell::new(View { base: ptr::null_mut(), len: 0 }),
            mailbox: Mailbox::none(),
            budget: Budget::new(),
            trap: Cell::new(None),
        }
    }

    /// Notes the instance's parts, once it exists.
    pub(crate) fn bind(&self, module: *const ffi::WasmEdge_ModuleInstanceContext) {
        self.module.set(module);
        // SAFETY: `module` is a live instance; absent names give null.
        unsafe {
            let memory = raw::string(crate::meter::MEMORY_EXPORT);
            self.memory.set(ffi::WasmEdge_ModuleInstanceFindMemory(module, memory));
            for (global, name) in [
                (&self.fuel, crate::meter::FUEL_EXPORT),
                (&self.step, crate::meter::STEP_EXPORT),
                (&self.split, crate::meter::SPLIT_EXPORT),
            ] {
                global.set(ffi::WasmEdge_ModuleInstanceFindGlobal(module, raw::string(name)));
            }
        }
        self.refresh_view();
        self.bind_mailbox(module);
    }

    fn bind_mailbox(&self, module: *const ffi::WasmEdge_ModuleInstanceContext) {
        // SAFETY: `module` is a live instance, whose memories live and stay where they are as long as it does. One
        // of this name is the pass's, of a page; no instruction of the source can name it.
        unsafe {
            let memory =
                ffi::WasmEdge_ModuleInstanceFindMemory(module, raw::string(crate::meter::MAILBOX_EXPORT));
            if !memory.is_null() {
                self.mailbox.bind(ffi::WasmEdge_MemoryInstanceGetPointer(memory, 0, PAGE));
            }
        }
    }

    /// The bytes `[ptr, ptr + len)` of the guest's memory, or `None` if they are not all there.
    #[inline]
    pub(crate) fn range(&self, ptr: u32, len: u32) -> Option<*mut u8> {
        let end = u64::from(ptr) + u64::from(len);
        let mut view = self.view.get();
        if end > view.len {
            view = self.refresh_view();
            if end > view.len {
                return None;
            }
        }
        if view.base.is_null() {
            // No memory at all: only an empty range at zero gets here.
            return Some(ptr::dangling_mut());
        }
        // SAFETY: `ptr` is at most `view.len`, which is the extent of the mapping at `base`.
        Some(unsafe { view.base.add(ptr as usize) })
    }

    pub(crate) fn view(&self) -> View {
        self.view.get()
    }

    pub(crate) fn pages(&self) -> u32 {
        (self.refresh_view().len / PAGE) as u32
    }

    fn refresh_view(&self) -> View {
        let memory = self.memory.get();
        let mut view = View { base: ptr::null_mut(), len: 0 };
        if !memory.is_null() {
            // SAFETY: `memory` belongs to this live instance.
            let pages = unsafe { ffi::WasmEdge_MemoryInstanceGetPageSize(memory) };
            if pages > 0 {
                // SAFETY: as above; the first byte exists.
                view.base = unsafe { ffi::WasmEdge_MemoryInstanceGetPointer(memory, 0, 1) };
                view.len = if view.base.is_null() { 0 } else { pages * PAGE };
            }
        }
        self.view.set(view);
        view
    }

    pub(crate) fn read_fuel(&self) -> i64 {
        let fuel = self.fuel.get();
        if fuel.is_null() {
            return 0;
        }
        // SAFETY: the meter's global of this live instance, an i64.
        unsafe { ffi::WasmEdge_ValueGetI64(ffi::WasmEdge_GlobalInstanceGetValue(fuel)) }
    }

    fn write_fuel(&self, units: i64) {
        let fuel = self.fuel.get();
        if !fuel.is_null() {
            // SAFETY: as in `read_fuel`; the global is mutable and of this type, so this cannot fail.
            let _ = unsafe { ffi::WasmEdge_GlobalInstanceSetValue(fuel, ffi::WasmEdge_ValueGenI64(units)) };
        }
    }

    /// The step of the entry that ran last.
    pub(crate) fn step(&self) -> u32 {
        let step = self.step.get();
        if step.is_null() {
            return 0;
        }
        // SAFETY: a global of this live instance that the pass added, an i32.
        let value = unsafe { ffi::WasmEdge_ValueGetI32(ffi::WasmEdge_GlobalInstanceGetValue(step)) };
        value.cast_unsigned()
    }

    /// Has the entry that runs stop after its step.
    pub(crate) fn split(&self) {
        let split = self.split.get();
        if !split.is_null() {
            // SAFETY: as in `step`; the global is mutable, so this cannot fail.
            let _ = unsafe { ffi::WasmEdge_GlobalInstanceSetValue(split, ffi::WasmEdge_ValueGenI32(1)) };
        }
    }

    /// The guest's counter is below zero: gives it another slice, if the budget allows.
    pub(crate) fn refill(&self) -> Result<(), Trap> {
        self.settle(1);
        self.write_fuel(self.budget.refill(self.read_fuel())?);
        if self.budget.take_low() {
            return self.tell_low();
        }
        Ok(())
    }

    /// Tells a guest that wants to know that little of its budget is left, so that an interpreter can end
    /// its script with an error of its own. Nested, like the allocator; what it takes counts.
    #[cold]
    fn tell_low(&self) -> Result<(), Trap> {
        if !self.source.has_func(BUDGET_LOW, &[], &[]) {
            return Ok(());
        }
        Func::<(), ()>::find(self, BUDGET_LOW).map_or(Ok(()), |function| function.invoke(self, ()))
    }

    /// Takes what host functions used off the guest's counter, once it is worth the look-up.
    #[inline]
    pub(crate) fn settle(&self, threshold: u64) {
        if let Some(units) = self.budget.take_pending(threshold) {
            self.write_fuel(self.read_fuel() - units);
        }
    }

    /// What remains to be done after a call that looked at the clock.
    #[cold]
    pub(crate) fn end_timed_call(&self) {
        self.settle(1);
        let kept = self.budget.end(self.read_fuel());
        debug_assert!(kept <= FIRST_SLICE);
        self.write_fuel(kept);
    }

    /// Why a call that returned `result` failed.
    #[cold]
    pub(crate) fn take_trap(&self, result: ffi::WasmEdge_Result) -> Trap {
        let stated = self.trap.take();
        self.mailbox.expect_nothing();
        if local::with(|local| local.overflowed.take()) {
            return Trap::StackOverflow;
        }
        stated.unwrap_or_else(|| Trap::from_code(result.Code))
    }
}

/// Marks `core` as the innermost instance called on this thread until it is dropped.
pub(crate) struct Entered {
    previous: *const Core,
}

impl Entered {
    #[inline]
    pub(crate) fn new(core: &Core) -> Self {
        Self { previous: local::with(|local| local.current.replace(core)) }
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        local::with(|local| {
            local.current.set(self.previous);
            if self.previous.is_null() && local.reserve_open.get() {
                harden::stack::close_reserve(local);
            }
        });
    }
}
