//! The stack of a thread: moving, reading and pushing values.

use std::ffi::c_int;

use super::{Lua, ffi};

impl Lua {
    pub(crate) fn top(self) -> c_int {
        // SAFETY: see the module.
        unsafe { ffi::lua_gettop(self.0) }
    }

    pub(crate) fn set_top(self, index: c_int) {
        // SAFETY: see the module.
        unsafe { ffi::lua_settop(self.0, index) }
    }

    pub(crate) fn pop(self, count: c_int) {
        self.set_top(-count - 1);
    }

    pub(crate) fn absolute(self, index: c_int) -> c_int {
        // SAFETY: see the module.
        unsafe { ffi::lua_absindex(self.0, index) }
    }

    pub(crate) fn copy(self, index: c_int) {
        // SAFETY: see the module.
        unsafe { ffi::lua_pushvalue(self.0, index) }
    }

    /// Moves the top value down to `index`.
    pub(crate) fn insert(self, index: c_int) {
        // SAFETY: see the module.
        unsafe { ffi::lua_rotate(self.0, index, 1) }
    }

    /// Puts the top value in the place of another.
    pub(crate) fn replace(self, index: c_int) {
        // SAFETY: see the module.
        unsafe { ffi::lua_copy(self.0, -1, index) };
        self.pop(1);
    }

    /// Joins the top `count` strings.
    pub(crate) fn concat(self, count: c_int) {
        // SAFETY: see the module.
        unsafe { ffi::lua_concat(self.0, count) }
    }

    /// Makes the top value the upvalue `n` of the function at `index`.
    pub(crate) fn set_upvalue(self, index: c_int, n: c_int) {
        // SAFETY: see the module.
        if unsafe { ffi::lua_setupvalue(self.0, index, n) }.is_null() {
            self.pop(1);
        }
    }

    /// Moves the top `count` values to the stack of another thread of the same state.
    pub(crate) fn move_to(self, to: Self, count: c_int) {
        // SAFETY: see the module; both are of one state.
        unsafe { ffi::lua_xmove(self.0, to.0, count) }
    }

    /// Whether there is room for `count` more values, made if need be.
    pub(crate) fn has_room(self, count: c_int) -> bool {
        // SAFETY: see the module.
        unsafe { ffi::lua_checkstack(self.0, count) != 0 }
    }

    /// One of the type constants of [`ffi`], -1 for no value.
    pub(crate) fn type_of(self, index: c_int) -> c_int {
        // SAFETY: see the module.
        unsafe { ffi::lua_type(self.0, index) }
    }

    pub(crate) fn is_absent(self, index: c_int) -> bool {
        self.type_of(index) <= ffi::NIL
    }

    pub(crate) fn boolean(self, index: c_int) -> bool {
        // SAFETY: see the module.
        unsafe { ffi::lua_toboolean(self.0, index) != 0 }
    }

    pub(crate) fn is_integer(self, index: c_int) -> bool {
        // SAFETY: see the module.
        unsafe { ffi::lua_isinteger(self.0, index) != 0 }
    }

    pub(crate) fn integer(self, index: c_int) -> Option<i64> {
        let mut is_number = 0;
        // SAFETY: see the module.
        let value = unsafe { ffi::lua_tointegerx(self.0, index, &mut is_number) };
        (is_number != 0).then_some(value)
    }

    pub(crate) fn number(self, index: c_int) -> Option<f64> {
        let mut is_number = 0;
        // SAFETY: see the module.
        let value = unsafe { ffi::lua_tonumberx(self.0, index, &mut is_number) };
        (is_number != 0).then_some(value)
    }

    /// The bytes of a string (not of a number). They live while the value is on the stack, which the
    /// borrow stands for.
    pub(crate) fn bytes(&self, index: c_int) -> Option<&[u8]> {
        (self.type_of(index) == ffi::STRING).then(|| self.text_at(index))
    }

