//! `noeh IN.wasm OUT.wasm`: rewrites a module so that errors thrown in C unwind by checked returns.
//!
//! Why: Lua in C raises errors with `longjmp`, and Wasm has none. The exception-handling proposal would
//! do, but WasmEdge does not compile it ahead of time. So the C code is compiled with three functions in
//! place of `setjmp` and `longjmp` (`native/noeh.h`), and this pass makes them work with nothing but the
//! first version of Wasm: a throw sets a global and returns, and after every call of a function that may
//! throw the caller looks at the global and returns as well ([`unwind`]).
//!
//! What it costs: one load and one branch, never taken, after each call that may throw; functions that
//! cannot ([`reach`]) are left alone. Exit status: 0, or 1 with the reason on standard error.

mod reach;
#[cfg(test)]
mod tests;
mod unwind;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("noeh: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [from, to] = arguments.as_slice() else { bail!("usage: noeh IN.wasm OUT.wasm") };
    let wasm = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let (wasm, changes) = unwind::rewrite(&wasm)?;
    std::fs::write(to, wasm).with_context(|| format!("cannot write {}", to.display()))?;
    println!(
        "noeh: {} of {} functions may throw, {} calls checked",
        changes.functions, changes.total, changes.checks
    );
    Ok(())
}
