//! What a host function sees of the instance that called it.

use crate::context::Context;
use crate::func::Func;
use crate::mailbox::Posted;
use crate::memory;
use crate::module::Module;
use crate::trap::Trap;
use crate::value::{WasmParams, WasmResults};

/// The calling instance, lent to a host function.
pub struct Caller<'a, S> {
    pub(crate) context: &'a Context<S>,
}

/// Bytes that a host function may copy for one unit of fuel.
const BYTES_PER_UNIT: u64 = 16;

/// Charges below this wait for the next ones: touching the counter costs more than they do.
pub(crate) const SETTLE: u64 = 1024;

impl<S> Caller<'_, S> {
    /// The embedder's state of this instance.
    pub fn state(&self) -> &S {
        &self.context.state
    }

    /// The `len` bytes of the guest's memory at `ptr`, or `None` if they are not all there.
    ///
    /// Reading is charged to the guest, a unit of fuel for 16 bytes.
    #[inline]
    pub fn read(&self, ptr: u32, len: u32) -> Option<&[u8]> {
        self.charge(u64::from(len) / BYTES_PER_UNIT);
        memory::read(&self.context.core, ptr, len)
    }

    /// Copies `bytes` into the guest's memory at `ptr`; `None`, and nothing written, if they do
    /// not fit. Charged like [`Self::read`].
    #[inline]
    pub fn write(&mut self, ptr: u32, bytes: &[u8]) -> Option<()> {
        self.charge(bytes.len() as u64 / BYTES_PER_UNIT);
        memory::write(&self.context.core, ptr, bytes)
    }

    /// The little-endian 32-bit number at `ptr`.
    #[inline]
    pub fn read_u32(&self, ptr: u32) -> Option<u32> {
        let bytes = memory::read(&self.context.core, ptr, 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// Writes a little-endian 32-bit number.
    #[inline]
    pub fn write_u32(&mut self, ptr: u32, value: u32) -> Option<()> {
        memory::write(&self.context.core, ptr, &value.to_le_bytes())
    }

    /// Writes a little-endian 64-bit number.
    #[inline]
    pub fn write_u64(&mut self, ptr: u32, value: u64) -> Option<()> {
        memory::write(&self.context.core, ptr, &value.to_le_bytes())
    }

    /// Adds `units` of fuel to what the guest has used, for host work that grows with what the
    /// guest asked for. One unit stands for about a nanosecond.
    #[inline]
    pub fn charge(&self, units: u64) {
        self.context.core.budget.charge(units);
    }

    /// Leaves `bytes` as the answer of the host function that runs, if whoever called it fetches one; see
    /// `meter::mailbox`. If not, the guest's allocator is to be called.
    #[inline]
    pub fn answer(&mut self, bytes: &[u8]) -> bool {
        let is_left = self.context.core.mailbox.answer(bytes);
        if is_left {
            self.charge(bytes.len() as u64 / BYTES_PER_UNIT);
        }
        is_left
    }

    /// Whether the guest's allocator runs for an answer. Not known in a module without a mailbox.
    #[inline]
    pub fn is_allocating(&self) -> bool {
        self.context.core.mailbox.is_allocating()
    }

    /// Whether the guest has posted changes of header maps that have not been done.
    #[inline]
    pub fn has_posted(&self) -> bool {
        self.context.core.mailbox.has_posted()
    }

    /// Takes out the changes that the guest has posted, in order. Charged like [`Self::read`].
    pub fn take_posted(&mut self, mut f: impl FnMut(Posted<'_>)) {
        self.context.core.mailbox.take_posted(|posted| {
            self.charge((posted.name.len() + posted.value.len()) as u64 / BYTES_PER_UNIT);
            f(posted);
        });
    }

    /// Has the entry that runs, if one does, stop after its present step: see [`crate::Entry`].
    pub fn split(&self) {
        self.context.core.split();
    }

    /// Looks up an export of the calling instance; `None` if it is absent or of another type.
    pub fn func<P: WasmParams, R: WasmResults>(&self, name: &str) -> Option<Func<P, R>> {
        if !self.module().has_func(name, P::TYPES, R::TYPES) {
            return None;
        }
        Func::find(&self.context.core, name)
    }

    /// Calls back into the guest, under what is left of the budget of the outer call.
    ///
    /// Meant for the guest's allocator: [`Self::is_allocating`] meanwhile, in a module with a mailbox. An error ends only the nested call: the host function
    /// decides whether the outer one goes on.
    ///
    /// # Errors
    /// The trap of the nested call.
    #[inline]
    pub fn call<P: WasmParams, R: WasmResults>(&mut self, f: &Func<P, R>, params: P) -> Result<R, Trap> {
        let core = &self.context.core;
        core.settle(SETTLE);
        let before = core.mailbox.set_allocating(true);
        let result = f.invoke(core, params);
        core.mailbox.set_allocating(before);
        result
    }

    fn module(&self) -> &Module {
        &self.context.core.source
    }
}
