//! Compiling, calling, threads, errors.

use std::ffi::{CStr, c_int};
use std::ptr;

use super::{Lua, Raise, RawState, Resumed, Returns, ffi};

impl Lua {
    /// Compiles source (never bytecode) and pushes the function, or pushes the error and returns false.
    pub(crate) fn load(self, source: &[u8], name: &CStr) -> bool {
        // SAFETY: see the module.
        unsafe {
            let (start, len) = (source.as_ptr().cast(), source.len());
            ffi::luaL_loadbufferx(self.0, start, len, name.as_ptr(), c"t".as_ptr()) == ffi::OK
        }
    }

    /// Calls the function below `arguments` values. Errors go on to whoever called us.
    pub(crate) fn call(self, arguments: c_int, results: c_int) {
        // SAFETY: see the module.
        unsafe { ffi::lua_callk(self.0, arguments, results, 0, ptr::null()) }
    }

    /// Like [`Lua::call`]; on an error pushes that and returns false.
    pub(crate) fn call_protected(self, arguments: c_int, results: c_int) -> bool {
        // SAFETY: see the module.
        unsafe { ffi::lua_pcallk(self.0, arguments, results, 0, 0, ptr::null()) == ffi::OK }
    }

    /// Runs `f` so that what it throws ends here: then the error is on the stack and this is false. What
    /// `f` leaves on its own, empty stack is on top of ours otherwise.
    pub(crate) fn protect(self, mut f: &mut dyn FnMut(&Lua)) -> bool {
        unsafe extern "C-unwind" fn run(raw: *mut RawState) -> c_int {
            // SAFETY: called below, with a pointer to the closure, which lives until that call returns.
            let lua = unsafe { Lua::new(raw) };
            let f = unsafe { &mut **ffi::lua_touserdata(raw, 1).cast::<&mut dyn FnMut(&Lua)>() };
            lua.set_top(0);
            f(&lua);
            lua.top()
        }
        self.push_function(run);
        self.push_light(ptr::from_mut(&mut f).cast());
        self.call_protected(1, ffi::MULTRET)
    }

    /// Pushes bytes that the caller owns: they are dropped also if there is no memory for them.
    pub(crate) fn push_owned(self, bytes: impl AsRef<[u8]>) {
        let pushed = self.protect(&mut |lua| lua.push(bytes.as_ref()));
        drop(bytes);
        if !pushed {
            self.throw_top();
        }
    }

    /// Pushes a new thread.
    pub(crate) fn push_thread(self) -> Self {
        // SAFETY: see the module.
        Self(unsafe { ffi::lua_newthread(self.0) })
    }

    /// Starts or goes on with this thread, with `arguments` values on its stack.
    pub(crate) fn resume(self, from: Self, arguments: c_int) -> Resumed {
        let mut results = 0;
        // SAFETY: see the module.
        match unsafe { ffi::lua_resume(self.0, from.0, arguments, &mut results) } {
            ffi::OK => Resumed::Done(results),
            ffi::YIELD => Resumed::Yielded,
            _ => Resumed::Failed,
        }
    }

    /// Ends a thread: its pending variables are closed.
    pub(crate) fn close_thread(self, from: Self) {
        // SAFETY: see the module.
        unsafe { ffi::lua_closethread(self.0, from.0) };
    }

    pub(crate) fn can_yield(self) -> bool {
        // SAFETY: see the module.
        unsafe { ffi::lua_isyieldable(self.0) != 0 }
    }

    /// Suspends this thread. As the last thing a function does: what it is resumed with are its results.
    pub(crate) fn suspend(self) -> Returns {
        // SAFETY: see the module; in a function of ours this throws.
        Ok(unsafe { ffi::lua_yieldk(self.0, 0, 0, ptr::null()) })
    }

    /// Raises `raise` in the script, with the place it was called from.
    pub(crate) fn throw(self, raise: Raise) -> c_int {
        // SAFETY: see the module. The text is dropped before the throw.
        unsafe {
            ffi::luaL_where(self.0, 1);
            self.push(raise.0.as_bytes());
            drop(raise);
            ffi::lua_concat(self.0, 2);
            ffi::lua_error(self.0)
        }
    }

    /// Raises the value on top.
    pub(crate) fn throw_top(self) -> c_int {
        // SAFETY: see the module.
        unsafe { ffi::lua_error(self.0) }
    }

    /// Pushes the error on top of `of`'s stack as text, followed by a traceback of `of`.
    pub(crate) fn push_traceback(self, of: Self) {
        // SAFETY: see the module; strings of Lua end with NUL.
        unsafe {
            let message = ffi::luaL_tolstring(of.0, -1, ptr::null_mut());
            ffi::luaL_traceback(self.0, of.0, message, 0);
            of.pop(1);
        }
    }

    /// Opens one of Lua's own libraries under a global name.
    pub(crate) fn open(self, name: &CStr, open: ffi::CFunction) {
        // SAFETY: see the module.
        unsafe { ffi::luaL_requiref(self.0, name.as_ptr(), open, 1) };
        self.pop(1);
    }
}
