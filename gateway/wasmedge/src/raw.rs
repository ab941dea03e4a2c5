//! Owners for WasmEdge's objects, and small conversions.

use crate::types::{FuncType, ValType};
use wasmedge_sys::ffi;

/// Borrows `text` as WasmEdge's string; it must outlive the call it is passed to.
pub(crate) fn string(text: &str) -> ffi::WasmEdge_String {
    // SAFETY: only wraps pointer and length. Names come from modules of bounded size.
    unsafe { ffi::WasmEdge_StringWrap(text.as_ptr().cast(), text.len() as u32) }
}

/// What WasmEdge says about a result code.
pub(crate) fn message(result: ffi::WasmEdge_Result) -> String {
    // SAFETY: returns a static, zero-terminated text for any code.
    let text = unsafe { std::ffi::CStr::from_ptr(ffi::WasmEdge_ResultGetMessage(result)) };
    format!("{} (code {:#06x})", text.to_string_lossy(), result.Code)
}

macro_rules! owner {
    ($(#[$doc:meta])* $name:ident, $inner:ident, $delete:ident) => {
        $(#[$doc])*
        pub(crate) struct $name(*mut ffi::$inner);

        impl $name {
            /// Owns `pointer`, or `None` if it is null.
            ///
            /// # Safety
            /// `pointer` must be null or an object of this kind that nothing else deletes.
            pub(crate) unsafe fn new(pointer: *mut ffi::$inner) -> Option<Self> {
                (!pointer.is_null()).then_some(Self(pointer))
            }

            pub(crate) fn get(&self) -> *mut ffi::$inner {
                self.0
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: owned since `new`, and deleted once.
                unsafe { ffi::$delete(self.0) }
            }
        }
    };
}

owner!(
    /// Settings.
    Configure, WasmEdge_ConfigureContext, WasmEdge_ConfigureDelete
);
owner!(
    /// Reader of compiled modules.
    Loader, WasmEdge_LoaderContext, WasmEdge_LoaderDelete
);
owner!(
    /// Type checker.
    Validator, WasmEdge_ValidatorContext, WasmEdge_ValidatorDelete
);
owner!(
    /// A loaded module.
    Ast, WasmEdge_ASTModuleContext, WasmEdge_ASTModuleDelete
);
owner!(
    /// Instantiates and calls; for one thread only.
    Executor, WasmEdge_ExecutorContext, WasmEdge_ExecutorDelete
);
owner!(
    /// Names of host modules.
    Store, WasmEdge_StoreContext, WasmEdge_StoreDelete
);
owner!(
    /// A host module or an instance of a guest's.
    ModuleInstance, WasmEdge_ModuleInstanceContext, WasmEdge_ModuleInstanceDelete
);
owner!(
    /// A function type.
    FunctionType, WasmEdge_FunctionTypeContext, WasmEdge_FunctionTypeDelete
);

impl FunctionType {
    pub(crate) fn of(ty: &FuncType) -> Option<Self> {
        let params: Vec<_> = ty.params.iter().copied().map(value_type).collect();
        let results: Vec<_> = ty.results.iter().copied().map(value_type).collect();
        // SAFETY: both lists are valid for their lengths; the new object is owned here.
        unsafe {
            Self::new(ffi::WasmEdge_FunctionTypeCreate(
                params.as_ptr(),
                params.len() as u32,
                results.as_ptr(),
                results.len() as u32,
            ))
        }
    }
}

fn value_type(ty: ValType) -> ffi::WasmEdge_ValType {
    // SAFETY: these make plain values.
    unsafe {
        match ty {
            ValType::I32 => ffi::WasmEdge_ValTypeGenI32(),
            ValType::I64 => ffi::WasmEdge_ValTypeGenI64(),
            ValType::F32 => ffi::WasmEdge_ValTypeGenF32(),
            ValType::F64 => ffi::WasmEdge_ValTypeGenF64(),
            ValType::V128 => ffi::WasmEdge_ValTypeGenV128(),
            ValType::FuncRef => ffi::WasmEdge_ValTypeGenFuncRef(),
            ValType::ExternRef => ffi::WasmEdge_ValTypeGenExternRef(),
        }
    }
}

/// Settings with the proposals that this crate accepts, AOT mode, and `pages` at most.
pub(crate) fn configure(pages: u32) -> Option<Configure> {
    // SAFETY: creates an object that is owned here; the setters take any of these values.
    unsafe {
        let configure = Configure::new(ffi::WasmEdge_ConfigureCreate())?;
        let raw = configure.get();
        ffi::WasmEdge_ConfigureSetWASMStandard(raw, ffi::WasmEdge_Standard_WASM_2);
        for proposal in PROPOSALS {
            ffi::WasmEdge_ConfigureAddProposal(raw, proposal);
        }
        ffi::WasmEdge_ConfigureSetRunMode(raw, ffi::WasmEdge_RunMode_AOT);
        ffi::WasmEdge_ConfigureSetMaxMemoryPage(raw, u64::from(pages));
        Some(configure)
    }
}

/// What is accepted beyond WebAssembly 2.0. `meter::inspect` lists the same for validation, but for the second
/// memory that only the pass may add, and `compile::aot` for the compiler.
const PROPOSALS: [ffi::WasmEdge_Proposal; 4] = [
    ffi::WasmEdge_Proposal_TailCall,
    ffi::WasmEdge_Proposal_ExtendedConst,
    ffi::WasmEdge_Proposal_RelaxSIMD,
    ffi::WasmEdge_Proposal_MultiMemories,
];
