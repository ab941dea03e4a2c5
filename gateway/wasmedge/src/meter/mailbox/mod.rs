//! Host functions that need no call back, and some that need no call.
//!
//! A crossing between guest and engine takes some 1 500 instructions one way and 2 000 the other, whatever is said
//! in it. Two kinds of host function take more crossings than what they say is worth:
//!
//! * Those that give bytes (a header, a property) have the host call the guest's allocator, a crossing
//!   within a crossing. Here the bytes are left in the *mailbox*, and code of ours in the guest calls the
//!   allocator and copies them.
//! * Those that change a header answer OK, whatever comes of it (`proxy-wasm::host::headers` says why). Here code
//!   of ours *posts* the change in the mailbox and answers so itself; the host does it before anything else
//!   is asked of it, or when the guest's call ends.
//!
//! What: the pass puts functions of its own in the place of such imports, which call them in turn when they must:
//! for what is too large, when the host does not want changes posted, and for what is wrong. The mailbox is a second
//! memory of one page, under a name that the source cannot have ([`RESERVED`](super::RESERVED)) and an index that its
//! instructions cannot name.
//!
//! Left out for a module without an allocator, or with another number of memories than one. Added after
//! metering: what these functions do is free, so it is little; the allocator is metered as ever.

use super::MAILBOX_EXPORT;
use crate::mailbox::Edit;
use crate::mailbox::layout::{
    ALLOCATING, ANSWER, ANSWER_LEN, EDIT_SHIFT, EXPECTED, HEAD, IS_OPEN, POSTED, POSTED_LEN, POSTED_MAX,
    POSTED_PIECE,
};
use std::collections::HashMap;
use walrus::ir::{
    BinaryOp, ExtendedLoad, LoadKind, MemArg, StoreKind, UnaryOp, VisitorMut, dfs_pre_order_mut,
};
use walrus::{
    ConstExpr, ElementItems, ExportItem, FunctionBuilder, FunctionId, FunctionKind, ImportKind,
    InstrSeqBuilder, LocalId, MemoryId, Module, ValType,
};

/// What is imported by its name, from `env`.
struct Function {
    name: &'static str,
    /// How many parameters it takes, each an i32.
    params: usize,
    way: Way,
}

#[derive(Clone, Copy)]
enum Way {
    /// Gives bytes: this parameter says where their address is to be written, the next where their length.
    Answers { slot: usize },
    /// Changes a header: map, name, and value if it takes one.
    Posts(Edit),
}

const FUNCTIONS: [Function; 9] = [
    Function { name: "proxy_get_header_map_value", params: 5, way: Way::Answers { slot: 3 } },
    Function { name: "proxy_get_header_map_pairs", params: 3, way: Way::Answers { slot: 1 } },
    Function { name: "proxy_get_property", params: 4, way: Way::Answers { slot: 2 } },
    Function { name: "proxy_get_buffer_bytes", params: 5, way: Way::Answers { slot: 3 } },
    Function { name: "proxy_get_shared_data", params: 5, way: Way::Answers { slot: 2 } },
    Function { name: "proxy_call_foreign_function", params: 6, way: Way::Answers { slot: 4 } },
    Function { name: "proxy_add_header_map_value", params: 5, way: Way::Posts(Edit::Add) },
    Function { name: "proxy_replace_header_map_value", params: 5, way: Way::Posts(Edit::Replace) },
    Function { name: "proxy_remove_header_map_value", params: 3, way: Way::Posts(Edit::Remove) },
];

/// Header maps of an exchange, whose changes may be posted, are below this.
const MAPS: i32 = 4;
/// `proxy-wasm`'s status INVALID_MEMORY_ACCESS: the allocator gave no memory, or memory that is not there.
const NO_MEMORY: i32 = 6;

