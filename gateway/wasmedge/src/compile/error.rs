//! What can go wrong between bytes and native code.

use crate::meter::Refusal;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Something is wrong with the cache folder or a file in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// Reading or writing failed.
    #[error("{action} `{path}`: {source}")]
    Io {
        /// What was tried, such as `cannot read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The path is not a folder, or the entry not a plain file.
    #[error("`{path}` is not what it should be: a {expected}")]
    Kind {
        /// The file or folder.
        path: PathBuf,
        /// `folder` or `plain file`.
        expected: &'static str,
    },
    /// Someone else owns it.
    #[error("`{path}` belongs to user {owner}, not to this process's user")]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// Numeric user id.
        owner: u32,
    },
    /// Others may read or write it.
    #[error("`{path}` has mode {mode:o}: nobody but its owner may have access")]
    Mode {
        /// The file or folder.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// Its bytes are not those that were compiled.
    #[error("`{path}` does not match its digest")]
    Digest {
        /// The file.
        path: PathBuf,
    },
}

impl CacheError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Why a module was not compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The module is invalid, too large, or uses what is not supported.
    #[error("the module is refused: {0}")]
    Refused(#[from] Refusal),
    /// The compiler does not take it.
    #[error("the compiler failed: {0}")]
    Compiler(String),
    /// The child took too long.
    #[error("the compilation took longer than {limit:?}")]
    TimeLimit {
        /// The limit.
        limit: Duration,
    },
    /// The child ended without a report: it crashed or ran out of memory.
    #[error("the compiler's process ended with {status}: {output}")]
    Crashed {
        /// Exit code or signal.
        status: String,
        /// The end of what it wrote to its standard error.
        output: String,
    },
    /// The child could not be started or fed.
    #[error("cannot run the compiler `{program}`: {source}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The result could not be kept.
    #[error(transparent)]
    Cache(#[from] CacheError),
}
