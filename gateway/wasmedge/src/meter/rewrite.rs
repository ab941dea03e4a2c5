//! The pass itself.

use super::weigh::{self, Length, Weights, length_operand};
use super::{FUEL_EXPORT, MEMORY_EXPORT, MODULE, REFILL, Refusal};
use super::{frame, fuse, mailbox};
use crate::compile::ModuleLimits;
use walrus::ir::{
    BinaryOp, Binop, Const, GlobalGet, GlobalSet, IfElse, Instr, InstrLocId, InstrSeqId, LocalGet, LocalTee,
    UnaryOp, Unop, Value,
};
use walrus::{ConstExpr, FunctionId, GlobalId, LocalFunction, LocalId, Module, ModuleConfig, ValType};

/// A metered module.
#[derive(Debug)]
pub(crate) struct Metered {
    pub(crate) wasm: Vec<u8>,
    /// How many places charge.
    pub(crate) charge_points: u32,
}

/// Bytes that a bulk operation handles for one unit of fuel, as a power of two: 8, what memory
/// moves in about a nanosecond.
const BYTES_SHIFT: i64 = 3;

/// What the pass added.
#[derive(Clone, Copy)]
struct Meter {
    fuel: GlobalId,
    /// The import that puts a new slice into the counter. It has neither parameters nor results:
    /// the compiled code would lay those out on the stack at every charge, which makes code
    /// longer and keeps LLVM from making jumps of tail calls.
    refill: FunctionId,
}

/// Meters `wasm`, which [`super::inspect()`] has accepted with the same limits.
///
/// # Errors
/// [`Refusal::FrameBytes`] for a function with too large a frame; [`Refusal::Rewrite`] if the
/// module cannot be taken apart after all.
pub(crate) fn rewrite(wasm: &[u8], limits: &ModuleLimits) -> Result<Metered, Refusal> {
    let mut config = ModuleConfig::new();
    // Names of functions are kept for backtraces; debugging sections would only be carried along.
    config.generate_dwarf(false).generate_name_section(true).generate_producers_section(false);
    let mut module =
        config.parse(wasm).map_err(|error| Refusal::Rewrite { message: format!("{error:#}") })?;
    frame::check(&module)?;
    let weights = weigh::weigh(&module);
    let meter = add_meter(&mut module);
    let mut charge_points = 0;
    for (id, weights) in &weights {
        let scratch = (!weights.bulk.is_empty()).then(|| module.locals.add(ValType::I32));
        let function = module.funcs.get_mut(*id).kind.unwrap_local_mut();
        charge_points += charge_function(function, weights, meter, scratch);
    }
    fuse::fuse(&mut module);
    cap_tables(&mut module, limits);
    if let Some(memory) = module.memories.iter().next().map(walrus::Memory::id) {
        module.exports.add(MEMORY_EXPORT, memory);
    }
    mailbox::add(&mut module);
    Ok(Metered { wasm: module.emit_wasm(), charge_points })
}

/// Adds the counter and the import.
fn add_meter(module: &mut Module) -> Meter {
    // Zero: the first charge, be it the start function's, asks the host.
    let fuel = module.globals.add_local(ValType::I64, true, false, ConstExpr::Value(Value::I64(0)));
    module.exports.add(FUEL_EXPORT, fuel);
    let ty = module.types.add(&[], &[]);
    let (refill, _) = module.add_import_func(MODULE, REFILL, ty);
    Meter { fuel, refill }
}

/// Charges at the loops, the bulk operations and the entry of one function.
fn charge_function(
    function: &mut LocalFunction,
    weights: &Weights,
    meter: Meter,
    scratch: Option<LocalId>,
) -> u32 {
    let mut points = 0;
    // Bulk operations first: they shift within their sequences, which are prepended to later.
    if let Some(scratch) = scratch {
        for sequence in &weights.bulk {
            points += charge_bulk(function, *sequence, meter, scratch);
        }
    }
    for (sequence, weight) in &weights.loops {
        prepend(function, *sequence, *weight, meter);
    }
    if weights.entry > 0 {
        prepend(function, function.entry_block(), weights.entry, meter);
    }
    points + weights.loops.len() as u32 + u32::from(weights.entry > 0)
}

fn prepend(function: &mut LocalFunction, sequence: InstrSeqId, weight: u64, meter: Meter) {
    // A module of limited size cannot weigh more than an i64 holds.
    let amount = vec![constant(weight as i64)];
    let mut code = charge(function, meter, amount);
    let block = &mut function.block_mut(sequence).instrs;
    code.append(block);
    *block = code;
}

/// Before each bulk operation of `sequence`: keep a copy of its length and charge for it.
fn charge_bulk(function: &mut LocalFunction, sequence: InstrSeqId, meter: Meter, scratch: LocalId) -> u32 {
    let old = std::mem::take(&mut function.block_mut(sequence).instrs);
    let mut new = Vec::with_capacity(old.len() + 16);
    let mut points = 0;
    for (instruction, location) in old {
        if let Some(length) = length_operand(&instruction) {
            new.push(at(LocalTee { local: scratch }));
            let mut amount = vec![at(LocalGet { local: scratch }), at(Unop { op: UnaryOp::I64ExtendUI32 })];
            if length == Length::Bytes {
                amount.push(constant(BYTES_SHIFT));
                amount.push(at(Binop { op: BinaryOp::I64ShrU }));
            }
            new.append(&mut charge(function, meter, amount));
            points += 1;
        }
        new.push((instruction, location));
    }
    function.block_mut(sequence).instrs = new;
    points
}

/// `fuel -= amount; if fuel < 0 { refill() }`, leaving the operand stack as it was.
fn charge(
    function: &mut LocalFunction,
    meter: Meter,
    amount: Vec<(Instr, InstrLocId)>,
) -> Vec<(Instr, InstrLocId)> {
    let builder = function.builder_mut();
    let spent = builder.dangling_instr_seq(None).call(meter.refill).id();
    let otherwise = builder.dangling_instr_seq(None).id();
    let mut code = vec![at(GlobalGet { global: meter.fuel })];
    code.extend(amount);
    code.extend([
        at(Binop { op: BinaryOp::I64Sub }),
        at(GlobalSet { global: meter.fuel }),
        at(GlobalGet { global: meter.fuel }),
        constant(0),
        at(Binop { op: BinaryOp::I64LtS }),
        at(IfElse { consequent: spent, alternative: otherwise }),
    ]);
    code
}

fn at(instruction: impl Into<Instr>) -> (Instr, InstrLocId) {
    (instruction.into(), InstrLocId::default())
}

fn constant(value: i64) -> (Instr, InstrLocId) {
    at(Const { value: Value::I64(value) })
}

/// Tables may not grow without end: their elements are the host's memory.
fn cap_tables(module: &mut Module, limits: &ModuleLimits) {
    let limit = u64::from(limits.table_elements);
    for table in module.tables.iter_mut().filter(|table| table.import.is_none()) {
        table.maximum = Some(table.maximum.map_or(limit, |declared| declared.min(limit)));
    }
}
