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

mod code;

use std::collections::HashMap;

use walrus::ir::{VisitorMut, dfs_pre_order_mut};
use walrus::{ConstExpr, ElementItems, ExportItem, FunctionId, ImportKind, Module, ValType};

use self::code::Build;
use super::MAILBOX_EXPORT;
use crate::mailbox::Edit;

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
    let build = Build::new(module, memory, mailbox, allocate);
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
