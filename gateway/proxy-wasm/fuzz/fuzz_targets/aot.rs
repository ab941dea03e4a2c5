//! The compiler's child process. Not a target, but built with coverage like them, so that libFuzzer
//! is linked and its `main` runs: this ends the process before any fuzzing.
#![no_main]

use std::process::ExitCode;

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: compile_and_exit(), |_bytes: &[u8]| {});

fn compile_and_exit() {
    let code = tollgate_wasmedge::compiler_child(std::env::args_os());
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}
