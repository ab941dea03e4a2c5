//! The host functions that instances may import.
//!
//! A linker is filled once per thread and used for many instances: WasmEdge's own objects are
//! made at the first instantiation and shared by all of them. A function finds the instance that
//! called it through the thread's note of the innermost call, not through data of its own.

use crate::caller::Caller;
use crate::instance::InstantiateError;
use crate::meter;
use crate::module::Module;
use crate::raw::{self, Executor, FunctionType, ModuleInstance, Store};
use crate::trampoline;
use crate::trap::Trap;
use crate::types::{ExternType, FuncType};
use crate::value::{WasmParams, WasmResults};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::rc::Rc;
use wasmedge_sys::ffi;

/// Host functions over a state `S`; stays on the thread that made it.
pub struct Linker<S: 'static> {
    definitions: Definitions,
    /// Whether calls are counted.
    counts: bool,
    built: OnceCell<Rc<HostModules>>,
    state: PhantomData<fn(&S)>,
    /// The library's objects are one thread's.
    not_send: PhantomData<*const ()>,
}

/// By module name, then by function name.
type Definitions = BTreeMap<String, BTreeMap<String, Definition>>;

struct Definition {
    ty: FuncType,
    trampoline: trampoline::Trampoline,
    function: *mut c_void,
    /// Calls so far, if they are counted: what the trampoline gets as its data.
    calls: Option<Rc<Cell<u64>>>,
}

impl<S: 'static> Default for Linker<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: 'static> std::fmt::Debug for Linker<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Linker").field("modules", &self.definitions.len()).finish_non_exhaustive()
    }
}

