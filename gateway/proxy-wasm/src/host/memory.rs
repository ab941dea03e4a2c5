//! Copying between a guest and the host.

use std::rc::Rc;

use tollgate_wasmedge::{Caller, Trap};

use super::State;
use crate::abi::status::Status;
use crate::environment::Environment;

/// Bytes of the guest, copied out so that they can be used while its allocator runs. Short ones, as
/// names of headers are, stay on the stack.
pub(super) enum Copied {
    Inline { bytes: [u8; Self::INLINE_MAX], len: usize },
    Heap(Vec<u8>),
}

impl Copied {
    const INLINE_MAX: usize = 64;

    /// Copies `len` bytes at `address`, or `None` if they are not the guest's.
    pub(super) fn read<E: Environment>(
        caller: &Caller<'_, State<E>>,
        address: u32,
        len: u32,
    ) -> Option<Self> {
        let source = caller.read(address, len)?;
        let mut bytes = [0; Self::INLINE_MAX];
        match bytes.get_mut(..source.len()) {
            Some(target) => target.copy_from_slice(source),
            None => return Some(Self::Heap(source.to_vec())),
        }
        Some(Self::Inline { bytes, len: source.len() })
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline { bytes, len } => &bytes[..*len],
            Self::Heap(bytes) => bytes,
        }
    }
}

/// Where a guest wants the address and the size of a result.
#[derive(Clone, Copy)]
pub(super) struct ReturnSlot {
    pub(super) address: u32,
    pub(super) size: u32,
}

/// Copies `bytes` into memory from the guest's allocator and writes where they are; or leaves that to code in
/// the guest that the engine has added. No bytes are a null pointer of size 0: nothing is allocated.
///
/// A trap in the allocator ends the whole callback.
pub(super) fn return_bytes<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    bytes: &[u8],
    slot: ReturnSlot,
) -> Result<Status, Trap> {
    let Ok(size) = u32::try_from(bytes.len()) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    if size != 0 && is_writable(caller, slot) && caller.answer(bytes) {
        return Ok(Status::Ok);
    }
    let address = if size == 0 { 0 } else { allocate(caller, size)? };
    if size != 0 && (address == 0 || caller.write(address, bytes).is_none()) {
        return Ok(Status::InvalidMemoryAccess);
    }
    let written = caller.write_u32(slot.address, address).and(caller.write_u32(slot.size, size));
    Ok(status_of(written))
}

/// Whether address and size can be written where the guest wants them.
fn is_writable<E: Environment>(caller: &Caller<'_, State<E>>, slot: ReturnSlot) -> bool {
    caller.read(slot.address, 4).is_some() && caller.read(slot.size, 4).is_some()
}

/// The status for a write into the guest's memory.
pub(super) fn status_of(written: Option<()>) -> Status {
    match written {
        Some(()) => Status::Ok,
        None => Status::InvalidMemoryAccess,
    }
}

/// Asks the guest for memory; 0 if it has none. The one nested guest call of this host,
/// of few: see [`Caller::answer`].
fn allocate<E: Environment>(caller: &mut Caller<'_, State<E>>, size: u32) -> Result<u32, Trap> {
    let host = Rc::clone(caller.state());
    let Some(allocate) = host.allocate.get() else {
        return Err(Trap::Host("the guest's allocator is not known yet"));
    };
    let before = host.set_restricted(true);
    let address = caller.call(allocate, size);
    host.set_restricted(before);
    address
}
