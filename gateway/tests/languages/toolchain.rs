//! Builds the guests, each once: into cargo's folder for tests, under a lock, again only when its
//! sources or its compiler have changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use tollgate_wasmedge::OptLevel;

use crate::support::guest;

/// Names the languages to leave out.
const SKIP: &str = "TOLLGATE_SKIP_GUESTS";
const TARGET: &str = "wasm32-wasip1";

/// A toolchain, for the Rust SDK one of its versions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    C,
    Cpp,
    Go,
    AssemblyScript,
    Rust025,
    Rust020,
    Rust014,
}

impl Language {
    /// Its name in [`SKIP`].
    fn name(self) -> &'static str {
        match self {
            Self::C => "c",
            Self::Cpp => "cpp",
            Self::Go => "go",
            Self::AssemblyScript => "assemblyscript",
            Self::Rust025 | Self::Rust020 | Self::Rust014 => "rust",
        }
    }

    /// Go's runtime is in each module: 2.6 MB, whose O2 code takes a minute.
    pub(crate) fn level(self) -> OptLevel {
        match self {
            Self::Go => OptLevel::O0,
            _ => OptLevel::O2,
        }
    }

    /// Folders of its sources; the last is the one to build in.
    fn folders(self) -> &'static [&'static str] {
        match self {
            Self::C => &["c"],
            Self::Cpp => &["c", "cpp"],
            Self::Go => &["go"],
            Self::AssemblyScript => &["assemblyscript"],
            Self::Rust025 => &["rust", "rust/sdk-0.2.5"],
            Self::Rust020 => &["rust", "rust/sdk-0.2.0"],
            Self::Rust014 => &["rust", "rust/sdk-0.1.4"],
        }
    }
}

/// Whether the environment leaves the language out.
pub(crate) fn is_left_out(language: Language) -> bool {
    let skipped = std::env::var(SKIP).unwrap_or_default();
    let is_left_out = skipped.split(',').any(|name| name == language.name());
    if is_left_out {
        eprintln!("left out: {SKIP} names {}", language.name());
    }
    is_left_out
}

/// A folder to build in, for a purpose.
pub(crate) fn folder(purpose: &str, language: Language) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(purpose).join(format!("{language:?}"));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Sources of the guests.
pub(crate) fn sources(folder: &str) -> PathBuf {
    root().join("tests/guests").join(folder)
}

