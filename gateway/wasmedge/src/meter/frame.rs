//! How large a function's native frame may become.
//!
//! Compiled code does not probe the stack, so a frame must be smaller than the guard below it
//! ([`crate::harden`]). The body's size does not bound it: a call lays out its parameters and
//! results on the stack, 16 bytes each, and a call of nine bytes may have a thousand results.
//! Measured on WasmEdge 0.17.1 at O0: 16 bytes for each parameter and result of a call, up to 16
//! for any other value that lives long enough. This adds them all up, as if nothing were reused.

use super::Refusal;
use walrus::ir::{Instr, InstrLocId, InstrSeq, InstrSeqType, Visitor, dfs_in_order};
use walrus::{LocalFunction, Module, TypeId};

/// Largest frame, in bytes: half the guard.
const LIMIT: u64 = (crate::harden::GUARD / 2) as u64;

/// Bytes of a value on the stack, whatever its type.
const SLOT: u64 = 16;

/// Refuses a module if any of its functions might have a frame larger than the limit.
pub(super) fn check(module: &Module) -> Result<(), Refusal> {
    for (id, function) in module.funcs.iter_local() {
        let bytes = bound(module, function);
        if bytes > LIMIT {
            return Err(Refusal::FrameBytes { function: id.index() as u32, bytes, limit: LIMIT });
        }
    }
    Ok(())
}

fn bound(module: &Module, function: &LocalFunction) -> u64 {
    let mut slots = Slots { module, count: 0 };
    dfs_in_order(&mut slots, function, function.entry_block());
    slots.count.saturating_mul(SLOT)
}

struct Slots<'a> {
    module: &'a Module,
    count: u64,
}

impl Slots<'_> {
    fn add(&mut self, ty: TypeId) {
        let ty = self.module.types.get(ty);
        self.count += (ty.params().len() + ty.results().len()) as u64;
    }
}

impl<'a> Visitor<'a> for Slots<'a> {
    fn start_instr_seq(&mut self, sequence: &'a InstrSeq) {
        match sequence.ty {
            InstrSeqType::Simple(result) => self.count += u64::from(result.is_some()),
            InstrSeqType::MultiValue(ty) => self.add(ty),
        }
    }

    fn visit_instr(&mut self, instruction: &'a Instr, _: &'a InstrLocId) {
        self.count += 1;
        match instruction {
            Instr::Call(call) => self.add(self.module.funcs.get(call.func).ty()),
            Instr::ReturnCall(call) => self.add(self.module.funcs.get(call.func).ty()),
            Instr::CallIndirect(call) => self.add(call.ty),
            Instr::ReturnCallIndirect(call) => self.add(call.ty),
            _ => {}
        }
    }
}
