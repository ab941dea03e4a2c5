//! What C's allocator keeps of memory that has been freed, by Rust or by WasmEdge.

/// Gives pages that hold nothing any more back to the system, of all threads; glibc keeps them otherwise, since
/// somebody might need them again. Takes a millisecond for ten MiB, during which threads that allocate may
/// wait. Does nothing with another allocator than glibc's.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: It asks nothing of its caller, and locks what it looks at. Whether there was something to give back
    // is of no use to anybody.
    unsafe {
        libc::malloc_trim(0);
    }
}
