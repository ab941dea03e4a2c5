//! The guest's linear memory, between calls.

use crate::context::Core;

/// A view of an instance's memory. It borrows the instance, so no guest code runs while the
/// bytes are looked at.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    core: &'a Core,
}

impl<'a> Memory<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// The `len` bytes at `ptr`, or `None` if they are not all inside the memory.
    pub fn read(&self, ptr: u32, len: u32) -> Option<&'a [u8]> {
        read(self.core, ptr, len)
    }

    /// Size in pages of 64 KiB.
    pub fn pages(&self) -> u32 {
        self.core.pages()
    }
}

#[inline]
pub(crate) fn read(core: &Core, ptr: u32, len: u32) -> Option<&[u8]> {
    let start = core.range(ptr, len)?;
    // SAFETY: `range` checked that the bytes lie inside the mapping, which lives as long as the
    // instance. Memory changes only while guest code runs or through `write`, and both need the
    // instance (or the caller) exclusively, while this slice borrows it.
    Some(unsafe { std::slice::from_raw_parts(start, len as usize) })
}

/// Copies `bytes` to `ptr`, or returns `None` and writes nothing if they do not fit.
///
/// The caller must hold the instance or its `Caller` exclusively: no slice of `read` may live.
#[inline]
pub(crate) fn write(core: &Core, ptr: u32, bytes: &[u8]) -> Option<()> {
    let start = core.range(ptr, u32::try_from(bytes.len()).ok()?)?;
    // SAFETY: `range` checked the room; `bytes` is the host's, or would be a slice of `read`,
    // which the exclusive borrow of the public functions rules out.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len()) };
    Some(())
}
