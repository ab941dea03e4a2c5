//! Guests: the shipped filters and small modules in WAT.
//!
//! Each is compiled ahead at O2 into the cache that every [`super::Gateway`] uses, so that a gateway
//! starts at once and does not swap in faster code in the middle of a test.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tollgate_wasmedge::{Compiler, CompilerOptions, OptLevel};

/// The folder of compiled modules, kept between runs.
pub fn cache_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("gateway-cache")
}

/// A shipped filter, such as `rules`. `make filters` builds them.
pub fn shipped(name: &str) -> PathBuf {
    shipped_at(name, OptLevel::O2)
}

/// The same with code of this level; see [`compile_at`].
pub fn shipped_at(name: &str, level: OptLevel) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../filters/dist").join(name);
    let path = path.with_extension("wasm");
    assert!(path.exists(), "{} is missing: run `make filters`", path.display());
    compile_at(path, level)
}

/// A module in WAT.
pub fn wat(source: &str) -> PathBuf {
    let wasm = wat::parse_str(source).unwrap_or_else(|error| panic!("{error}\n{source}"));
    let mut hasher = DefaultHasher::new();
    wasm.hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{:016x}.wasm", hasher.finish()));
    if !path.exists() {
        // Renamed into place, as other tests may read it.
        let draft = tempfile::NamedTempFile::new_in(&folder).unwrap();
        std::fs::write(draft.path(), wasm).unwrap();
        draft.persist(&path).unwrap();
    }
    compile(path)
}

/// A module with what every guest needs: the marker, memory, a bump allocator that starts anew at
/// 64 KiB for each stream, and `fields`. `imports` come first, `$heap` is where the allocator stands,
/// `$parent` the plugin of the stream that was created last.
pub fn guest(imports: &str, fields: &str) -> PathBuf {
    wat(&format!(
        r#"(module
  {imports}
  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "proxy_abi_version_0_2_1"))
  (func $allocate (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (local.get $size))))
  (global $parent (mut i32) (i32.const 0))
  (func (export "proxy_on_context_create") (param i32 i32)
    (global.set $parent (local.get 1))
    (global.set $heap (i32.const 65536)))
  {fields})"#
    ))
}

fn compile(path: PathBuf) -> PathBuf {
    compile_at(path, OptLevel::O2)
}

/// Compiles a module that a test has built itself. At O0 a gateway makes the O2 code behind its back,
/// which is for modules whose O2 code takes longer than tests may.
pub fn compile_at(path: PathBuf, level: OptLevel) -> PathBuf {
    static DONE: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    let done = done.get_or_insert_default();
    if !done.contains(&path) {
        let options = CompilerOptions::new(env!("CARGO_BIN_EXE_tollgate"), ["compile-module"], cache_dir());
        let compiler = Compiler::new(options).unwrap();
        compiler.compile(&std::fs::read(&path).unwrap(), level).unwrap();
        done.insert(path.clone());
    }
    path
}
