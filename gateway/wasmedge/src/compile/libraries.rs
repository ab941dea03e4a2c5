//! How the compiling process comes to its LLVM.
//!
//! A program may have found the library in a folder made by `.make/lean`: links to it and to what it needs, but an
//! empty LLVM. That is as the gateway wants it, which never compiles. The compiling process is the same program, so
//! it finds the same, and then starts itself again with the folder that the links lead to in front.

use crate::harden::host_code;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// What the loader reads before it looks where the library says.
const VARIABLE: &str = "LD_LIBRARY_PATH";

/// Returns if this process has the LLVM that the library came with, or none of its own; otherwise starts it again.
///
/// # Errors
/// Why it could not be started again, or has been and found the empty one all the same.
pub(super) fn with_llvm() -> io::Result<()> {
    let (Some(whole), Some(llvm)) = (real_folder("libwasmedge.so"), real_folder("libLLVM")) else {
        return Ok(());
    };
    if whole == llvm {
        return Ok(());
    }
    let own = std::env::var_os(VARIABLE).unwrap_or_default();
    let others: Vec<_> = std::env::split_paths(&own).collect();
    if others.first() == Some(&whole) {
        return Err(io::Error::other(format!("no LLVM was found in `{}`", whole.display())));
    }
    let path = std::env::join_paths(std::iter::once(whole).chain(others)).map_err(io::Error::other)?;
    Err(again(&path))
}

/// Puts this program, begun anew, in the place of this process. Returns only if that fails.
fn again(path: &OsStr) -> io::Error {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let Some((name, arguments)) = arguments.split_first() else { return io::ErrorKind::InvalidInput.into() };
    match std::env::current_exe() {
        Ok(program) => Command::new(program).arg0(name).args(arguments).env(VARIABLE, path).exec(),
        Err(error) => error,
    }
}

/// Where the file lies, whatever links lead to it, that is mapped by a name that begins so.
fn real_folder(name: &str) -> Option<PathBuf> {
    let is_it = |file: &OsStr| file.as_encoded_bytes().starts_with(name.as_bytes());
    let found = host_code::find_mapped(|path| path.file_name().is_some_and(is_it))?;
    found.canonicalize().ok()?.parent().map(Into::into)
}
