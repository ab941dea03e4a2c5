//! The cache of compiled modules: what it trusts, and what it does with what it cannot.

#![allow(clippy::unwrap_used, reason = "tests, with helpers")]

mod common;

use common::{AMPLE, guarded, instance, options, wasm};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tollgate_wasmedge::{CacheError, CompileError, Compiler, CompilerOptions, LoadError, Module, OptLevel};

fn module(answer: i32) -> Vec<u8> {
    wasm(&format!("(module (func (export \"answer\") (result i32) (i32.const {answer})))"))
}

fn answer(module: &Module) -> i32 {
    guarded(|| {
        let mut instance = instance(module);
        let answer = instance.func::<(), i32>("answer").unwrap();
        instance.call(&answer, (), AMPLE).unwrap()
    })
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension() == Some(OsStr::new(ending))).collect()
}

#[test]
fn what_was_compiled_is_found_again_by_another_compiler() {
    let dir = tempfile::tempdir().unwrap();
    let first = Compiler::new(options(&dir)).unwrap();
    assert!(first.cached(&module(1), OptLevel::O0).is_none());
    assert!(first.best_cached(&module(1)).is_none());
    let made = first.compile(&module(1), OptLevel::O0).unwrap();

    // One that cannot compile at all.
    let mut other = options(&dir);
    other.program = PathBuf::from("/nonexistent");
    let other = Compiler::new(other).unwrap();
    let found = other.cached(&module(1), OptLevel::O0).unwrap();
    assert_eq!(found.path(), made.path());
    assert_eq!(other.compile(&module(1), OptLevel::O0).unwrap().path(), made.path());
    assert!(other.cached(&module(1), OptLevel::O2).is_none());
    assert!(matches!(other.compile(&module(2), OptLevel::O0), Err(CompileError::Spawn { .. })));
    assert_eq!(answer(&Module::load(&found).unwrap()), 1);

    assert_eq!(other.best_cached(&module(1)).unwrap().level(), OptLevel::O0);
    first.compile(&module(1), OptLevel::O2).unwrap();
    assert_eq!(other.best_cached(&module(1)).unwrap().level(), OptLevel::O2);
    assert!(
        files(&dir.path().join("aot"), "so")
            .iter()
            .all(|path| { fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0 })
    );
}

#[test]
fn a_tampered_file_is_neither_found_nor_loaded_and_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let compiler = Compiler::new(options(&dir)).unwrap();
    let artifact = compiler.compile(&module(7), OptLevel::O0).unwrap();
    let mut bytes = fs::read(artifact.path()).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(artifact.path(), bytes).unwrap();
    // Loading what was handed out before sees it too.
    match Module::load(&artifact) {
        Err(LoadError::Cache(error)) => assert!(matches!(*error, CacheError::Digest { .. }), "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(compiler.cached(&module(7), OptLevel::O0).is_none());
    assert!(!artifact.path().exists());
    assert_eq!(answer(&Module::load(&compiler.compile(&module(7), OptLevel::O0).unwrap()).unwrap()), 7);
}

#[test]
fn a_swapped_manifest_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let compiler = Compiler::new(options(&dir)).unwrap();
    let one = compiler.compile(&module(1), OptLevel::O0).unwrap();
    let two = compiler.compile(&module(2), OptLevel::O0).unwrap();
    let manifest = |artifact: &tollgate_wasmedge::Artifact| {
        let name = artifact.path().file_name().unwrap().to_str().unwrap();
        artifact.path().with_file_name(format!("{}.json", name.split('-').next().unwrap()))
    };
    fs::copy(manifest(&two), manifest(&one)).unwrap();
    assert!(compiler.cached(&module(1), OptLevel::O0).is_none());
    assert!(compiler.cached(&module(2), OptLevel::O0).is_some());
    fs::write(manifest(&two), b"{}").unwrap();
    assert!(compiler.cached(&module(2), OptLevel::O0).is_none());
    assert_eq!(answer(&Module::load(&compiler.compile(&module(1), OptLevel::O0).unwrap()).unwrap()), 1);
}

