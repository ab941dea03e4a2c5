//! The module whose one function parks the thread that calls it (see `harden`).

use crate::harden::park::PARK;
use walrus::{FunctionBuilder, Module};

/// Its bytes: an import and an export of that name, the second calling the first.
pub(super) fn wasm() -> Vec<u8> {
    let mut module = Module::default();
    let ty = module.types.add(&[], &[]);
    let (import, _) = module.add_import_func(PARK, PARK, ty);
    let mut builder = FunctionBuilder::new(&mut module.types, &[], &[]);
    builder.func_body().call(import);
    let function = builder.finish(Vec::new(), &mut module.funcs);
    module.exports.add(PARK, function);
    module.emit_wasm()
}
