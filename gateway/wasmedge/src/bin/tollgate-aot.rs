//! The compiler's process on its own, for the tests and benchmarks of this crate and of those
//! above it. The gateway runs its own binary instead.

use std::process::ExitCode;

fn main() -> ExitCode {
    tollgate_wasmedge::compiler_child(std::env::args_os())
}
