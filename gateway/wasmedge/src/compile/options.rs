//! How and within what bounds to compile.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// How hard the compiler tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OptLevel {
    /// Quick to compile, slow to run: to serve at once.
    O0,
    /// Slow to compile, quick to run.
    O2,
}

impl OptLevel {
    /// `O0` or `O2`.
    pub fn name(self) -> &'static str {
        match self {
            Self::O0 => "O0",
            Self::O2 => "O2",
        }
    }
}

/// What a [`super::Compiler`] runs and where it keeps the results.
#[derive(Debug, Clone)]
pub struct CompilerOptions {
    /// Program that calls [`super::compiler_child`].
    pub program: PathBuf,
    /// Its arguments; one more, the job, is added.
    pub args: Vec<OsString>,
    /// Folder of the cache: made with mode 0700 if it is missing.
    pub cache_dir: PathBuf,
    /// Largest total size of the cached native code, in bytes; what was used longest ago goes
    /// first.
    pub cache_limit_bytes: u64,
    /// Longest time for one compilation, both of CPU and on the wall.
    pub time_limit: Duration,
    /// Most address space that the child may use, in bytes. LLVM itself maps some 300 MB.
    pub memory_limit_bytes: u64,
    /// What modules may look like.
    pub limits: ModuleLimits,
}

impl CompilerOptions {
    /// Options with the defaults: 1 GiB of cache, five minutes, 4 GiB.
    pub fn new(
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
        cache_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            cache_dir: cache_dir.into(),
            cache_limit_bytes: 1 << 30,
            time_limit: Duration::from_secs(300),
            memory_limit_bytes: 4 << 30,
            limits: ModuleLimits::default(),
        }
    }
}

/// The largest module, function and table that are compiled.
///
/// The bounds on functions keep every native frame smaller than the guard below the stack, and
/// the compiler's time within reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleLimits {
    /// Bytes of the module.
    pub module_bytes: u32,
    /// Bytes of one function's body.
    pub body_bytes: u32,
    /// Parameters and locals of one function.
    pub locals: u32,
    /// Elements that one table may ever have: its declared maximum is lowered to this, and a
    /// larger minimum is refused.
    pub table_elements: u32,
}

impl Default for ModuleLimits {
    fn default() -> Self {
        Self { module_bytes: 32 << 20, body_bytes: 512 << 10, locals: 4096, table_elements: 100_000 }
    }
}