impl<S: 'static> Linker<S> {
    /// A linker without functions.
    pub fn new() -> Self {
        Self::build(false)
    }

    /// A linker without functions that counts how often each is called, for tools: one that serves
    /// does without, and pays nothing for it.
    pub fn counting() -> Self {
        Self::build(true)
    }

    fn build(counts: bool) -> Self {
        Self {
            definitions: BTreeMap::new(),
            counts,
            built: OnceCell::new(),
            state: PhantomData,
            not_send: PhantomData,
        }
    }

    /// Defines `module`.`name`, in place of an earlier definition of the same name. Instances
    /// that exist already keep what they were linked with.
    ///
    /// `f` runs on the guest's thread and stack, of which 256 KiB are left at least; a panic in
    /// it becomes [`Trap::HostPanic`]. It must not block.
    pub fn func<P: WasmParams, R: WasmResults>(
        &mut self,
        module: &str,
        name: &str,
        f: fn(&mut Caller<'_, S>, P) -> Result<R, Trap>,
    ) -> &mut Self {
        self.built.take();
        let definition = Definition {
            ty: FuncType::new(P::TYPES, R::TYPES),
            trampoline: match self.counts {
                true => trampoline::counted::<S, P, R>,
                false => trampoline::host::<S, P, R>,
            },
            function: f as *mut c_void,
            calls: self.counts.then(Rc::default),
        };
        self.definitions.entry(module.to_owned()).or_default().insert(name.to_owned(), definition);
        self
    }

    /// Whether calls are counted.
    pub fn is_counting(&self) -> bool {
        self.counts
    }

    /// The type of the host function `module`.`name`, if it is defined.
    pub fn func_type(&self, module: &str, name: &str) -> Option<&FuncType> {
        self.definitions.get(module)?.get(name).map(|known| &known.ty)
    }

    /// Every host function: module, name, type; sorted by module and name.
    pub fn types(&self) -> impl Iterator<Item = (&str, &str, &FuncType)> {
        self.definitions.iter().flat_map(|(module, functions)| {
            functions.iter().map(move |(name, known)| (module.as_str(), name.as_str(), &known.ty))
        })
    }

    /// Functions that were called through a linker that counts, by module and name, and how often.
    pub fn calls(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.definitions.iter().flat_map(|(module, functions)| {
            functions.iter().filter_map(move |(name, definition)| {
                let calls = definition.calls.as_ref()?.get();
                (calls > 0).then_some((module.as_str(), name.as_str(), calls))
            })
        })
    }

    /// Whether every import of `module` is defined here with the same type.
    ///
    /// # Errors
    /// [`InstantiateError::UnresolvedImport`] or [`InstantiateError::ImportType`] for the first
    /// that is not.
    pub fn check(&self, module: &Module) -> Result<(), InstantiateError> {
        for import in module.imports() {
            let found = self.func_type(&import.module, &import.name);
            match (&import.ty, found) {
                (ExternType::Func(wanted), Some(found)) if wanted == found => {}
                (ExternType::Func(wanted), Some(found)) => {
                    return Err(InstantiateError::ImportType {
                        module: import.module.clone(),
                        name: import.name.clone(),
                        wanted: wanted.clone(),
                        found: Box::new(found.clone()),
                    });
                }
                _ => {
                    return Err(InstantiateError::UnresolvedImport {
                        module: import.module.clone(),
                        name: import.name.clone(),
                        ty: import.ty.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The library's objects for these definitions.
    pub(crate) fn host_modules(&self) -> Result<Rc<HostModules>, InstantiateError> {
        if let Some(built) = self.built.get() {
            return Ok(Rc::clone(built));
        }
        let built = Rc::new(HostModules::build(&self.definitions)?);
        Ok(Rc::clone(self.built.get_or_init(|| built)))
    }
}

/// Host modules, the store that names them, and an executor for each page limit in use.
///
/// Fields are dropped in order: the store forgets the modules before they go.
pub(crate) struct HostModules {
    store: Store,
    executors: RefCell<Vec<(u32, Rc<Executor>)>>,
    modules: Vec<ModuleInstance>,
    /// What the functions above count in.
    counters: Vec<Rc<Cell<u64>>>,
}

impl HostModules {
    fn build(definitions: &Definitions) -> Result<Self, InstantiateError> {
        // SAFETY: a new object, owned here.
        let store = unsafe { Store::new(ffi::WasmEdge_StoreCreate()) }.ok_or(OUT_OF_MEMORY)?;
        let mut host =
            Self { store, executors: RefCell::default(), modules: Vec::new(), counters: Vec::new() };
        for (name, functions) in definitions {
            host.add(name, functions.iter().map(|(name, definition)| (name.as_str(), definition)))?;
        }
        host.add(meter::MODULE, std::iter::once((meter::REFILL, &refill_definition())))?;
        Ok(host)
    }

    /// Makes a host module of `functions` and gives it its name in the store.
    fn add<'a>(
        &mut self,
        name: &str,
        functions: impl Iterator<Item = (&'a str, &'a Definition)>,
    ) -> Result<(), InstantiateError> {
        // SAFETY: a new object, owned here; the name is copied.
        let module = unsafe { ModuleInstance::new(ffi::WasmEdge_ModuleInstanceCreate(raw::string(name))) };
        let module = module.ok_or(OUT_OF_MEMORY)?;
        for (name, definition) in functions {
            add_function(&module, name, definition)?;
            self.counters.extend(definition.calls.clone());
        }
        let executor = self.executor(1)?;
        // SAFETY: all three are alive; the store keeps a pointer to the module, which outlives it
        // by the order of the fields.
        let result =
            unsafe { ffi::WasmEdge_ExecutorRegisterImport(executor.get(), self.store.get(), module.get()) };
        self.modules.push(module);
        if result.Code == 0 { Ok(()) } else { Err(InstantiateError::Engine(raw::message(result))) }
    }

    /// The executor that holds instances to `pages` of memory.
    pub(crate) fn executor(&self, pages: u32) -> Result<Rc<Executor>, InstantiateError> {
        let mut executors = self.executors.borrow_mut();
        if let Some((_, executor)) = executors.iter().find(|(limit, _)| *limit == pages) {
            return Ok(Rc::clone(executor));
        }
        let configure = raw::configure(pages).ok_or(OUT_OF_MEMORY)?;
        // SAFETY: a new object, owned here; the settings are copied. No statistics object: the
        // library frees it too early.
        let executor =
            unsafe { Executor::new(ffi::WasmEdge_ExecutorCreate(configure.get(), std::ptr::null_mut())) };
        let executor = Rc::new(executor.ok_or(OUT_OF_MEMORY)?);
        executors.push((pages, Rc::clone(&executor)));
        Ok(executor)
    }

    pub(crate) fn store(&self) -> *mut ffi::WasmEdge_StoreContext {
        self.store.get()
    }
}

fn add_function(
    module: &ModuleInstance,
    name: &str,
    definition: &Definition,
) -> Result<(), InstantiateError> {
    let ty = FunctionType::of(&definition.ty).ok_or(OUT_OF_MEMORY)?;
    let data =
        definition.calls.as_ref().map_or(std::ptr::null_mut(), |calls| Rc::as_ptr(calls).cast_mut().cast());
    // SAFETY: the trampoline has the library's signature and was made together with `function` and
    // `data`, which `HostModules` keeps as long as the module; the new function is owned by the
    // module it is added to.
    unsafe {
        let function = ffi::WasmEdge_FunctionInstanceCreateBinding(
            ty.get(),
            Some(definition.trampoline),
            definition.function,
            data,
            0,
        );
        if function.is_null() {
            return Err(OUT_OF_MEMORY);
        }
        ffi::WasmEdge_ModuleInstanceAddFunction(module.get(), raw::string(name), function);
    }
    Ok(())
}

const OUT_OF_MEMORY: InstantiateError = InstantiateError::OutOfMemory;

/// What the meter calls when a slice of fuel is spent.
fn refill_definition() -> Definition {
    Definition {
        ty: meter::refill_type(),
        trampoline: trampoline::refill,
        function: std::ptr::null_mut(),
        calls: None,
    }
}
