//! The rewriting.
//!
//! * `noeh_throw` sets the global and returns.
//! * A function that may throw gets, after every call that may, "if the global is set, leave": a branch to
//!   the end of a block around its body, behind which zeros stand for the results. Nobody reads them.
//! * `noeh_catch` calls and forgets: it clears the global and puts the C stack's pointer back to where it
//!   was, since functions that left early did not. It is the only place that does.
//!
//! The exports of the three are removed: nobody outside should call them.

use walrus::ir::{Block, LocalSet, Return, Value, Visitor, dfs_in_order};
use walrus::ir::{BrIf, Const, GlobalGet, GlobalSet, Instr, InstrLocId, InstrSeq, InstrSeqId, LocalGet};
use walrus::{ConstExpr, FunctionId, GlobalId, LocalFunction, Module, ModuleConfig, RefType, ValType};

use crate::reach::MayThrow;

/// Exported by the C code, `native/noeh.c`.
const THROW: &str = "noeh_throw";
const CATCH: &str = "noeh_catch";
/// The linker's name for the global that points to the end of the C stack.
const STACK_POINTER: &str = "__stack_pointer";

/// Why a module cannot be rewritten.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RewriteError {
    /// It is no module.
    #[error("the module cannot be read: {0}")]
    Parse(String),
    /// It was not linked with `noeh.c`.
    #[error("the module exports no function `{0}`")]
    NoFunction(&'static str),
    /// It was linked without names.
    #[error("the module has no global named `{STACK_POINTER}`; link it with names")]
    NoStackPointer,
    /// A result for which there is no zero.
    #[error("a function that may throw has a result of type {0}")]
    Result(ValType),
}

/// What was changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Functions with checks.
    pub(crate) functions: usize,
    /// All functions.
    pub(crate) total: usize,
    /// Calls that are checked.
    pub(crate) checks: usize,
}

/// Rewrites a module.
pub(crate) fn rewrite(wasm: &[u8]) -> Result<(Vec<u8>, Changes), RewriteError> {
    let mut config = ModuleConfig::new();
    config.generate_dwarf(false).generate_producers_section(false);
    let mut module = config.parse(wasm).map_err(|error| RewriteError::Parse(format!("{error:#}")))?;
    let throw = take_export(&mut module, THROW)?;
    let catch = take_export(&mut module, CATCH)?;
    let stack = module.globals.iter().find(|global| global.name.as_deref() == Some(STACK_POINTER));
    let stack = stack.ok_or(RewriteError::NoStackPointer)?.id();
    let thrown = module.globals.add_local(ValType::I32, true, false, ConstExpr::Value(Value::I32(0)));

    let may_throw = MayThrow::find(&module, throw, catch);
    let locals: Vec<FunctionId> = module.funcs.iter_local().map(|(id, _)| id).collect();
    let mut changes = Changes { functions: 0, total: locals.len(), checks: 0 };
    for id in locals {
        if id != throw && may_throw.function(id) {
            changes.functions += 1;
            changes.checks += check_calls(&mut module, id, thrown, &may_throw)?;
        }
    }
    write_throw(&mut module, throw, thrown);
    write_catch(&mut module, catch, thrown, stack);
    Ok((module.emit_wasm(), changes))
}

fn take_export(module: &mut Module, name: &'static str) -> Result<FunctionId, RewriteError> {
    let id = module.exports.get_func(name).map_err(|_| RewriteError::NoFunction(name))?;
    module.exports.remove(name).map_err(|_| RewriteError::NoFunction(name))?;
    match module.funcs.get(id).kind {
        walrus::FunctionKind::Local(_) => Ok(id),
        _ => Err(RewriteError::NoFunction(name)),
    }
}

