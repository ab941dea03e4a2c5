//! The part of Lua's C API that the glue uses; see the reference manual of Lua 5.4, sections 4 and 5.

use std::ffi::{c_char, c_int, c_void};

/// A Lua state or one of its threads.
#[repr(C)]
pub(crate) struct RawState {
    opaque: [u8; 0],
}

pub(crate) type CFunction = unsafe extern "C-unwind" fn(*mut RawState) -> c_int;
pub(crate) type Reader = unsafe extern "C-unwind" fn(*mut RawState, *mut c_void, *mut usize) -> *const c_char;
pub(crate) type Alloc = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, usize) -> *mut c_void;

pub(crate) const OK: c_int = 0;
pub(crate) const YIELD: c_int = 1;
pub(crate) const REGISTRY: c_int = -1_000_000 - 1000;
pub(crate) const MULTRET: c_int = -1;
pub(crate) const RIDX_GLOBALS: i64 = 2;

pub(crate) const NIL: c_int = 0;
pub(crate) const BOOLEAN: c_int = 1;
pub(crate) const LIGHT_USERDATA: c_int = 2;
pub(crate) const NUMBER: c_int = 3;
pub(crate) const STRING: c_int = 4;
pub(crate) const TABLE: c_int = 5;
pub(crate) const FUNCTION: c_int = 6;
pub(crate) const USERDATA: c_int = 7;

