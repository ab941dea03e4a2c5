//! The compiler's child process for this package's tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    tollgate_wasmedge::compiler_child(std::env::args_os())
}
