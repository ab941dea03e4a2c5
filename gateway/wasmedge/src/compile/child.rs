//! The compiling process, seen from inside.
//!
//! Order: the compiler's libraries; the job from the last argument; own limits; the module from standard input; inspect,
//! meter, compile; one line of JSON on standard output. The library and the linker print to
//! standard output at will, so the real one is set aside first and standard error takes its place.

use super::artifact::Facts;
use super::options::{ModuleLimits, OptLevel};
use super::{aot, key, libraries};
use crate::meter::{self, Refusal};
use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// What the parent asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) level: OptLevel,
    /// Shared object to write; must not exist, and must end in `.so`.
    pub(super) output: PathBuf,
    pub(super) cpu_seconds: u64,
    pub(super) memory_bytes: u64,
    pub(super) limits: ModuleLimits,
}

/// What the child answers.
pub(super) type Report = Result<Facts, Failure>;

/// Why it made nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Failure {
    Refused(Refusal),
    Compiler(String),
}

/// How much the priority of an O2 compilation is lowered: the gateway is serving meanwhile.
const NICE: i32 = 10;

/// The body of the program that [`super::CompilerOptions::program`] names: takes its arguments
/// (only the last one matters), compiles the module on standard input, reports on standard
/// output. To be called early in `main`, before threads are started.
pub fn compiler_child(args: impl Iterator<Item = OsString>) -> ExitCode {
    let job = args.last().and_then(|text| text.into_string().ok());
    let Some(job) = job.and_then(|text| serde_json::from_str::<Job>(&text).ok()) else {
        eprintln!("this subcommand is run by the gateway itself, to compile a module");
        return ExitCode::from(2);
    };
    match libraries::with_llvm().and_then(|()| run(&job)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(job: &Job) -> std::io::Result<()> {
    let mut answer = set_stdout_aside()?;
    limit_self(job)?;
    // SAFETY: only silences the library.
    unsafe { wasmedge_sys::ffi::WasmEdge_LogOff() };
    let mut wasm = Vec::new();
    // One byte more than allowed, so that `inspect` sees a module that is too large.
    std::io::stdin().take(u64::from(job.limits.module_bytes) + 1).read_to_end(&mut wasm)?;
    let report = compile(job, &wasm);
    serde_json::to_writer(&mut answer, &report)?;
    answer.flush()
}

fn compile(job: &Job, wasm: &[u8]) -> Report {
    let inspected = meter::inspect(wasm, &job.limits).map_err(Failure::Refused)?;
    let metered = meter::rewrite(wasm, &job.limits).map_err(Failure::Refused)?;
    aot::compile(&metered.wasm, job.level, &job.output).map_err(Failure::Compiler)?;
    Ok(Facts {
        digest: key::digest(wasm),
        imports: inspected.imports,
        exports: inspected.exports,
        memory_pages_min: inspected.memory_pages_min,
        charge_points: metered.charge_points,
    })
}

/// Keeps the pipe to the parent and lets everything that prints go to standard error.
fn set_stdout_aside() -> std::io::Result<File> {
    let answer = rustix::io::dup(rustix::stdio::stdout())?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(File::from(answer))
}

/// Limits that hold even if the parent is gone, no core dumps, and files for the owner only.
fn limit_self(job: &Job) -> std::io::Result<()> {
    let limit = |resource, value: u64| {
        rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
    };
    limit(Resource::Cpu, job.cpu_seconds)?;
    limit(Resource::As, job.memory_bytes)?;
    limit(Resource::Core, 0)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    if job.level == OptLevel::O2 {
        rustix::process::nice(NICE)?;
    }
    Ok(())
}