/// Puts functions of ours in the place of those imports that the module has.
pub(super) fn add(module: &mut Module) {
    let Some(allocate) = allocator(module) else { return };
    let memories: Vec<_> = module.memories.iter().map(walrus::Memory::id).collect();
    let &[memory] = memories.as_slice() else { return };
    let found: Vec<_> =
        FUNCTIONS.iter().filter_map(|function| Some((function, import(module, function)?))).collect();
    if found.is_empty() {
        return;
    }
    let mailbox = module.memories.add_local(false, false, 1, Some(1), None);
    module.exports.add(MAILBOX_EXPORT, mailbox);
    let [inwards, outwards] =
        [(mailbox, memory), (memory, mailbox)].map(|(from, to)| copier(module, from, to));
    let build = Build { memory, mailbox, allocate, inwards, outwards };
    let replaced: HashMap<_, _> = found
        .into_iter()
        .map(|(function, import)| (import, build.function(module, function, import)))
        .collect();
    replace(module, &replaced);
}

/// What the host calls for memory: see `proxy-wasm::vm::start`.
fn allocator(module: &Module) -> Option<FunctionId> {
    let find = |name| {
        let export = module.exports.iter().find(|export| export.name == name)?;
        let ExportItem::Function(id) = export.item else { return None };
        is_plain(module, id, 1).then_some(id)
    };
    find("proxy_on_memory_allocate").or_else(|| find("malloc"))
}

fn import(module: &Module, function: &Function) -> Option<FunctionId> {
    let import =
        module.imports.iter().find(|import| import.module == "env" && import.name == function.name)?;
    let ImportKind::Function(id) = import.kind else { return None };
    is_plain(module, id, function.params).then_some(id)
}

/// Whether it takes so many i32 and gives one.
fn is_plain(module: &Module, id: FunctionId, params: usize) -> bool {
    let ty = module.types.get(module.funcs.get(id).ty());
    ty.params().len() == params
        && ty.params().iter().all(|ty| *ty == ValType::I32)
        && ty.results() == [ValType::I32]
}

/// Has everything that means an import mean the function in its place; but for these themselves.
fn replace(module: &mut Module, by: &HashMap<FunctionId, FunctionId>) {
    let is_ours = |id| by.values().any(|ours| *ours == id);
    for (_, function) in module.funcs.iter_local_mut().filter(|(id, _)| !is_ours(*id)) {
        let entry = function.entry_block();
        dfs_pre_order_mut(&mut Replace(by), function, entry);
    }
    for element in module.elements.iter_mut() {
        match &mut element.items {
            ElementItems::Functions(functions) => {
                functions.iter_mut().for_each(|id| Replace(by).visit_function_id_mut(id));
            }
            ElementItems::Expressions(_, expressions) => {
                for expression in expressions {
                    if let ConstExpr::RefFunc(id) = expression {
                        Replace(by).visit_function_id_mut(id);
                    }
                }
            }
        }
    }
    // What an import is exported as, a table's or a global's value is left: the way it has always been.
}

struct Replace<'a>(&'a HashMap<FunctionId, FunctionId>);

impl VisitorMut for Replace<'_> {
    fn visit_function_id_mut(&mut self, id: &mut FunctionId) {
        if let Some(ours) = self.0.get(id) {
            *id = *ours;
        }
    }
}

/// What functions of ours work on.
#[derive(Clone, Copy)]
struct Build {
    memory: MemoryId,
    mailbox: MemoryId,
    allocate: FunctionId,
    /// Copy into the guest's memory and out of it: where to, where from, how much.
    inwards: FunctionId,
    outwards: FunctionId,
}

impl Build {
    fn function(self, module: &mut Module, function: &Function, import: FunctionId) -> FunctionId {
        debug_assert!(matches!(module.funcs.get(import).kind, FunctionKind::Import(_)));
        let params: Vec<_> = (0..function.params).map(|_| module.locals.add(ValType::I32)).collect();
        let spare: [LocalId; 3] = std::array::from_fn(|_| module.locals.add(ValType::I32));
        let mut builder =
            FunctionBuilder::new(&mut module.types, &vec![ValType::I32; function.params], &[ValType::I32]);
        builder.name(format!("tollgate:{}", function.name));
        let mut body = builder.func_body();
        match function.way {
            Way::Answers { slot } => {
                self.answer(&mut body, import, &params, (params[slot], params[slot + 1]), spare);
            }
            Way::Posts(edit) => self.post(&mut body, import, &params, edit, spare[0]),
        }
        builder.finish(params, &mut module.funcs)
    }