#[test]
fn loose_permissions_and_links_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o750)).unwrap();
    let mut loose = options(&dir);
    loose.cache_dir = open;
    assert!(matches!(Compiler::new(loose), Err(CacheError::Mode { mode: 0o750, .. })));

    let mut file = options(&dir);
    file.cache_dir = dir.path().join("file");
    fs::write(&file.cache_dir, b"").unwrap();
    assert!(Compiler::new(file).is_err());

    let compiler = Compiler::new(options(&dir)).unwrap();
    let artifact = compiler.compile(&module(3), OptLevel::O0).unwrap();
    fs::set_permissions(artifact.path(), Permissions::from_mode(0o755)).unwrap();
    assert!(
        matches!(Module::load(&artifact), Err(LoadError::Cache(error)) if matches!(*error, CacheError::Mode { .. }))
    );
    assert!(compiler.cached(&module(3), OptLevel::O0).is_none());

    let artifact = compiler.compile(&module(3), OptLevel::O0).unwrap();
    let elsewhere = dir.path().join("elsewhere.so");
    fs::rename(artifact.path(), &elsewhere).unwrap();
    symlink(&elsewhere, artifact.path()).unwrap();
    assert!(Module::load(&artifact).is_err());
    assert!(compiler.cached(&module(3), OptLevel::O0).is_none());

    // A folder that was opened later is not written to.
    fs::set_permissions(dir.path().join("aot"), Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(
        compiler.compile(&module(4), OptLevel::O0),
        Err(CompileError::Cache(CacheError::Mode { .. }))
    ));
}

#[test]
fn over_the_limit_the_longest_unused_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = options(&dir);
    let one = Compiler::new(options(&dir)).unwrap().compile(&module(1), OptLevel::O0).unwrap();
    // Room for three modules of this size: the one that parks, and two.
    small.cache_limit_bytes = one.code_bytes() * 7 / 2;
    let compiler = Compiler::new(small).unwrap();
    let age = |wasm: &[u8], seconds: u64| {
        let artifact = compiler.cached(wasm, OptLevel::O0).unwrap();
        let name =
            artifact.path().file_name().unwrap().to_str().unwrap().split('-').next().unwrap().to_owned();
        let manifest = fs::File::open(artifact.path().with_file_name(format!("{name}.json"))).unwrap();
        let time = std::time::SystemTime::now() - Duration::from_secs(seconds);
        manifest.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
    };
    compiler.compile(&module(2), OptLevel::O0).unwrap();
    age(&module(1), 1000);
    age(&module(2), 2000);
    // The look-up makes 1 the most recently used again, so 2 goes.
    assert!(compiler.cached(&module(1), OptLevel::O0).is_some());
    compiler.compile(&module(3), OptLevel::O0).unwrap();
    assert!(compiler.cached(&module(1), OptLevel::O0).is_some());
    assert!(compiler.cached(&module(2), OptLevel::O0).is_none());
    assert!(compiler.cached(&module(3), OptLevel::O0).is_some());
    assert!(files(&dir.path().join("aot"), "so").len() <= 3);
}

/// A module that takes the compiler a while: many functions of some size.
fn heavy() -> Vec<u8> {
    let body = "(local.set 0 (i64.mul (i64.add (local.get 0) (i64.const 3)) (local.get 0)))\n".repeat(2000);
    let functions = format!("(func (export \"{{}}\") (param i64) (result i64) {body} (local.get 0))");
    let functions: String = (0..30).map(|n| functions.replace("{}", &n.to_string())).collect();
    wasm(&format!("(module {functions})"))
}

#[test]
fn the_child_is_held_to_its_limits() {
    let dir = tempfile::tempdir().unwrap();
    // The parking module is compiled with room.
    let ample = Compiler::new(options(&dir)).unwrap();
    ample.compile(&module(1), OptLevel::O0).unwrap();
    let limited = |change: fn(&mut CompilerOptions)| {
        let mut options = options(&dir);
        change(&mut options);
        Compiler::new(options).unwrap().compile(&heavy(), OptLevel::O2)
    };
    let timed = limited(|options| options.time_limit = Duration::from_millis(50));
    assert!(matches!(timed, Err(CompileError::TimeLimit { .. })), "{timed:?}");
    let starved = limited(|options| options.memory_limit_bytes = 64 << 20);
    assert!(matches!(starved, Err(CompileError::Crashed { .. } | CompileError::Compiler(_))), "{starved:?}");
    // Nothing is left behind.
    let left = files(&dir.path().join("aot"), "so");
    assert!(
        left.iter().all(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("draft")),
        "{left:?}"
    );
}

#[test]
fn a_program_that_is_no_compiler_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for (program, args) in
        [("/bin/true", vec![]), ("/bin/cat", vec!["/dev/null"]), ("/bin/echo", vec!["{\"Ok\":1}"])]
    {
        let mut options = options(&dir);
        options.program = program.into();
        options.args = args.into_iter().map(Into::into).collect();
        let refused = Compiler::new(options).unwrap().compile(&module(1), OptLevel::O0);
        assert!(matches!(refused, Err(CompileError::Crashed { .. })), "{program}: {refused:?}");
    }
}
