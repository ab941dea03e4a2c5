//! What the tests share: one compiler a process, and modules from text.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test binary uses a part")]

use std::sync::LazyLock;
use std::time::Duration;
use tempfile::TempDir;
use tollgate_wasmedge::{
    Compiler, CompilerOptions, Instance, InstanceLimits, Linker, Module, OptLevel, run_guarded,
};

/// More than any of these tests needs: they never wait for it, except those that spend it.
pub const AMPLE: Duration = Duration::from_secs(20);

/// Below the build folder, since a static is never dropped and its files stay.
static CACHE: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
static COMPILER: LazyLock<Compiler> = LazyLock::new(|| Compiler::new(options(&CACHE)).unwrap());

pub fn options(cache: &TempDir) -> CompilerOptions {
    CompilerOptions::new(env!("CARGO_BIN_EXE_tollgate-aot"), [""; 0], cache.path().join("aot"))
}

pub fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

pub fn load_at(text: &str, level: OptLevel) -> Module {
    Module::load(&COMPILER.compile(&wasm(text), level).unwrap()).unwrap()
}

/// Optimised, as filters run.
pub fn load(text: &str) -> Module {
    load_at(text, OptLevel::O2)
}

pub fn instance(module: &Module) -> Instance<()> {
    Instance::new(module, &Linker::new(), InstanceLimits::default(), ()).unwrap()
}

/// Runs the body of a test on a thread that may run guests.
pub fn guarded<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    run_guarded("test", f).unwrap()
}