/// The guest as a module, compiled for the gateway; `None` if the environment leaves it out.
pub(crate) fn built(language: Language) -> Option<PathBuf> {
    if is_left_out(language) {
        return None;
    }
    let folder = folder("languages", language);
    // Each test may be a process of its own.
    let turn = File::create(folder.join("lock")).unwrap();
    turn.lock().unwrap();
    let module = folder.join("filter.wasm");
    let (compiler, build) = commands(language, &folder);
    let state = state(language, compiler);
    let marker = folder.join("built-from");
    if fs::read_to_string(&marker).is_ok_and(|known| known == state) && module.exists() {
        return Some(guest::compile_at(module, language.level()));
    }
    let _ = fs::remove_file(&marker);
    for mut command in build {
        run(&mut command);
    }
    fs::write(marker, state).unwrap();
    Some(guest::compile_at(module, language.level()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the module is made from: the sources' digest and the compiler's version.
fn state(language: Language, mut compiler: Command) -> String {
    let mut files = BTreeMap::new();
    for folder in language.folders() {
        read_files(&sources(folder), &mut files);
    }
    let mut digest = Sha256::new();
    for (path, bytes) in &files {
        digest.update(path.as_os_str().as_encoded_bytes());
        digest.update(bytes);
    }
    format!("{:x}\n{}", digest.finalize(), run(&mut compiler))
}

fn read_files(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_files(&path, files);
        } else {
            files.insert(path.clone(), fs::read(path).unwrap());
        }
    }
}

/// The command that tells the compiler's version, and those that build `filter.wasm` in `out`.
fn commands(language: Language, out: &Path) -> (Command, Vec<Command>) {
    let sources = sources(language.folders().last().unwrap());
    let module = out.join("filter.wasm");
    match language {
        Language::C => compile_c(&sources.join("filter.c"), &module, &[]),
        Language::Cpp => {
            let options =
                ["-x", "c++", "-std=c++20", "-fno-exceptions", "-fno-rtti", "-Wl,--export=malloc", "-lc++"];
            compile_c(&sources.join("filter.cc"), &module, &options)
        }
        Language::Go => compile_go(&sources, &module, out),
        Language::AssemblyScript => compile_assemblyscript(&sources, &module, out),
        Language::Rust025 | Language::Rust020 | Language::Rust014 => compile_rust(&sources, &module, out),
    }
}

/// The clang that setup has found.
pub(crate) fn clang() -> String {
    let found = fs::read_to_string(root().join("../.cargo/wasm-clang")).unwrap_or_default();
    assert!(!found.trim().is_empty(), "no clang for Wasm: run `make setup`, or set {SKIP}=c,cpp");
    found.trim().to_owned()
}

/// `options` come before the source.
fn compile_c(source: &Path, module: &Path, options: &[&str]) -> (Command, Vec<Command>) {
    let program = clang();
    let clang = |arguments: &[&str]| command(&program, arguments);
    let mut build =
        clang(&["--target=wasm32-wasi", "-mexec-model=reactor", "-O2", "-Wall", "-Wextra", "-Werror"]);
    build.args(options).arg(source).args(["-Wl,--strip-debug", "-o"]).arg(module);
    (clang(&["--version"]), vec![build])
}

/// The Go that setup has found.
pub(crate) fn go() -> PathBuf {
    let program = root().join("../.tools/go/bin/go");
    assert!(program.exists(), "no Go 1.24: run `make setup-tests`, or set {SKIP}=go");
    program
}

/// Caches in `out`, and nothing is fetched, neither modules nor another toolchain.
pub(crate) fn set_go_variables(command: &mut Command, out: &Path) {
    command.env("GOCACHE", out.join("cache")).env("GOPATH", out.join("path"));
    command.envs([("GOPROXY", "off"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "")]).env_remove("GOROOT");
}

fn compile_go(sources: &Path, module: &Path, out: &Path) -> (Command, Vec<Command>) {
    let program = go();
    let go = |arguments: &[&str]| {
        let mut go = command(program.to_str().unwrap(), arguments);
        set_go_variables(go.current_dir(sources).envs([("GOOS", "wasip1"), ("GOARCH", "wasm")]), out);
        go
    };
    let mut build = go(&["build", "-trimpath", "-ldflags=-s -w", "-buildmode=c-shared", "-o"]);
    build.arg(module).arg(".");
    (go(&["version"]), vec![go(&["vet", "./..."]), build])
}

/// Where setup puts what the guest's lock file names.
pub(crate) fn assemblyscript_packages() -> PathBuf {
    let packages = root().join("../.tools/assemblyscript/node_modules");
    assert!(packages.exists(), "no AssemblyScript: run `make setup-tests`, or set {SKIP}=assemblyscript");
    packages
}

/// The compiler looks for packages at `--path`, and takes paths as they are if its base is the root.
fn compile_assemblyscript(sources: &Path, module: &Path, out: &Path) -> (Command, Vec<Command>) {
    let packages = assemblyscript_packages();
    let compiler = packages.join("assemblyscript/bin/asc");
    let mut build = command("node", &[]);
    build.arg(&compiler).arg(sources.join("assembly/index.ts"));
    build.arg("--path").arg(packages).arg("--baseDir").arg("/");
    build.args(["--use", "abort=abort_proc_exit", "--optimize", "--binaryFile"]).arg(module).current_dir(out);
    let mut version = command("node", &[]);
    version.arg(compiler).arg("--version");
    (version, vec![build])
}

fn compile_rust(sources: &Path, module: &Path, out: &Path) -> (Command, Vec<Command>) {
    let mut build =
        command(env!("CARGO"), &["build", "--locked", "--release", "--target", TARGET, "--target-dir"]);
    build.arg(out.join("target")).current_dir(sources);
    let mut copy = command("cp", &[]);
    copy.arg(out.join("target").join(TARGET).join("release/guest.wasm")).arg(module);
    (command(env!("CARGO"), &["version"]), vec![build, copy])
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// What a command prints; it must succeed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
