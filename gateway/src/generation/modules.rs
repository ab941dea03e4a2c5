//! The native code of a policy's modules.
//!
//! [`ModuleStore::fetch`] gives every module that a policy names as code that can serve at once:
//! what the generation in force runs, else the best the cache has, else compiled now at O0.
//! [`ModuleStore::optimise`] makes the O2 code of a module behind it; the next fetch finds it.
//! Both block: they belong on control's blocking threads, never on a worker.
//!
//! Limits: two compilations at once; time and memory of each are the compiler's
//! ([`CompilerOptions`]); the first faults are told, one for each module, at most [`FAULTS_MAX`].

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tollgate_proxy_wasm::StartError;
use tollgate_wasmedge::{CacheError, CompileError, Compiler, CompilerOptions, LoadError, Module, OptLevel};

use super::blueprint::{Compiled, Modules};
use crate::policy::Policy;
use crate::policy::filter::{Filter, FilterKind, WasmFilter};

/// The subcommand of our own binary that compiles one module and ends.
pub const COMPILE_SUBCOMMAND: &str = "compile-module";
/// Faults told of one policy.
pub const FAULTS_MAX: usize = 10;
/// Compilations at once: more would take the workers' cores from them.
const COMPILATIONS_MAX: usize = 2;
/// The running program, also after its file was replaced by an upgrade.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Compiles and loads modules. Shared by control's threads.
#[derive(Debug)]
pub struct ModuleStore {
    compiler: Compiler,
}

/// Why filters of a policy cannot be used: one fault a module or filter, in the policy's order.
#[derive(Debug, thiserror::Error)]
pub struct FilterFaults(pub Vec<FilterFault>);

/// Why one filter cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("filter `{filter}` ({}): {fault}", path.display())]
pub struct FilterFault {
    /// The filter's name in the policy.
    pub filter: Arc<str>,
    /// Its module's file.
    pub path: PathBuf,
    /// What is wrong.
    #[source]
    pub fault: Fault,
}

/// What is wrong with a filter.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Its module was not compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Its native code was not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It does not start with its configuration.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl ModuleStore {
    /// A store that keeps native code in `cache_dir`, made with mode 0700 if it is missing. The
    /// running program must call [`tollgate_wasmedge::compiler_child`] for [`COMPILE_SUBCOMMAND`].
    ///
    /// # Errors
    /// If the folder cannot be made or is not this user's alone.
    pub fn open(cache_dir: &Path) -> Result<Self, CacheError> {
        let options = CompilerOptions::new(OWN_PROGRAM, [COMPILE_SUBCOMMAND], cache_dir);
        Ok(Self { compiler: Compiler::new(options)? })
    }

    /// Every module that `policy` names, ready to be instantiated. `current` is what serves now.
    ///
    /// # Errors
    /// The filters whose modules do not compile or load.
    pub fn fetch(&self, policy: &Policy, current: Option<&Modules>) -> Result<Modules, FilterFaults> {
        let wanted = distinct_modules(policy);
        let next = AtomicUsize::new(0);
        let (done, faults) = (Mutex::new(Modules::with_capacity(wanted.len())), Mutex::new(Vec::new()));
        let work = || {
            while let Some((filter, wasm)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.fetch_one(wasm, current) {
                    Ok(compiled) => drop(lock(&done).insert(wasm.digest, compiled)),
                    Err(fault) => lock(&faults).push(FilterFault::new(filter, wasm, fault)),
                }
                if lock(&faults).len() >= FAULTS_MAX {
                    break;
                }
            }
        };
        std::thread::scope(|scope| {
            (1..COMPILATIONS_MAX.min(wanted.len())).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        let faults = faults.into_inner().unwrap_or_else(PoisonError::into_inner);
        if faults.is_empty() {
            Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
        } else {
            Err(FilterFaults(faults))
        }
    }

    /// Makes the O2 code of a module and keeps it in the cache. Takes seconds.
    ///
    /// # Errors
    /// See [`CompileError`].
    pub fn optimise(&self, code: &[u8]) -> Result<(), CompileError> {
        self.compiler.compile(code, OptLevel::O2).map(drop)
    }

    /// A module's code at `level`, from the cache or compiled now.
    ///
    /// # Errors
    /// If it does not compile or load.
    pub fn compile(&self, code: &[u8], level: OptLevel) -> Result<Compiled, Fault> {
        let artifact = self.compiler.compile(code, level)?;
        Ok(Compiled { module: Module::load(&artifact)?, level: artifact.level() })
    }

    /// A module's code that is ready soonest: the best of the cache, else compiled now at O0.
    ///
    /// # Errors
    /// If it does not compile or load.
    pub fn quickest(&self, code: &[u8]) -> Result<Compiled, Fault> {
        match self.compiler.best_cached(code) {
            Some(artifact) => Ok(Compiled { module: Module::load(&artifact)?, level: artifact.level() }),
            None => self.compile(code, OptLevel::O0),
        }
    }

    /// A corrupt entry of the cache counts as absent, and O0 code is a fraction of a second away.
    fn fetch_one(&self, wasm: &WasmFilter, current: Option<&Modules>) -> Result<Compiled, Fault> {
        let running = current.and_then(|modules| modules.get(&wasm.digest));
        if let Some(running) = running.filter(|running| running.level == OptLevel::O2) {
            return Ok(running.clone());
        }
        let artifact = match (self.compiler.cached(&wasm.code, OptLevel::O2), running) {
            (Some(artifact), _) => artifact,
            (None, Some(running)) => return Ok(running.clone()),
            // From the cache, if it is there.
            (None, None) => self.compiler.compile(&wasm.code, OptLevel::O0)?,
        };
        Ok(Compiled { module: Module::load(&artifact)?, level: artifact.level() })
    }
}

impl FilterFault {
    /// What is wrong with `filter`, whose module is that of `wasm`.
    pub fn new(filter: &Filter, wasm: &WasmFilter, fault: impl Into<Fault>) -> Self {
        Self { filter: Arc::clone(&filter.name), path: wasm.path.clone(), fault: fault.into() }
    }
}

impl Fault {
    /// Whether the policy or a module is to blame; if not, it is the gateway or its machine.
    pub fn is_of_policy(&self) -> bool {
        match self {
            Self::Compile(CompileError::Spawn { .. } | CompileError::Cache(_)) | Self::Load(_) => false,
            Self::Compile(_) | Self::Start(_) => true,
        }
    }
}

impl FilterFaults {
    /// Whether the policy or a module is to blame for any of them.
    pub fn are_of_policy(&self) -> bool {
        self.0.iter().any(|fault| fault.fault.is_of_policy())
    }
}

/// In one line.
impl fmt::Display for FilterFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

/// The filters of a policy that are Wasm modules, in its order.
pub(crate) fn wasm_filters(policy: &Policy) -> impl Iterator<Item = (&Filter, &WasmFilter)> {
    policy.filters.iter().filter_map(|filter| match &filter.kind {
        FilterKind::Wasm(wasm) => Some((&**filter, &**wasm)),
        FilterKind::RateLimit(_) | FilterKind::Headers(_) => None,
    })
}

/// Each module once, with the first filter that names it.
pub(crate) fn distinct_modules(policy: &Policy) -> Vec<(&Filter, &WasmFilter)> {
    let mut seen = HashSet::new();
    wasm_filters(policy).filter(|(_, wasm)| seen.insert(wasm.digest)).collect()
}

/// What is behind a lock here is whole after each step, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
