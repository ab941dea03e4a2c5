//! Entries that run several of the guest's functions one after another.
//!
//! Whatever a guest does, a call into it costs the engine some thousand instructions and a buffer of
//! 32 KiB. Functions that always follow each other are therefore run through one added export, an *entry*:
//! it takes the parameters of all, hands each step its own, and gives back how far it came.
//!
//! The host can have an entry stop after the step that runs ([`crate::Caller::split`]), when something
//! has to be set right before the next one; it then calls the rest one by one, as without an entry.
//!
//! An entry is left out if the module lacks one of its functions, or has one of another type.

use super::{RESERVED, SPLIT_EXPORT, STEP_EXPORT};
use walrus::ir::{BinaryOp, UnaryOp};
use walrus::{
    ConstExpr, ExportItem, FunctionBuilder, FunctionId, GlobalId, InstrSeqBuilder, LocalId, Module, ValType,
};

/// Functions to be run one after another.
#[derive(Debug)]
pub struct Entry {
    /// Under which it is exported.
    pub name: &'static str,
    /// How many parameters it takes, each an i32.
    params: usize,
    /// At least two.
    pub steps: &'static [Step],
}

/// One function of an entry.
#[derive(Debug)]
pub struct Step {
    /// The export that it runs.
    pub export: &'static str,
    /// Which of the entry's parameters it takes.
    params: &'static [usize],
    outcome: Outcome,
}

/// What the result of a step is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It has none.
    Nothing,
    /// An i32, which the host is told. A 0 ends the entry.
    Gate,
    /// An i32, which the host is told.
    Answer,
}

/// A context is created and sees its request's headers: `(context, parent, count, end of stream)`.
pub const BEGIN: Entry = Entry {
    name: "tollgate:begin",
    params: 4,
    steps: &[
        Step { export: "proxy_on_context_create", params: &[0, 1], outcome: Outcome::Nothing },
        Step { export: "proxy_on_request_headers", params: &[0, 2, 3], outcome: Outcome::Answer },
    ],
};

/// A context ends: `(context)`.
pub const END: Entry = Entry {
    name: "tollgate:end",
    params: 1,
    steps: &[
        Step { export: "proxy_on_done", params: &[0], outcome: Outcome::Gate },
        Step { export: "proxy_on_log", params: &[0], outcome: Outcome::Nothing },
        Step { export: "proxy_on_delete", params: &[0], outcome: Outcome::Nothing },
    ],
};

impl Entry {
    /// How many parameters it takes, each an i32.
    pub(crate) fn params(&self) -> usize {
        self.params
    }
}

/// How far an entry came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Steps that were run.
    pub steps: u32,
    /// The last result of a step that has one.
    pub value: u32,
}

impl Reached {
    /// Reads what an entry gave back.
    pub fn from_wire(result: u64) -> Self {
        Self { steps: (result >> 32) as u32, value: result as u32 }
    }
}

/// What entries share.
#[derive(Clone, Copy)]
struct Shared {
    /// The step that runs, for the host to read after a trap.
    step: GlobalId,
    /// Not 0: stop after it. For the host to set.
    split: GlobalId,
}

/// Adds the entries whose functions the module has. After metering: what an entry does itself is free.
pub(super) fn fuse(module: &mut Module) {
    let wanted = [&BEGIN, &END].map(|entry| functions(module, entry).map(|functions| (entry, functions)));
    if wanted.iter().all(Option::is_none) {
        return;
    }
    let mut global = |name| {
        let id =
            module.globals.add_local(ValType::I32, true, false, ConstExpr::Value(walrus::ir::Value::I32(0)));
        module.exports.add(name, id);
        id
    };
    let shared = Shared { step: global(STEP_EXPORT), split: global(SPLIT_EXPORT) };
    for (entry, functions) in wanted.into_iter().flatten() {
        debug_assert!(entry.name.starts_with(RESERVED));
        let id = add(module, entry, &functions, shared);
        module.exports.add(entry.name, id);
    }
}

/// The functions of the steps, if the module has all of them and of the right types.
fn functions(module: &Module, entry: &Entry) -> Option<Vec<FunctionId>> {
    entry.steps.iter().map(|step| function(module, step)).collect()
}

fn function(module: &Module, step: &Step) -> Option<FunctionId> {
    let ExportItem::Function(id) = module.exports.iter().find(|export| export.name == step.export)?.item
    else {
        return None;
    };
    let ty = module.types.get(module.funcs.get(id).ty());
    let results = usize::from(step.outcome != Outcome::Nothing);
    let is_plain =
        |types: &[ValType], count| types.len() == count && types.iter().all(|ty| *ty == ValType::I32);
    (is_plain(ty.params(), step.params.len()) && is_plain(ty.results(), results)).then_some(id)
}

fn add(module: &mut Module, entry: &Entry, functions: &[FunctionId], shared: Shared) -> FunctionId {
    let params: Vec<_> = (0..entry.params).map(|_| module.locals.add(ValType::I32)).collect();
    let (value, reached) = (module.locals.add(ValType::I32), module.locals.add(ValType::I32));
    let mut builder =
        FunctionBuilder::new(&mut module.types, &vec![ValType::I32; entry.params], &[ValType::I64]);
    builder.name(entry.name.to_owned());
    let mut body = builder.func_body();
    body.i32_const(0).global_set(shared.split);
    body.block(None, |steps| {
        for (position, (step, function)) in entry.steps.iter().zip(functions).enumerate() {
            // A handful of steps.
            run(steps, position as i32, step, *function, &params, value, reached, shared);
        }
    });
    body.local_get(reached).unop(UnaryOp::I64ExtendUI32).i64_const(32).binop(BinaryOp::I64Shl);
    body.local_get(value).unop(UnaryOp::I64ExtendUI32).binop(BinaryOp::I64Or);
    builder.finish(params, &mut module.funcs)
}

/// One step, and a way out of the block behind it.
#[expect(clippy::too_many_arguments, reason = "one step's operands, all of which it needs")]
fn run(
    steps: &mut InstrSeqBuilder<'_>,
    position: i32,
    step: &Step,
    function: FunctionId,
    params: &[LocalId],
    value: LocalId,
    reached: LocalId,
    shared: Shared,
) {
    let out = steps.id();
    steps.i32_const(position).global_set(shared.step);
    for param in step.params {
        steps.local_get(params[*param]);
    }
    steps.call(function);
    if step.outcome != Outcome::Nothing {
        steps.local_set(value);
    }
    steps.i32_const(position + 1).local_set(reached);
    if step.outcome == Outcome::Gate {
        steps.local_get(value).unop(UnaryOp::I32Eqz).br_if(out);
    }
    steps.global_get(shared.split).br_if(out);
}