/// Adds the checks to one function and returns how many.
fn check_calls(
    module: &mut Module,
    id: FunctionId,
    thrown: GlobalId,
    may_throw: &MayThrow,
) -> Result<usize, RewriteError> {
    let results = module.types.get(module.funcs.get(id).ty()).results().to_vec();
    let zeros = results.into_iter().map(zero).collect::<Result<Vec<_>, _>>()?;
    let function = module.funcs.get_mut(id).kind.unwrap_local_mut();
    let entry = function.entry_block();
    let sequences = sequences(function);
    let body = function.builder_mut().dangling_instr_seq(None).id();
    let mut checks = 0;
    for sequence in sequences {
        let old = std::mem::take(&mut function.block_mut(sequence).instrs);
        let mut new = Vec::with_capacity(old.len());
        for (instruction, location) in old {
            let check = match &instruction {
                Instr::Call(call) => may_throw.function(call.func),
                Instr::CallIndirect(call) => may_throw.indirect(call.ty),
                _ => false,
            };
            new.push((instruction, location));
            if check {
                checks += 1;
                new.push(at(GlobalGet { global: thrown }));
                new.push(at(BrIf { block: body }));
            }
        }
        function.block_mut(sequence).instrs = new;
    }
    // The body's own results leave it by `return`: the block around it has none, since a branch to its
    // end is taken with whatever is on the stack.
    let mut instructions = std::mem::take(&mut function.block_mut(entry).instrs);
    instructions.push(at(Return {}));
    function.block_mut(body).instrs = instructions;
    let mut outer = vec![at(Block { seq: body })];
    outer.extend(zeros.into_iter().map(at));
    function.block_mut(entry).instrs = outer;
    Ok(checks)
}

fn zero(ty: ValType) -> Result<Instr, RewriteError> {
    let value = match ty {
        ValType::I32 => Value::I32(0),
        ValType::I64 => Value::I64(0),
        ValType::F32 => Value::F32(0.0),
        ValType::F64 => Value::F64(0.0),
        ValType::V128 => Value::V128(0),
        ValType::Ref(RefType { nullable: true, heap_type }) => {
            let ty = RefType { nullable: true, heap_type };
            return Ok(walrus::ir::RefNull { ty }.into());
        }
        other => return Err(RewriteError::Result(other)),
    };
    Ok(Const { value }.into())
}

/// All sequences of instructions of a function.
fn sequences(function: &LocalFunction) -> Vec<InstrSeqId> {
    struct Sequences(Vec<InstrSeqId>);
    impl<'i> Visitor<'i> for Sequences {
        fn start_instr_seq(&mut self, sequence: &'i InstrSeq) {
            self.0.push(sequence.id());
        }
    }
    let mut sequences = Sequences(Vec::new());
    dfs_in_order(&mut sequences, function, function.entry_block());
    sequences.0
}

fn write_throw(module: &mut Module, throw: FunctionId, thrown: GlobalId) {
    let function = module.funcs.get_mut(throw).kind.unwrap_local_mut();
    let entry = function.entry_block();
    function.block_mut(entry).instrs = vec![constant(1), at(GlobalSet { global: thrown })];
}

/// Puts the stack's pointer back and clears the global after what the C code wrote: one call.
fn write_catch(module: &mut Module, catch: FunctionId, thrown: GlobalId, stack: GlobalId) {
    let saved = module.locals.add(ValType::I32);
    let function = module.funcs.get_mut(catch).kind.unwrap_local_mut();
    let entry = function.entry_block();
    let body = &mut function.block_mut(entry).instrs;
    body.splice(0..0, [at(GlobalGet { global: stack }), at(LocalSet { local: saved })]);
    body.extend([
        at(LocalGet { local: saved }),
        at(GlobalSet { global: stack }),
        constant(0),
        at(GlobalSet { global: thrown }),
    ]);
}

fn at(instruction: impl Into<Instr>) -> (Instr, InstrLocId) {
    (instruction.into(), InstrLocId::default())
}

fn constant(value: i32) -> (Instr, InstrLocId) {
    at(Const { value: Value::I32(value) })
}