unsafe extern "C-unwind" {
    pub(crate) fn lua_newstate(alloc: Alloc, ud: *mut c_void) -> *mut RawState;
    pub(crate) fn lua_close(l: *mut RawState);
    pub(crate) fn lua_newthread(l: *mut RawState) -> *mut RawState;
    pub(crate) fn lua_resume(
        l: *mut RawState,
        from: *mut RawState,
        arguments: c_int,
        results: *mut c_int,
    ) -> c_int;
    pub(crate) fn lua_yieldk(l: *mut RawState, results: c_int, ctx: isize, k: *const c_void) -> c_int;
    pub(crate) fn lua_isyieldable(l: *mut RawState) -> c_int;
    pub(crate) fn lua_closethread(l: *mut RawState, from: *mut RawState) -> c_int;
    pub(crate) fn lua_xmove(from: *mut RawState, to: *mut RawState, n: c_int);
    pub(crate) fn lua_checkstack(l: *mut RawState, n: c_int) -> c_int;

    pub(crate) fn lua_gettop(l: *mut RawState) -> c_int;
    pub(crate) fn lua_settop(l: *mut RawState, index: c_int);
    pub(crate) fn lua_absindex(l: *mut RawState, index: c_int) -> c_int;
    pub(crate) fn lua_pushvalue(l: *mut RawState, index: c_int);
    pub(crate) fn lua_copy(l: *mut RawState, from: c_int, to: c_int);
    pub(crate) fn lua_rotate(l: *mut RawState, index: c_int, n: c_int);

    pub(crate) fn lua_type(l: *mut RawState, index: c_int) -> c_int;
    pub(crate) fn lua_isinteger(l: *mut RawState, index: c_int) -> c_int;
    pub(crate) fn lua_toboolean(l: *mut RawState, index: c_int) -> c_int;
    pub(crate) fn lua_tointegerx(l: *mut RawState, index: c_int, is_number: *mut c_int) -> i64;
    pub(crate) fn lua_tonumberx(l: *mut RawState, index: c_int, is_number: *mut c_int) -> f64;
    pub(crate) fn lua_tolstring(l: *mut RawState, index: c_int, len: *mut usize) -> *const c_char;
    pub(crate) fn lua_touserdata(l: *mut RawState, index: c_int) -> *mut c_void;
    pub(crate) fn lua_rawlen(l: *mut RawState, index: c_int) -> u64;

    pub(crate) fn lua_pushnil(l: *mut RawState);
    pub(crate) fn lua_pushinteger(l: *mut RawState, n: i64);
    pub(crate) fn lua_pushnumber(l: *mut RawState, n: f64);
    pub(crate) fn lua_pushboolean(l: *mut RawState, b: c_int);
    pub(crate) fn lua_pushlstring(l: *mut RawState, s: *const c_char, len: usize) -> *const c_char;
    pub(crate) fn lua_pushcclosure(l: *mut RawState, f: CFunction, upvalues: c_int);
    pub(crate) fn lua_pushlightuserdata(l: *mut RawState, p: *mut c_void);

    pub(crate) fn lua_createtable(l: *mut RawState, array: c_int, hash: c_int);
    pub(crate) fn lua_newuserdatauv(l: *mut RawState, size: usize, values: c_int) -> *mut c_void;
    pub(crate) fn lua_getfield(l: *mut RawState, index: c_int, key: *const c_char) -> c_int;
    pub(crate) fn lua_rawget(l: *mut RawState, index: c_int) -> c_int;
    pub(crate) fn lua_rawset(l: *mut RawState, index: c_int);
    pub(crate) fn lua_rawgeti(l: *mut RawState, index: c_int, n: i64) -> c_int;
    pub(crate) fn lua_rawseti(l: *mut RawState, index: c_int, n: i64);
    pub(crate) fn lua_getiuservalue(l: *mut RawState, index: c_int, n: c_int) -> c_int;
    pub(crate) fn lua_setiuservalue(l: *mut RawState, index: c_int, n: c_int) -> c_int;
    pub(crate) fn lua_setmetatable(l: *mut RawState, index: c_int) -> c_int;
    pub(crate) fn lua_getmetatable(l: *mut RawState, index: c_int) -> c_int;
    pub(crate) fn lua_rawequal(l: *mut RawState, one: c_int, other: c_int) -> c_int;
    pub(crate) fn lua_rawgetp(l: *mut RawState, index: c_int, key: *const c_void) -> c_int;
    pub(crate) fn lua_rawsetp(l: *mut RawState, index: c_int, key: *const c_void);
    pub(crate) fn lua_setupvalue(l: *mut RawState, function: c_int, n: c_int) -> *const c_char;
    pub(crate) fn lua_next(l: *mut RawState, index: c_int) -> c_int;

    pub(crate) fn lua_callk(l: *mut RawState, arguments: c_int, results: c_int, ctx: isize, k: *const c_void);
    pub(crate) fn lua_pcallk(
        l: *mut RawState,
        arguments: c_int,
        results: c_int,
        handler: c_int,
        ctx: isize,
        k: *const c_void,
    ) -> c_int;
    pub(crate) fn lua_error(l: *mut RawState) -> c_int;
    pub(crate) fn lua_concat(l: *mut RawState, n: c_int);

    pub(crate) fn luaL_checklstring(l: *mut RawState, argument: c_int, len: *mut usize) -> *const c_char;
    pub(crate) fn luaL_checkinteger(l: *mut RawState, argument: c_int) -> i64;
    pub(crate) fn luaL_checknumber(l: *mut RawState, argument: c_int) -> f64;
    pub(crate) fn luaL_checktype(l: *mut RawState, argument: c_int, ty: c_int);
    pub(crate) fn luaL_checkany(l: *mut RawState, argument: c_int);
    pub(crate) fn luaL_tolstring(l: *mut RawState, index: c_int, len: *mut usize) -> *const c_char;
    pub(crate) fn luaL_where(l: *mut RawState, level: c_int);
    pub(crate) fn luaL_traceback(l: *mut RawState, of: *mut RawState, message: *const c_char, level: c_int);
    pub(crate) fn luaL_ref(l: *mut RawState, table: c_int) -> c_int;
    pub(crate) fn luaL_unref(l: *mut RawState, table: c_int, reference: c_int);
    pub(crate) fn luaL_loadbufferx(
        l: *mut RawState,
        code: *const c_char,
        len: usize,
        name: *const c_char,
        mode: *const c_char,
    ) -> c_int;
    pub(crate) fn lua_load(
        l: *mut RawState,
        reader: Reader,
        data: *mut c_void,
        name: *const c_char,
        mode: *const c_char,
    ) -> c_int;
    pub(crate) fn luaL_requiref(l: *mut RawState, name: *const c_char, open: CFunction, global: c_int);

    pub(crate) fn luaopen_base(l: *mut RawState) -> c_int;
    pub(crate) fn luaopen_coroutine(l: *mut RawState) -> c_int;
    pub(crate) fn luaopen_math(l: *mut RawState) -> c_int;
    pub(crate) fn luaopen_string(l: *mut RawState) -> c_int;
    pub(crate) fn luaopen_table(l: *mut RawState) -> c_int;
    pub(crate) fn luaopen_utf8(l: *mut RawState) -> c_int;
}

// `native/hook.c` and the C library.
unsafe extern "C" {
    pub(crate) fn lua_budget_begin();
    pub(crate) fn lua_budget_is_low() -> bool;
    pub(crate) fn realloc(p: *mut c_void, size: usize) -> *mut c_void;
    pub(crate) fn free(p: *mut c_void);
}
