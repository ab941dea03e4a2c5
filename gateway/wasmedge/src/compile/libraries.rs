//! How the compiling process comes to its LLVM.
//!
//! A program may have found the library in a folder made by `.make/lean`: links to it and to what it needs, but an
//! empty LLVM. That is as the gateway wants it, which never compiles. The compiling process is the same program, so
//! it finds the same, and then starts itself again with the folder that the links lead to in front.

use crate::harden::host_code;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the loader reads before it looks where the library says; but not of a program with more rights than its user.
const PATH: &str = "LD_LIBRARY_PATH";
/// Set for the second start. The parent passes no variable of this name on.
const AGAIN: &str = "TOLLGATE_COMPILER_AGAIN";
/// Lies beside an empty LLVM, and says of which library.
const MARK: &str = "OF";
/// This program, also if another has taken its name on disk.
const SELF: &str = "/proc/self/exe";

/// Returns if this process has an LLVM with something in it, or one within the library; otherwise starts it again.
///
/// # Errors
/// Why it could not be started again, or has been and found the empty one all the same.
pub(super) fn with_llvm() -> io::Result<()> {
    let Some(empty) = mapped("libLLVM").filter(|llvm| llvm.with_file_name(MARK).exists()) else {
        return Ok(());
    };
    let whole =
        mapped("libwasmedge.so").and_then(|library| Some(library.canonicalize().ok()?.parent()?.to_owned()));
    match whole {
        Some(whole) if std::env::var_os(AGAIN).is_none() => Err(again(whole)),
        _ => Err(io::Error::other(format!(
            "`{}` has no compiler in it, and the library's own LLVM was not loaded in its place",
            empty.display()
        ))),
    }
}

/// Puts this program, begun anew, in the place of this process. Returns only if that fails.
fn again(whole: PathBuf) -> io::Error {
    let own = std::env::var_os(PATH).unwrap_or_default();
    let path = match std::env::join_paths(std::iter::once(whole).chain(std::env::split_paths(&own))) {
        Ok(path) => path,
        // A folder with a colon in its name.
        Err(error) => return io::Error::other(error),
    };
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let Some((name, arguments)) = arguments.split_first() else { return io::ErrorKind::InvalidInput.into() };
    Command::new(SELF).arg0(name).args(arguments).env(PATH, path).env(AGAIN, "1").exec()
}

/// The file that is mapped and whose name begins so, by the path it was found at.
fn mapped(name: &str) -> Option<PathBuf> {
    let is_it = |file: &OsStr| file.as_encoded_bytes().starts_with(name.as_bytes());
    host_code::find_mapped(|path: &Path| path.file_name().is_some_and(is_it))
}
