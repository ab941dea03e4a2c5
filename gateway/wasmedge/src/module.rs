//! A compiled module in memory, shared by all threads.

use crate::compile::{Artifact, CacheError, Facts};
use crate::harden;
use crate::raw::{self, Ast, Loader, Validator};
use crate::types::{Export, ExternType, FuncType, Import, ValType};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use wasmedge_sys::ffi;

/// A loaded module. Cloning shares it.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Inner>,
}

struct Inner {
    ast: Ast,
    facts: Arc<Facts>,
}

// SAFETY: the loaded module is only read after it was loaded and validated; instantiating from
// several threads at once reads it too. Deleting happens once, when the last clone is gone.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

/// Why a module could not be loaded.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file in the cache is not what was compiled.
    #[error(transparent)]
    Cache(#[from] Arc<CacheError>),
    /// The library does not take the file.
    #[error("`{path}` does not load: {message}")]
    Engine {
        /// The compiled file.
        path: PathBuf,
        /// The library's words.
        message: String,
    },
    /// The file loaded, but its native code is not in use: the interpreter would be 100 times
    /// slower and is never used.
    #[error("the native code of `{path}` was not taken up")]
    NotNative {
        /// The compiled file.
        path: PathBuf,
    },
    /// The process could not be made safe for guest code.
    #[error("the fault handlers could not be set up: {0}")]
    Handlers(#[from] harden::HardenError),
    /// The library could not allocate.
    #[error("out of memory")]
    OutOfMemory,
}

impl Module {
    /// Loads a compiled module, after checking the file's owner, mode and digest.
    ///
    /// The first load of the process sets up the fault handlers, for good.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(artifact: &Artifact) -> Result<Self, LoadError> {
        harden::init(artifact)?;
        Self::load_unguarded(artifact)
    }

    /// Loads without setting up the handlers: for the module that sets them up.
    pub(crate) fn load_unguarded(artifact: &Artifact) -> Result<Self, LoadError> {
        artifact.verify().map_err(Arc::new)?;
        let path = artifact.path();
        let ast = parse(path)?;
        if !harden::host_code::is_mapped(path) {
            return Err(LoadError::NotNative { path: path.to_owned() });
        }
        Ok(Self { inner: Arc::new(Inner { ast, facts: artifact.facts() }) })
    }

    /// SHA-256 of the module as it was before metering and compiling.
    pub fn digest(&self) -> [u8; 32] {
        self.inner.facts.digest
    }

    /// Whether a function of this name is exported.
    pub fn exports_func(&self, name: &str) -> bool {
        self.func_type(name).is_some()
    }

    /// The type of an exported function.
    pub fn func_type(&self, name: &str) -> Option<FuncType> {
        self.find_func(name).cloned()
    }

    /// Exports of the original module.
    pub fn exports(&self) -> impl Iterator<Item = &Export> {
        self.inner.facts.exports.iter()
    }

    /// Imports of the original module.
    pub fn imports(&self) -> impl Iterator<Item = &Import> {
        self.inner.facts.imports.iter()
    }

    /// Pages of memory that the module declares as its minimum; 0 without a memory.
    pub fn memory_pages_min(&self) -> u32 {
        self.inner.facts.memory_pages_min
    }

    pub(crate) fn has_func(&self, name: &str, params: &[ValType], results: &[ValType]) -> bool {
        self.find_func(name).is_some_and(|ty| ty.is(params, results))
    }

    pub(crate) fn ast(&self) -> *const ffi::WasmEdge_ASTModuleContext {
        self.inner.ast.get()
    }

    fn find_func(&self, name: &str) -> Option<&FuncType> {
        self.inner.facts.exports.iter().find_map(|export| match &export.ty {
            ExternType::Func(ty) if export.name == name => Some(ty),
            _ => None,
        })
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module").field("facts", &self.inner.facts).finish_non_exhaustive()
    }
}

fn parse(path: &Path) -> Result<Ast, LoadError> {
    let failed = |message: String| LoadError::Engine { path: path.to_owned(), message };
    let text = CString::new(path.as_os_str().as_bytes()).map_err(|error| failed(error.to_string()))?;
    // The page limit does not matter here: it is the executor's.
    let configure = raw::configure(1).ok_or(LoadError::OutOfMemory)?;
    // SAFETY: every object is owned by its wrapper and alive where it is used; the path is
    // zero-terminated; `pointer` is written on success only and then owned.
    unsafe {
        let loader =
            Loader::new(ffi::WasmEdge_LoaderCreate(configure.get())).ok_or(LoadError::OutOfMemory)?;
        let mut pointer = ptr::null_mut();
        let result = ffi::WasmEdge_LoaderParseFromFile(loader.get(), &mut pointer, text.as_ptr());
        let ast = Ast::new(pointer).ok_or_else(|| failed(raw::message(result)))?;
        if result.Code != 0 {
            return Err(failed(raw::message(result)));
        }
        let validator = Validator::new(ffi::WasmEdge_ValidatorCreate(configure.get()));
        let validator = validator.ok_or(LoadError::OutOfMemory)?;
        let result = ffi::WasmEdge_ValidatorValidate(validator.get(), ast.get());
        if result.Code != 0 {
            return Err(failed(raw::message(result)));
        }
        Ok(ast)
    }
}