    /// The bytes of a string or a number, which becomes a string on the stack.
    fn text_at(&self, index: c_int) -> &[u8] {
        let mut len = 0;
        // SAFETY: see the module; Lua's strings do not move while they are on the stack.
        unsafe {
            let start = ffi::lua_tolstring(self.0, index, &mut len);
            if start.is_null() { &[] } else { std::slice::from_raw_parts(start.cast(), len) }
        }
    }

    /// The argument as bytes; throws if it is neither string nor number.
    pub(crate) fn check_bytes(&self, argument: c_int) -> &[u8] {
        let mut len = 0;
        // SAFETY: see the module.
        unsafe {
            let start = ffi::luaL_checklstring(self.0, argument, &mut len);
            std::slice::from_raw_parts(start.cast(), len)
        }
    }

    /// Like [`Lua::check_bytes`], or `None` if the argument is absent or nil.
    pub(crate) fn optional_bytes(&self, argument: c_int) -> Option<&[u8]> {
        (!self.is_absent(argument)).then(|| self.check_bytes(argument))
    }

    pub(crate) fn check_integer(self, argument: c_int) -> i64 {
        // SAFETY: see the module.
        unsafe { ffi::luaL_checkinteger(self.0, argument) }
    }

    pub(crate) fn check_number(self, argument: c_int) -> f64 {
        // SAFETY: see the module.
        unsafe { ffi::luaL_checknumber(self.0, argument) }
    }

    pub(crate) fn check_table(self, argument: c_int) {
        // SAFETY: see the module.
        unsafe { ffi::luaL_checktype(self.0, argument, ffi::TABLE) }
    }

    pub(crate) fn check_any(self, argument: c_int) {
        // SAFETY: see the module.
        unsafe { ffi::luaL_checkany(self.0, argument) }
    }

    /// Pushes what `tostring` gives and returns it.
    pub(crate) fn push_shown(&self, index: c_int) -> &[u8] {
        let mut len = 0;
        // SAFETY: see the module.
        unsafe {
            let start = ffi::luaL_tolstring(self.0, index, &mut len);
            std::slice::from_raw_parts(start.cast(), len)
        }
    }

    pub(crate) fn push_nil(self) {
        // SAFETY: see the module.
        unsafe { ffi::lua_pushnil(self.0) }
    }

    pub(crate) fn push_boolean(self, value: bool) {
        // SAFETY: see the module.
        unsafe { ffi::lua_pushboolean(self.0, value.into()) }
    }

    pub(crate) fn push_integer(self, value: i64) {
        // SAFETY: see the module.
        unsafe { ffi::lua_pushinteger(self.0, value) }
    }

    pub(crate) fn push_number(self, value: f64) {
        // SAFETY: see the module.
        unsafe { ffi::lua_pushnumber(self.0, value) }
    }

    pub(crate) fn push(self, bytes: &[u8]) {
        // SAFETY: see the module; Lua copies.
        unsafe { ffi::lua_pushlstring(self.0, bytes.as_ptr().cast(), bytes.len()) };
    }

    /// Pushes bytes, or nil.
    pub(crate) fn push_option(self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.push(bytes),
            None => self.push_nil(),
        }
    }

    pub(crate) fn push_function(self, function: ffi::CFunction) {
        self.push_closure(function, 0);
    }

    /// Pushes a function that keeps the top `upvalues` values, which it takes off.
    pub(crate) fn push_closure(self, function: ffi::CFunction, upvalues: c_int) {
        // SAFETY: see the module.
        unsafe { ffi::lua_pushcclosure(self.0, function, upvalues) }
    }

    pub(crate) fn push_light(self, pointer: *const ()) {
        // SAFETY: see the module; nothing reads through it but [`Lua::light`]'s callers.
        unsafe { ffi::lua_pushlightuserdata(self.0, pointer.cast_mut().cast()) }
    }

    pub(crate) fn light(self, index: c_int) -> Option<*mut ()> {
        // SAFETY: see the module.
        (self.type_of(index) == ffi::LIGHT_USERDATA)
            .then(|| unsafe { ffi::lua_touserdata(self.0, index) }.cast())
    }

    /// The index of an upvalue of the running function.
    pub(crate) fn upvalue(n: c_int) -> c_int {
        ffi::REGISTRY - n
    }
}
