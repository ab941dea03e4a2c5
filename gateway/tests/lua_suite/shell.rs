//! Builds the interpreter that the tests run: Lua's source as the filter has it, the filter's `noeh.h`, and the
//! pass over the result. Once: a file lock keeps tests, which are processes of their own, from doing it twice.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use tollgate_wasmedge::{Compiler, CompilerOptions, Module, OptLevel};

/// As `filters/lua/build.rs` has it.
const VERSION: &str = "lua-5.4.9";
/// Of Lua's source, those that are programs of their own.
const PROGRAMS: [&str; 2] = ["lua.c", "luac.c"];
const OPTIONS: [&str; 6] =
    ["--target=wasm32-wasi", "-mexec-model=reactor", "-O2", "-w", "-fno-common", "-Wl,-z,stack-size=1048576"];

/// The interpreter, compiled ahead as filters are.
pub(crate) fn load() -> Module {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lua-suite");
    fs::create_dir_all(&folder).unwrap();
    let turn = File::create(folder.join("lock")).unwrap();
    turn.lock().unwrap();
    let options =
        CompilerOptions::new(env!("CARGO_BIN_EXE_tollgate"), ["compile-module"], folder.join("cache"));
    let wasm = build(&folder);
    Module::load(&Compiler::new(options).unwrap().compile(&wasm, OptLevel::O2).unwrap()).unwrap()
}

fn build(folder: &Path) -> Vec<u8> {
    let (lua, native) = (lua_source(), root().join("../filters/lua/native"));
    let sources = sources(&lua, &native);
    let passed = folder.join("passed.wasm");
    let (state, marker) = (state(&sources, &native), folder.join("built-from"));
    if !fs::read_to_string(&marker).is_ok_and(|known| known == state) {
        let _ = fs::remove_file(&marker);
        let linked = folder.join("linked.wasm");
        let mut compile = Command::new(clang());
        compile.args(OPTIONS).arg("-include").arg(native.join("noeh.h"));
        compile.arg("-I").arg(&native).arg("-I").arg(&lua).args(&sources).arg("-o").arg(&linked);
        run(&mut compile);
        let mut pass = Command::new(env!("CARGO"));
        pass.args(["run", "--quiet", "--locked", "--release", "-p", "noeh", "--"]).current_dir(filters());
        run(pass.arg(&linked).arg(&passed));
        fs::write(marker, state).unwrap();
    }
    fs::read(passed).unwrap()
}

fn sources(lua: &Path, native: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(lua).unwrap().map(|entry| entry.unwrap().path());
    let is_part = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".c") && !PROGRAMS.contains(&name)
    };
    let mut sources: Vec<PathBuf> = files.filter(is_part).collect();
    sources.sort();
    sources.extend([native.join("noeh.c"), root().join("tests/lua_suite/shell.c")]);
    sources
}

/// What the interpreter is made from: the digest of its sources, of the pass and of the options.
fn state(sources: &[PathBuf], native: &Path) -> String {
    let mut files = sources.to_vec();
    files.push(native.join("noeh.h"));
    let pass = filters().join("lua/noeh/src");
    files.extend(["main.rs", "reach.rs", "unwind.rs"].map(|name| pass.join(name)));
    let mut digest = Sha256::new();
    for file in files {
        digest.update(fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
    }
    format!("{:x}\n{OPTIONS:?}\n{}", digest.finalize(), run(Command::new(clang()).arg("--version")))
}

/// Where cargo has put the source of `lua-src`, which the filter is compiled from.
fn lua_source() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--offline", "--locked"]).current_dir(filters());
    let metadata: serde_json::Value = serde_json::from_str(&run(&mut cargo)).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "lua-src").unwrap();
    Path::new(package["manifest_path"].as_str().unwrap()).with_file_name(VERSION)
}

fn clang() -> String {
    let found = fs::read_to_string(root().join("../.cargo/wasm-clang")).unwrap_or_default();
    assert!(!found.trim().is_empty(), "no clang for Wasm: run `make setup`");
    found.trim().to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn filters() -> PathBuf {
    root().join("../filters")
}

/// What a command prints; it must succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
