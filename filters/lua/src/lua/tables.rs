//! Tables, userdata and the registry.

use std::ffi::{CStr, c_int};
use std::ptr;

use super::{Anchor, Lua, Tagged, ffi};

impl Lua {
    pub(crate) fn push_table(self, array: c_int, hash: c_int) {
        // SAFETY: see the module.
        unsafe { ffi::lua_createtable(self.0, array, hash) }
    }

    /// Pushes `table[key]`, with metamethods.
    pub(crate) fn get(self, table: c_int, key: &CStr) -> c_int {
        // SAFETY: see the module.
        unsafe { ffi::lua_getfield(self.0, table, key.as_ptr()) }
    }

    /// Pushes the raw `table[key]`.
    pub(crate) fn get_raw(self, table: c_int, key: &str) -> c_int {
        let table = self.absolute(table);
        self.push(key.as_bytes());
        // SAFETY: see the module; the value is a table by the caller's knowledge.
        unsafe { ffi::lua_rawget(self.0, table) }
    }

    /// Replaces the key on top by the raw value.
    pub(crate) fn get_raw_top(self, table: c_int) -> c_int {
        // SAFETY: see the module.
        unsafe { ffi::lua_rawget(self.0, table) }
    }

    /// `table[key] = top`, raw; pops.
    pub(crate) fn set_raw(self, table: c_int, key: &str) {
        let table = self.absolute(table);
        self.push(key.as_bytes());
        self.insert(-2);
        // SAFETY: see the module.
        unsafe { ffi::lua_rawset(self.0, table) }
    }

    /// `table[top - 1] = top`, raw; pops both.
    pub(crate) fn set_raw_pair(self, table: c_int) {
        // SAFETY: see the module.
        unsafe { ffi::lua_rawset(self.0, table) }
    }

    pub(crate) fn get_index(self, table: c_int, n: i64) -> c_int {
        // SAFETY: see the module.
        unsafe { ffi::lua_rawgeti(self.0, table, n) }
    }

    pub(crate) fn set_index(self, table: c_int, n: i64) {
        // SAFETY: see the module.
        unsafe { ffi::lua_rawseti(self.0, table, n) }
    }

    pub(crate) fn length(self, index: c_int) -> u64 {
        // SAFETY: see the module.
        unsafe { ffi::lua_rawlen(self.0, index) }
    }

    /// Replaces the key on top by the next key and value; pops it and returns false after the last.
    pub(crate) fn next(self, table: c_int) -> bool {
        // SAFETY: see the module.
        unsafe { ffi::lua_next(self.0, table) != 0 }
    }

    pub(crate) fn set_metatable(self, index: c_int) {
        // SAFETY: see the module.
        unsafe { ffi::lua_setmetatable(self.0, index) };
    }

    /// Keeps the value on top in the registry, under an address, and pops it. Throws if there is no memory.
    pub(crate) fn set_registry_at(self, key: *const ()) {
        // SAFETY: there is a value on top, and the key is only compared.
        unsafe { ffi::lua_rawsetp(self.0, ffi::REGISTRY, key.cast()) }
    }

    /// Pushes what the registry keeps under an address. Throws nothing.
    pub(crate) fn push_registry_at(self, key: *const ()) {
        // SAFETY: the caller has room for one more value.
        unsafe { ffi::lua_rawgetp(self.0, ffi::REGISTRY, key.cast()) };
    }

    /// Whether the metatable of the value at `index` is what the registry keeps under an address. Needs
    /// room for two values and throws nothing.
    pub(crate) fn has_metatable_at(self, index: c_int, key: *const ()) -> bool {
        // SAFETY: as the lines above say; what was pushed is popped.
        unsafe {
            if ffi::lua_getmetatable(self.0, index) == 0 {
                return false;
            }
            self.push_registry_at(key);
            let is_equal = ffi::lua_rawequal(self.0, -1, -2) != 0;
            self.pop(2);
            is_equal
        }
    }

    pub(crate) fn push_globals(self) {
        self.get_index(ffi::REGISTRY, ffi::RIDX_GLOBALS);
    }

    /// Pushes a new userdata that holds `value` and `values` user values. `T` must be plain data: Lua
    /// frees it without a drop, unless a finaliser does that.
    pub(crate) fn push_userdata<T>(self, value: T, values: c_int) {
        const { assert!(align_of::<T>() <= 8, "Lua aligns to eight bytes") };
        // SAFETY: see the module; Lua's block is large enough and aligned.
        unsafe {
            let place = ffi::lua_newuserdatauv(self.0, size_of::<T>(), values);
            ptr::write(place.cast::<T>(), value);
        }
    }

    /// The bytes of a full userdata.
    fn userdata(self, index: c_int) -> Option<(*mut (), u64)> {
        if self.type_of(index) != ffi::USERDATA {
            return None;
        }
        // SAFETY: see the module.
        let place = unsafe { ffi::lua_touserdata(self.0, index) };
        Some((place.cast(), self.length(index)))
    }

    /// A userdata that begins with the tag of `T`. All userdata of a state are ours and begin with a tag.
    pub(crate) fn tagged<T: Tagged>(&self, index: c_int) -> Option<&T> {
        let (place, size) = self.userdata(index)?;
        if size != size_of::<T>() as u64 {
            return None;
        }
        // SAFETY: every userdata of ours is made from a `repr(C)` struct whose first field is the tag,
        // so that the tag can be read; if it is that of `T`, the rest is a `T`.
        unsafe { (*place.cast::<u32>() == T::TAG).then(|| &*place.cast::<T>()) }
    }

    pub(crate) fn get_user_value(self, index: c_int, n: c_int) -> c_int {
        // SAFETY: see the module.
        unsafe { ffi::lua_getiuservalue(self.0, index, n) }
    }

    pub(crate) fn set_user_value(self, index: c_int, n: c_int) {
        // SAFETY: see the module.
        unsafe { ffi::lua_setiuservalue(self.0, index, n) };
    }

    /// Takes the top value off and keeps it.
    pub(crate) fn anchor(self) -> Anchor {
        // SAFETY: see the module.
        Anchor(unsafe { ffi::luaL_ref(self.0, ffi::REGISTRY) })
    }

    pub(crate) fn push_anchored(self, anchor: Anchor) {
        self.get_index(ffi::REGISTRY, anchor.0.into());
    }

    pub(crate) fn release(self, anchor: Anchor) {
        // SAFETY: see the module.
        unsafe { ffi::luaL_unref(self.0, ffi::REGISTRY, anchor.0) }
    }
}
