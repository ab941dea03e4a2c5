//! Which functions may return because of a throw.
//!
//! A function may if it calls one that may, by name or through a table by a type that one of the table's
//! functions that may throw has. The catching function ends the way of a throw: whoever calls it is not
//! touched by what it calls.

use std::collections::HashSet;

use walrus::ir::{Call, CallIndirect, ReturnCall, ReturnCallIndirect, Visitor, dfs_in_order};
use walrus::{ConstExpr, ElementItems, FunctionId, Module, TypeId};

/// Functions that may throw, and the types by which such functions may be called through a table.
pub(crate) struct MayThrow {
    functions: HashSet<FunctionId>,
    types: HashSet<TypeId>,
}

impl MayThrow {
    /// Follows the calls of `module` backwards from `throw`, not beyond `catch`.
    pub(crate) fn find(module: &Module, throw: FunctionId, catch: FunctionId) -> Self {
        let calls: Vec<(FunctionId, Calls)> = module
            .funcs
            .iter_local()
            .map(|(id, function)| {
                let mut calls = Calls::default();
                dfs_in_order(&mut calls, function, function.entry_block());
                (id, calls)
            })
            .filter(|(id, _)| *id != catch)
            .collect();
        let in_tables = functions_in_tables(module);
        let mut found = Self { functions: HashSet::from([throw]), types: HashSet::new() };
        loop {
            let before = found.functions.len();
            for (id, calls) in &calls {
                if calls.any(&found) {
                    found.functions.insert(*id);
                }
            }
            let throwing = in_tables.iter().filter(|id| found.functions.contains(id));
            found.types.extend(throwing.map(|id| module.funcs.get(*id).ty()));
            // A new type comes with a new function, or was there when the calls were looked at.
            if found.functions.len() == before
                && !calls.iter().any(|(id, calls)| !found.functions.contains(id) && calls.any(&found))
            {
                return found;
            }
        }
    }

    /// Whether this function may.
    pub(crate) fn function(&self, id: FunctionId) -> bool {
        self.functions.contains(&id)
    }

    /// Whether a call through a table by this type may.
    pub(crate) fn indirect(&self, ty: TypeId) -> bool {
        self.types.contains(&ty)
    }
}

#[derive(Default)]
struct Calls {
    direct: HashSet<FunctionId>,
    indirect: HashSet<TypeId>,
}

impl Calls {
    fn any(&self, found: &MayThrow) -> bool {
        self.direct.iter().any(|id| found.function(*id)) || self.indirect.iter().any(|ty| found.indirect(*ty))
    }
}

impl<'i> Visitor<'i> for Calls {
    fn visit_call(&mut self, call: &Call) {
        self.direct.insert(call.func);
    }

    fn visit_call_indirect(&mut self, call: &CallIndirect) {
        self.indirect.insert(call.ty);
    }

    fn visit_return_call(&mut self, call: &ReturnCall) {
        self.direct.insert(call.func);
    }

    fn visit_return_call_indirect(&mut self, call: &ReturnCallIndirect) {
        self.indirect.insert(call.ty);
    }
}

fn functions_in_tables(module: &Module) -> HashSet<FunctionId> {
    let mut functions = HashSet::new();
    for element in module.elements.iter() {
        match &element.items {
            ElementItems::Functions(ids) => functions.extend(ids.iter().copied()),
            ElementItems::Expressions(_, items) => {
                functions.extend(items.iter().filter_map(|item| match item {
                    ConstExpr::RefFunc(id) => Some(*id),
                    _ => None,
                }))
            }
        }
    }
    functions
}
