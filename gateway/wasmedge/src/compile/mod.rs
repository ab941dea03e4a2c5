//! From a module's bytes to native code on disk.
//!
//! What: [`Compiler::compile`] meters a module and compiles it ahead of time in a child process,
//! and keeps the result; [`Compiler::cached`] finds it again. Why a child: the compiler is LLVM
//! fed by strangers; it may take minutes, gigabytes, or crash, and none of that may touch the
//! gateway. Why two levels: O0 compiles several times faster and runs 4 to 6 times slower than
//! O2, so serve from the first while the second is made. (O1 crashes WasmEdge's compiler; O3
//! takes twice as long as O2 and gains nothing.)
//!
//! Order, in the child ([`child`]): own limits, read the module, inspect it, meter it, compile
//! it, report. In the parent: verify, then commit to the cache ([`cache`]), whose entries are
//! native code that the gateway will run, so owner, mode and digest are checked at every use.
//!
//! Limits: time and memory of the child, size and shape of the module ([`ModuleLimits`]), bytes
//! of the cache.

mod aot;
mod artifact;
mod cache;
mod child;
mod error;
mod key;
mod libraries;
mod options;
mod park;
mod process;

pub use artifact::{Artifact, Facts};
pub use child::compiler_child;
pub use error::{CacheError, CompileError};
pub use options::{CompilerOptions, ModuleLimits, OptLevel};

use cache::Cache;
use key::Key;
use std::sync::{Mutex, PoisonError};

/// Compiles modules and caches the results. All calls block; share it among control threads.
#[derive(Debug)]
pub struct Compiler {
    options: CompilerOptions,
    cache: Cache,
    /// The parking module's artifact, once it was found or made.
    park: Mutex<Option<Artifact>>,
}

impl Compiler {
    /// A compiler with its cache folder, which is made (mode 0700) if it is missing.
    ///
    /// # Errors
    /// [`CacheError`] if the folder cannot be made, belongs to someone else, or lets anyone but
    /// its owner in.
    pub fn new(options: CompilerOptions) -> Result<Self, CacheError> {
        let cache = Cache::open(&options.cache_dir, options.cache_limit_bytes)?;
        Ok(Self { options, cache, park: Mutex::new(None) })
    }

    /// The compiled form of `wasm` at `level`, if the cache has it. An entry that does not match
    /// its digest is removed and counts as absent.
    pub fn cached(&self, wasm: &[u8], level: OptLevel) -> Option<Artifact> {
        let park = self.cached_park()?;
        let artifact = self.cache.find(&Key::new(wasm, level, &self.options.limits))?;
        Some(artifact.with_park(&park))
    }

    /// The best compiled form that the cache has: O2 if it is there, else O0.
    pub fn best_cached(&self, wasm: &[u8]) -> Option<Artifact> {
        self.cached(wasm, OptLevel::O2).or_else(|| self.cached(wasm, OptLevel::O0))
    }

    /// The compiled form of `wasm` at `level`: from the cache, else from a child process.
    ///
    /// Ordinary filters take 0.3 s at O0 and 2 s at O2; the child of an O2 compilation runs at
    /// a lower priority.
    ///
    /// # Errors
    /// See [`CompileError`].
    pub fn compile(&self, wasm: &[u8], level: OptLevel) -> Result<Artifact, CompileError> {
        let park = self.park()?;
        Ok(self.find_or_compile(wasm, level)?.with_park(&park))
    }

    fn find_or_compile(&self, wasm: &[u8], level: OptLevel) -> Result<Artifact, CompileError> {
        let key = Key::new(wasm, level, &self.options.limits);
        if let Some(artifact) = self.cache.find(&key) {
            return Ok(artifact);
        }
        let draft = self.cache.draft(&key)?;
        let facts = process::run(&self.options, wasm, level, draft.path())?;
        let artifact = self.cache.commit(&key, draft, facts)?;
        tracing::info!(
            level = level.name(),
            module_bytes = wasm.len(),
            code_bytes = artifact.code_bytes(),
            "module compiled"
        );
        Ok(artifact)
    }

    /// The artifact that `harden::park` needs; it is small and made once for each machine.
    fn park(&self) -> Result<Artifact, CompileError> {
        if let Some(park) = self.cached_park() {
            return Ok(park);
        }
        let made = self.find_or_compile(&park::wasm(), OptLevel::O0)?;
        *self.park.lock().unwrap_or_else(PoisonError::into_inner) = Some(made.clone());
        Ok(made)
    }

    fn cached_park(&self) -> Option<Artifact> {
        let mut known = self.park.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|artifact| artifact.verify().is_err()) {
            *known = None;
        }
        if known.is_none() {
            *known = self.cache.find(&Key::new(&park::wasm(), OptLevel::O0, &self.options.limits));
        }
        known.clone()
    }
}
