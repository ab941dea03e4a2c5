//! What a run of a script may cost: memory, counted where it is allocated, and the CPU time of the callback.
//!
//! The interpreter asks now and then ([`Limit::ends`]), so that a script goes a little beyond before it is
//! stopped, with its line. One step that goes far beyond is stopped by the instance's own ceilings, which ends
//! the instance.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes that are allocated now.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// Whether three quarters of the callback's budget are spent.
static IS_LOW: AtomicBool = AtomicBool::new(false);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

// SAFETY: the system's allocator with a count beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The host calls this, from wherever the guest is, when three quarters of the budget are spent. A function of
/// the guest may use memory below the stack's end without saying so; this one uses no stack.
#[unsafe(no_mangle)]
extern "C" fn tollgate_on_budget_low() {
    IS_LOW.store(true, Ordering::Relaxed);
}

/// A callback begins.
pub(crate) fn begin_budget() {
    IS_LOW.store(false, Ordering::Relaxed);
}

/// Whether the callback has little time left.
pub(crate) fn is_budget_low() -> bool {
    IS_LOW.load(Ordering::Relaxed)
}

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Budget,
    Memory,
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Budget => "the CPU budget is used up",
            Self::Memory => "not enough memory",
        })
    }
}

/// The limits of one run.
pub(crate) struct Limit {
    before: Cell<usize>,
    memory: usize,
    reached: Cell<Option<Exceeded>>,
}

impl Limit {
    /// A run begins that may allocate so many bytes.
    pub(crate) fn begin(memory: usize) -> Self {
        Self { before: Cell::new(LIVE.load(Ordering::Relaxed)), memory, reached: Cell::new(None) }
    }

    /// What has been allocated so far is the interpreter's own: a stack of a megabyte for each run.
    pub(crate) fn discount(&self) {
        self.before.set(LIVE.load(Ordering::Relaxed));
    }

    /// Whether the run must end now. It says so once: the interpreter asks again when the script has ended, and
    /// would put an error without a place over the one that ended it.
    pub(crate) fn ends(&self) -> bool {
        if self.reached.get().is_some() {
            return false;
        }
        let used = LIVE.load(Ordering::Relaxed).saturating_sub(self.before.get());
        self.reached.set(match is_budget_low() {
            true => Some(Exceeded::Budget),
            false => (used > self.memory).then_some(Exceeded::Memory),
        });
        self.reached.get().is_some()
    }

    /// The limit that it has reached.
    pub(crate) fn exceeded(&self) -> Option<Exceeded> {
        self.reached.get()
    }
}
