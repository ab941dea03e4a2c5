//! The code of the functions that take the place of imports.
//!
//! [`Build::function`] is the way in; what each does is told by its parent. They work on two memories, the
//! guest's and the mailbox, whose layout is `crate::mailbox::layout`.

use walrus::ir::{BinaryOp, ExtendedLoad, LoadKind, MemArg, StoreKind, UnaryOp};
use walrus::{
    FunctionBuilder, FunctionId, FunctionKind, InstrSeqBuilder, LocalId, MemoryId, Module, ValType,
};

use super::{Function, Way};
use crate::mailbox::Edit;
use crate::mailbox::layout::{
    ALLOCATING, ANSWER, ANSWER_LEN, EDIT_SHIFT, EXPECTED, HEAD, IS_OPEN, POSTED, POSTED_LEN, POSTED_MAX,
    POSTED_PIECE,
};

/// Header maps of an exchange, whose changes may be posted, are below this.
const MAPS: i32 = 4;
/// `proxy-wasm`'s status INVALID_MEMORY_ACCESS: the allocator gave no memory, or memory that is not there.
const NO_MEMORY: i32 = 6;

/// What functions of ours work on.
#[derive(Clone, Copy)]
pub(super) struct Build {
    memory: MemoryId,
    mailbox: MemoryId,
    allocate: FunctionId,
    /// Copy into the guest's memory and out of it: where to, where from, how much.
    inwards: FunctionId,
    outwards: FunctionId,
}

impl Build {
    /// Adds what the functions share.
    pub(super) fn new(
        module: &mut Module,
        memory: MemoryId,
        mailbox: MemoryId,
        allocate: FunctionId,
    ) -> Self {
        let [inwards, outwards] =
            [(mailbox, memory), (memory, mailbox)].map(|(from, to)| copier(module, from, to));
        Self { memory, mailbox, allocate, inwards, outwards }
    }

    /// Adds the function that takes the place of `import`.
    pub(super) fn function(self, module: &mut Module, function: &Function, import: FunctionId) -> FunctionId {
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
        let change = Change::of(params);
        body.block(None, |quick| {
            self.leave_unless_it_fits(quick, &change, at);
            self.put(quick, &change, edit, at);
            quick.i32_const(0).return_();
        });
        self::call(body, import, params);
    }

    /// Leaves the block if the change is not to be posted. Otherwise `at` is the length of what has been.
    fn leave_unless_it_fits(self, quick: &mut InstrSeqBuilder<'_>, change: &Change, at: LocalId) {
        let call = quick.id();
        quick.i32_const(0);
        self.get(quick, IS_OPEN);
        quick.unop(UnaryOp::I32Eqz).br_if(call);
        quick.i32_const(0);
        self.get(quick, ALLOCATING);
        quick.br_if(call);
        quick.local_get(change.map).i32_const(MAPS).binop(BinaryOp::I32GeU).br_if(call);
        for (start, len) in change.pieces() {
            quick.local_get(len).i32_const(POSTED_PIECE.cast_signed()).binop(BinaryOp::I32GeU).br_if(call);
            self.is_within(quick, start, len);
            quick.unop(UnaryOp::I32Eqz).br_if(call);
        }
        // Behind what is there: the lengths are small, so nothing wraps.
        quick.i32_const(0);
        self.get(quick, POSTED_LEN);
        quick.local_tee(at).i32_const(HEAD.cast_signed()).binop(BinaryOp::I32Add);
        for (_, len) in change.pieces() {
            quick.local_get(len).binop(BinaryOp::I32Add);
        }
        quick.i32_const(POSTED_MAX.cast_signed()).binop(BinaryOp::I32GtU).br_if(call);
    }

    /// Puts the change `at` the end of what has been posted.
    fn put(self, quick: &mut InstrSeqBuilder<'_>, change: &Change, edit: Edit, at: LocalId) {
        let kind = (edit.to_wire() << EDIT_SHIFT).cast_signed();
        quick.local_get(at).local_get(change.map).i32_const(kind).binop(BinaryOp::I32Or);
        quick.store(self.mailbox, STORE, place(POSTED));
        quick.local_get(at).local_get(change.name.1).store(self.mailbox, STORE, place(POSTED + 4));
        quick.local_get(at);
        match change.value {
            Some((_, len)) => quick.local_get(len),
            None => quick.i32_const(0),
        };
        quick.store(self.mailbox, STORE, place(POSTED + 8));
        quick.local_get(at).i32_const(HEAD.cast_signed()).binop(BinaryOp::I32Add).local_set(at);
        for (start, len) in change.pieces() {
            quick.local_get(at).i32_const(POSTED.cast_signed()).binop(BinaryOp::I32Add);
            quick.local_get(start).local_get(len).call(self.outwards);
            quick.local_get(at).local_get(len).binop(BinaryOp::I32Add).local_set(at);
        }
        quick.i32_const(0).local_get(at).store(self.mailbox, STORE, place(POSTED_LEN));
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

/// The parameters of a change: where something starts, and its length.
struct Change {
    map: LocalId,
    name: (LocalId, LocalId),
    /// None to remove.
    value: Option<(LocalId, LocalId)>,
}

impl Change {
    /// Of three parameters or five.
    fn of(params: &[LocalId]) -> Self {
        let value = params.get(3).zip(params.get(4)).map(|(start, len)| (*start, *len));
        Self { map: params[0], name: (params[1], params[2]), value }
    }

    fn pieces(&self) -> impl Iterator<Item = (LocalId, LocalId)> {
        [self.name].into_iter().chain(self.value)
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