    /// Calls the host, and the allocator if an answer was left.
    fn answer(
        self,
        body: &mut InstrSeqBuilder<'_>,
        import: FunctionId,
        params: &[LocalId],
        (address_out, len_out): (LocalId, LocalId),
        [status, len, address]: [LocalId; 3],
    ) {
        self.put_const(body, ANSWER_LEN, EXPECTED.cast_signed());
        call(body, import, params);
        body.local_set(status);
        body.i32_const(0);
        self.get(body, ANSWER_LEN);
        body.local_set(len);
        self.put_const(body, ANSWER_LEN, 0);
        body.block(None, |left| {
            let none = left.id();
            // Nothing was left, or the host has answered by itself.
            left.local_get(len).i32_const(EXPECTED.cast_signed()).binop(BinaryOp::I32Eq).br_if(none);
            left.local_get(len).unop(UnaryOp::I32Eqz).br_if(none);
            self.put_const(left, ALLOCATING, 1);
            left.local_get(len).call(self.allocate).local_set(address);
            self.put_const(left, ALLOCATING, 0);
            left.block(None, |room| {
                let is_there = room.id();
                self.is_within(room, address, len);
                room.local_get(address)
                    .i32_const(0)
                    .binop(BinaryOp::I32Ne)
                    .binop(BinaryOp::I32And)
                    .br_if(is_there);
                room.i32_const(NO_MEMORY).return_();
            });
            left.local_get(address).i32_const(ANSWER.cast_signed()).local_get(len).call(self.inwards);
            // The host has seen to it that both can be written.
            for (out, value) in [(address_out, address), (len_out, len)] {
                left.local_get(out).local_get(value).store(self.memory, STORE, place(0));
            }
        });
        body.local_get(status);
    }

    /// Posts a change, or calls the host.
    fn post(
        self,
        body: &mut InstrSeqBuilder<'_>,
        import: FunctionId,
        params: &[LocalId],
        edit: Edit,
        at: LocalId,
    ) {
        let [map, name, name_len] = [params[0], params[1], params[2]];
        let value = params.get(3).zip(params.get(4)).map(|(value, len)| (*value, *len));
        let pieces: Vec<_> = [(name, name_len)].into_iter().chain(value).collect();
        body.block(None, |quick| {
            let call = quick.id();
            quick.i32_const(0);
            self.get(quick, IS_OPEN);
            quick.unop(UnaryOp::I32Eqz).br_if(call);
            quick.i32_const(0);
            self.get(quick, ALLOCATING);
            quick.br_if(call);
            quick.local_get(map).i32_const(MAPS).binop(BinaryOp::I32GeU).br_if(call);
            for (start, len) in &pieces {
                quick
                    .local_get(*len)
                    .i32_const(POSTED_PIECE.cast_signed())
                    .binop(BinaryOp::I32GeU)
                    .br_if(call);
                self.is_within(quick, *start, *len);
                quick.unop(UnaryOp::I32Eqz).br_if(call);
            }
            // Behind what is there: the lengths are small, so nothing wraps.
            quick.i32_const(0);
            self.get(quick, POSTED_LEN);
            quick.local_tee(at);
            length(quick, &pieces);
            quick
                .binop(BinaryOp::I32Add)
                .i32_const(POSTED_MAX.cast_signed())
                .binop(BinaryOp::I32GtU)
                .br_if(call);
            quick.local_get(at);
            quick
                .local_get(map)
                .i32_const((edit.to_wire() << EDIT_SHIFT).cast_signed())
                .binop(BinaryOp::I32Or);
            quick.store(self.mailbox, STORE, place(POSTED));
            quick.local_get(at).local_get(name_len).store(self.mailbox, STORE, place(POSTED + 4));
            quick.local_get(at);
            match value {
                Some((_, len)) => quick.local_get(len),
                None => quick.i32_const(0),
            };
            quick.store(self.mailbox, STORE, place(POSTED + 8));
            quick.local_get(at).i32_const(HEAD.cast_signed()).binop(BinaryOp::I32Add).local_set(at);
            for (start, len) in &pieces {
                quick.local_get(at).i32_const(POSTED.cast_signed()).binop(BinaryOp::I32Add);
                quick.local_get(*start).local_get(*len).call(self.outwards);
                quick.local_get(at).local_get(*len).binop(BinaryOp::I32Add).local_set(at);
            }
            quick.i32_const(0).local_get(at).store(self.mailbox, STORE, place(POSTED_LEN));
            quick.i32_const(0).return_();
        });
        self::call(body, import, params);
    }

