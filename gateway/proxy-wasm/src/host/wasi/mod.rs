//! WASI preview 1 for a guest that has no file, no socket and only the environment its policy gives.
//!
//! All 46 names resolve under `wasi_snapshot_preview1` and `wasi_unstable`; the types of the
//! functions are the same in both. Standard output and error become lines of log; clock, random,
//! arguments and environment work; the rest answers the errno that language runtimes expect when
//! nothing is there. All may be called while the guest is restricted: none reaches an exchange.

mod clock;
mod files;
mod output;
mod process;

use tollgate_wasmedge::{Linker, Trap};

use super::State;
use crate::abi::status::Errno;
use crate::environment::Environment;

const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// Links functions that answer an errno, under both names of the module.
macro_rules! wasi {
    ($linker:ident, $($name:literal => $function:path),+ $(,)?) => {
        $(for module in $crate::host::wasi::MODULES {
            $linker.func(module, $name, |caller, args| {
                caller.state().count_call(const { $crate::host_calls::index_of($name) });
                $function(caller, args).map(|errno| errno.wire())
            });
        })+
    };
}
use wasi;

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    process::link(linker);
    clock::link(linker);
    output::link(linker);
    files::link(linker);
}

/// What a WASI function answers: an errno, or a trap that ends the callback.
type WasiResult = Result<Errno, Trap>;

/// The errno for an access to the guest's memory.
fn errno_of(access: Option<()>) -> Errno {
    match access {
        Some(()) => Errno::Success,
        None => Errno::Fault,
    }
}
