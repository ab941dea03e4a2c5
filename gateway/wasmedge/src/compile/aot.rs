//! The call of WasmEdge's compiler, in the child.

use super::options::OptLevel;
use std::path::Path;
use wasmedge_sdk::config::{CommonConfigOptions, CompilerConfigOptions, Config, ConfigBuilder};
use wasmedge_sdk::{Compiler, CompilerOptimizationLevel, CompilerOutputFormat, WasmEdgeResult, WasmStandard};

/// Part of the cache key: change it with anything below that changes the code that comes out.
pub(super) const SETTINGS: &str = "native; wasm 2 + tail call, extended const, relaxed simd, multi memory; 1";

/// Compiles metered `wasm` to the shared object `output`, whose name must end in `.so`.
pub(super) fn compile(wasm: &[u8], level: OptLevel, output: &Path) -> Result<(), String> {
    let name = output.file_stem().and_then(|name| name.to_str()).ok_or("the output has no file name")?;
    let folder = output.parent().ok_or("the output has no folder")?;
    let run = || -> WasmEdgeResult<_> {
        Compiler::new(Some(&config(level)?))?.compile_from_bytes(wasm, name, folder)
    };
    let made = run().map_err(|error| error.to_string())?;
    if made == output { Ok(()) } else { Err(format!("the compiler wrote `{}`", made.display())) }
}

/// The proposals must be those that `crate::raw::configure` loads with.
fn config(level: OptLevel) -> WasmEdgeResult<Config> {
    let common = CommonConfigOptions::from_wasm_standard(WasmStandard::Wasm2)
        .tail_call(true)
        .extended_const(true)
        .relax_simd(true)
        .multi_memories(true);
    let compiler = CompilerConfigOptions::new()
        .out_format(CompilerOutputFormat::Native)
        .optimization_level(match level {
            OptLevel::O0 => CompilerOptimizationLevel::O0,
            OptLevel::O2 => CompilerOptimizationLevel::O2,
        })
        // The meter interrupts; the compiler's own way costs several times as much.
        .interruptible(false)
        .generic_binary(false);
    ConfigBuilder::new(common).with_compiler_config(compiler).build()
}