    /// Leaves whether `len` bytes at `start` are all in the guest's memory.
    fn is_within(self, body: &mut InstrSeqBuilder<'_>, start: LocalId, len: LocalId) {
        for local in [start, len] {
            body.local_get(local).unop(UnaryOp::I64ExtendUI32);
        }
        body.binop(BinaryOp::I64Add);
        body.memory_size(self.memory).unop(UnaryOp::I64ExtendUI32).i64_const(16).binop(BinaryOp::I64Shl);
        body.binop(BinaryOp::I64LeU);
    }

    /// Takes a 0 and leaves the number at `offset` of the mailbox.
    fn get(self, body: &mut InstrSeqBuilder<'_>, offset: u32) {
        body.load(self.mailbox, LoadKind::I32 { atomic: false }, place(offset));
    }

    fn put_const(self, body: &mut InstrSeqBuilder<'_>, offset: u32, value: i32) {
        body.i32_const(0).i32_const(value).store(self.mailbox, STORE, place(offset));
    }
}

/// A function that copies from one memory to another. `memory.copy` has the engine do it, which is a crossing too:
/// for less than [`SHORT`] bytes, as names and most values are, a loop is quicker.
fn copier(module: &mut Module, from: MemoryId, to: MemoryId) -> FunctionId {
    let params: [LocalId; 3] = std::array::from_fn(|_| module.locals.add(ValType::I32));
    let [target, source, len] = params;
    let mut builder = FunctionBuilder::new(&mut module.types, &[ValType::I32; 3], &[]);
    let mut body = builder.func_body();
    body.block(None, |short| {
        let is_short = short.id();
        short.local_get(len).i32_const(SHORT).binop(BinaryOp::I32LtU).br_if(is_short);
        short.local_get(target).local_get(source).local_get(len).memory_copy(from, to).return_();
    });
    let words = (LoadKind::I64 { atomic: false }, StoreKind::I64 { atomic: false }, 8);
    let bytes = (LoadKind::I32_8 { kind: ExtendedLoad::ZeroExtend }, StoreKind::I32_8 { atomic: false }, 1);
    for (load, store, step) in [words, bytes] {
        body.block(None, |all| {
            let done = all.id();
            all.loop_(None, |next| {
                let again = next.id();
                next.local_get(len).i32_const(step).binop(BinaryOp::I32LtU).br_if(done);
                next.local_get(target).local_get(source).load(from, load, place(0)).store(
                    to,
                    store,
                    place(0),
                );
                for (local, op) in
                    [(target, BinaryOp::I32Add), (source, BinaryOp::I32Add), (len, BinaryOp::I32Sub)]
                {
                    next.local_get(local).i32_const(step).binop(op).local_set(local);
                }
                next.br(again);
            });
        });
    }
    builder.finish(params.to_vec(), &mut module.funcs)
}

/// Bytes from which on the engine copies.
const SHORT: i32 = 192;

const STORE: StoreKind = StoreKind::I32 { atomic: false };

/// No alignment is promised: guests may point anywhere, and changes lie where they lie.
fn place(offset: u32) -> MemArg {
    MemArg { align: 1, offset: u64::from(offset) }
}

fn call(body: &mut InstrSeqBuilder<'_>, function: FunctionId, params: &[LocalId]) {
    params.iter().for_each(|param| {
        body.local_get(*param);
    });
    body.call(function);
}

/// Leaves how many bytes a change takes.
fn length(body: &mut InstrSeqBuilder<'_>, pieces: &[(LocalId, LocalId)]) {
    body.i32_const(HEAD.cast_signed());
    for (_, len) in pieces {
        body.local_get(*len).binop(BinaryOp::I32Add);
    }
}
