//! A guest function, looked up once.

use crate::context::Core;
use crate::raw;
use crate::trap::Trap;
use crate::value::{RawValue, WasmParams, WasmResults};
use std::marker::PhantomData;
use wasmedge_sys::ffi;

/// An exported function with its parameters `P` and results `R`.
///
/// Belongs to the instance it was looked up in: calling it through another gives
/// [`Trap::Host`].
pub struct Func<P, R> {
    pointer: *const ffi::WasmEdge_FunctionInstanceContext,
    instance: u64,
    ty: PhantomData<fn(P) -> R>,
}

impl<P, R> Clone for Func<P, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, R> Copy for Func<P, R> {}

impl<P, R> std::fmt::Debug for Func<P, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Func").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl<P: WasmParams, R: WasmResults> Func<P, R> {
    /// The function `name` of the instance, whose type the caller has checked.
    pub(crate) fn find(core: &Core, name: &str) -> Option<Self> {
        let module = core.module.get();
        if module.is_null() {
            return None;
        }
        // SAFETY: a live instance of this thread; absent names give null.
        let pointer = unsafe { ffi::WasmEdge_ModuleInstanceFindFunction(module, raw::string(name)) };
        (!pointer.is_null()).then_some(Self { pointer, instance: core.id, ty: PhantomData })
    }

    /// Calls it under the budget that `core` has at the moment.
    #[inline]
    pub(crate) fn invoke(&self, core: &Core, params: P) -> Result<R, Trap> {
        if self.instance != core.id {
            return Err(Trap::Host("the function belongs to another instance"));
        }
        let params = params.into_raw();
        let params: &[RawValue] = params.as_ref();
        let mut results = R::zeroed();
        let room: &mut [RawValue] = results.as_mut();
        // SAFETY: the function and the executor are alive with the instance `core` describes and
        // are used on its own thread; both slices hold what the function's type says.
        let result = unsafe {
            ffi::WasmEdge_ExecutorInvoke(
                core.executor,
                self.pointer,
                params.as_ptr(),
                params.len() as u32,
                room.as_mut_ptr(),
                room.len() as u32,
            )
        };
        if result.Code == 0 { Ok(R::from_raw(results.as_ref())) } else { Err(core.take_trap(result)) }
    }
}
