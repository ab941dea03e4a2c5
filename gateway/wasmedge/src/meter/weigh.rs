//! How much work an instruction stands for.
//!
//! A function is cut into regions: its own code, and the body of each loop without the loops
//! inside it. A region's weight is what its instructions weigh together, all branches counted:
//! entering it costs that much fuel, whichever way is taken. So the count is exact and
//! reproducible, and an upper bound of the work between two charges.

use std::collections::HashMap;
use walrus::ir::{Instr, InstrSeqId};
use walrus::{FunctionId, LocalFunction, Module};

/// A direct call; what the callee does is charged there, unless it is a small leaf.
const CALL: u64 = 4;
/// An indirect call, and the small leaf it may reach without a charge.
const CALL_INDIRECT: u64 = 8 + SMALL_LEAF;
/// A call of the host, which takes some 60 ns before it does anything.
const HOST_CALL: u64 = 100;
/// Growing a memory or a table: a system call and bookkeeping, whatever the amount.
const GROW: u64 = 2000;
/// Division, remainder and square root.
const SLOW_ARITHMETIC: u64 = 8;
/// A bulk operation, beside what its length costs.
const BULK: u64 = 8;

/// A function without calls or loops and no heavier than this is not charged on entry: its
/// caller pays for it.
const SMALL_LEAF: u64 = 16;

/// Charges of one function.
#[derive(Debug, Default)]
pub(super) struct Weights {
    /// Weight of the function's own region; 0 if it is a small leaf.
    pub(super) entry: u64,
    /// Weight of each loop's region, by the loop's sequence.
    pub(super) loops: Vec<(InstrSeqId, u64)>,
    /// Sequences that hold bulk operations.
    pub(super) bulk: Vec<InstrSeqId>,
}

/// Weighs every function of `module`.
pub(super) fn weigh(module: &Module) -> HashMap<FunctionId, Weights> {
    let leaves = small_leaves(module);
    module
        .funcs
        .iter_local()
        .map(|(id, function)| {
            let mut weights = Walk::new(module, &leaves).run(function);
            if leaves.contains_key(&id) {
                weights.entry = 0;
            }
            (id, weights)
        })
        .collect()
}

fn small_leaves(module: &Module) -> HashMap<FunctionId, u64> {
    let none = HashMap::new();
    let weighed = module.funcs.iter_local().filter_map(|(id, function)| {
        let mut walk = Walk::new(module, &none);
        let weights = walk.run(function);
        let small = !walk.calls && weights.loops.is_empty() && weights.bulk.is_empty();
        (small && weights.entry <= SMALL_LEAF).then_some((id, weights.entry))
    });
    weighed.collect()
}

struct Walk<'a> {
    module: &'a Module,
    leaves: &'a HashMap<FunctionId, u64>,
    calls: bool,
}

impl<'a> Walk<'a> {
    fn new(module: &'a Module, leaves: &'a HashMap<FunctionId, u64>) -> Self {
        Self { module, leaves, calls: false }
    }

    /// Visits all sequences, with a list instead of recursion: blocks may nest deeply.
    fn run(&mut self, function: &LocalFunction) -> Weights {
        let mut weights = Weights::default();
        // A sequence, and the loop whose region it belongs to.
        let mut waiting: Vec<(InstrSeqId, Option<usize>)> = vec![(function.entry_block(), None)];
        while let Some((sequence, region)) = waiting.pop() {
            let mut weight = 0;
            let mut bulk = false;
            for (instruction, _) in &function.block(sequence).instrs {
                weight += self.weight(instruction);
                bulk |= length_operand(instruction).is_some();
                match instruction {
                    Instr::Block(block) => waiting.push((block.seq, region)),
                    Instr::Loop(inner) => {
                        waiting.push((inner.seq, Some(weights.loops.len())));
                        weights.loops.push((inner.seq, 0));
                    }
                    Instr::IfElse(branches) => {
                        waiting.push((branches.consequent, region));
                        waiting.push((branches.alternative, region));
                    }
                    _ => {}
                }
            }
            match region {
                Some(index) => weights.loops[index].1 += weight,
                None => weights.entry += weight,
            }
            if bulk {
                weights.bulk.push(sequence);
            }
        }
        // An empty loop is still a loop.
        weights.loops.iter_mut().for_each(|(_, weight)| *weight += 1);
        weights
    }

    fn weight(&mut self, instruction: &Instr) -> u64 {
        match instruction {
            Instr::Call(call) => self.call(call.func),
            Instr::ReturnCall(call) => self.call(call.func),
            Instr::CallIndirect(_) | Instr::ReturnCallIndirect(_) => {
                self.calls = true;
                CALL_INDIRECT
            }
            Instr::MemoryGrow(_) | Instr::TableGrow(_) => GROW,
            Instr::Binop(operation) if is_slow(operation.op) => SLOW_ARITHMETIC,
            // Structure, not work.
            Instr::Block(_) | Instr::Loop(_) | Instr::Drop(_) => 0,
            other if length_operand(other).is_some() => BULK,
            _ => 1,
        }
    }

    fn call(&mut self, function: FunctionId) -> u64 {
        self.calls = true;
        let imported = matches!(self.module.funcs.get(function).kind, walrus::FunctionKind::Import(_));
        if imported { HOST_CALL } else { CALL + self.leaves.get(&function).copied().unwrap_or(0) }
    }
}

fn is_slow(operation: walrus::ir::BinaryOp) -> bool {
    use walrus::ir::BinaryOp as Op;
    matches!(
        operation,
        Op::I32DivS
            | Op::I32DivU
            | Op::I32RemS
            | Op::I32RemU
            | Op::I64DivS
            | Op::I64DivU
            | Op::I64RemS
            | Op::I64RemU
    )
}

/// What the length of a bulk operation counts; it is always the topmost operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Bytes,
    Elements,
}

/// Whether `instruction` does work in proportion to its topmost operand.
pub(super) fn length_operand(instruction: &Instr) -> Option<Length> {
    match instruction {
        Instr::MemoryCopy(_) | Instr::MemoryFill(_) | Instr::MemoryInit(_) => Some(Length::Bytes),
        Instr::TableCopy(_) | Instr::TableInit(_) | Instr::TableFill(_) | Instr::TableGrow(_) => {
            Some(Length::Elements)
        }
        _ => None,
    }
}
