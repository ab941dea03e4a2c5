//! Modules for tests: compiled by the engine's own compiler, in its child process, and kept under
//! cargo's folder for tests.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tollgate_wasmedge::{Compiler, CompilerOptions, Module, OptLevel};

/// Loads a module written in WAT.
pub fn wat(source: &str) -> Module {
    load(&wat::parse_str(source).unwrap_or_else(|error| panic!("{error}\n{source}")), OptLevel::O0)
}

/// Loads a module in binary form.
pub fn load(wasm: &[u8], level: OptLevel) -> Module {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let artifact = compiler().compile(wasm, level).unwrap();
    Module::load(&artifact).unwrap()
}

fn compiler() -> Compiler {
    let cache_dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("code");
    let program = env!("CARGO_BIN_EXE_tollgate-proxy-wasm-aot");
    let no_args: [&str; 0] = [];
    Compiler::new(CompilerOptions::new(program, no_args, cache_dir)).unwrap()
}

/// A module with what every guest needs: the marker, memory, a bump allocator; and `fields`, whose
/// imports must come first. `$heap` is where the allocator stands.
pub fn guest(imports: &str, fields: &str) -> String {
    format!(
        r#"(module
  {imports}
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "proxy_abi_version_0_2_1"))
  (func $allocate (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (local.get $size))))
  {fields})"#
    )
}
