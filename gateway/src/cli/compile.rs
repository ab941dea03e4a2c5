//! `tollgate compile-module`: the process in which one module is compiled.

use std::ffi::OsString;
use std::process::ExitCode;

use super::lifetime;

/// Compile the module on standard input; started by the gateway itself.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to do, as the gateway puts it.
    job: OsString,
}

pub(super) fn run(args: Args) -> ExitCode {
    lifetime::end_with_parent();
    tollgate_wasmedge::compiler_child(std::iter::once(args.job))
}
