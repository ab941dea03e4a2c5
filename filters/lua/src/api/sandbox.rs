//! Lua's own libraries, as far as they stay inside; `load` of text alone; `require` of what policy lists.

use std::ffi::CString;

use super::{get_registry, set_global, set_registry, shown};
use crate::lua::{Lua, Raise, Returns, ffi, functions};
use crate::settings::Settings;

/// Opens files, or is bytecode's way in or out.
const REMOVED: [&str; 4] = ["dofile", "loadfile", "load", "warn"];
const SOURCES: &str = "tollgate.modules";
const LOADED: &str = "tollgate.loaded";

pub(super) fn open(lua: &Lua, settings: &Settings) {
    lua.open(c"_G", ffi::luaopen_base);
    lua.open(c"coroutine", ffi::luaopen_coroutine);
    lua.open(c"math", ffi::luaopen_math);
    lua.open(c"string", ffi::luaopen_string);
    lua.open(c"table", ffi::luaopen_table);
    lua.open(c"utf8", ffi::luaopen_utf8);
    lua.push_globals();
    for name in REMOVED {
        lua.push_nil();
        lua.set_raw(-2, name);
    }
    functions!(lua, "load" => load, "require" => require);
    lua.get(-1, c"string");
    lua.push_nil();
    lua.set_raw(-2, "dump");
    lua.pop(2);
    open_modules(lua, settings);
}

fn open_modules(lua: &Lua, settings: &Settings) {
    lua.push_table(0, 0);
    for (name, module) in &settings.modules {
        lua.push_table(2, 0);
        lua.push(module.name.as_bytes());
        lua.set_index(-2, 1);
        lua.push(module.source.as_bytes());
        lua.set_index(-2, 2);
        lua.set_raw(-2, name);
    }
    set_registry(lua, SOURCES);
    lua.push_table(0, 0);
    set_registry(lua, LOADED);
    lua.push(settings.name.as_bytes());
    set_global(lua, "script_name");
}

/// `load(text [, name [, mode [, env]]])`: as Lua's, but the text is a string and never bytecode.
fn load(lua: &Lua) -> Returns {
    let source = lua.check_bytes(1);
    let name = lua.optional_bytes(2).unwrap_or(b"=(load)");
    let name = CString::new(name).map_err(|_| "the name of a chunk holds a NUL")?;
    // Compiling throws only if it runs out of memory for the error's own text.
    let is_well = lua.load(source, &name);
    drop(name);
    if !is_well {
        lua.push_nil();
        lua.insert(-2);
        return Ok(2);
    }
    if lua.type_of(4) > ffi::NIL {
        lua.copy(4);
        lua.set_upvalue(-2, 1);
    }
    Ok(1)
}

/// `require(name)`: runs a module that the policy lists, once, and returns what it returned.
fn require(lua: &Lua) -> Returns {
    lua.check_bytes(1);
    lua.set_top(1);
    get_registry(lua, LOADED);
    lua.copy(1);
    if lua.get_raw_top(2) != ffi::NIL {
        return Ok(1);
    }
    get_registry(lua, SOURCES);
    lua.copy(1);
    if lua.get_raw_top(-2) != ffi::TABLE {
        let name = shown(lua, 1);
        return Err(Raise(format!("no module `{name}`: list it in the policy, under `modules`")));
    }
    let module = lua.top();
    lua.get_index(module, 1);
    lua.get_index(module, 2);
    let name = format!("@{}", shown(lua, -2));
    let name = CString::new(name).map_err(|_| "the name of a module's file holds a NUL")?;
    let is_well = lua.load_script(lua.bytes(-1).unwrap_or_default(), &name);
    drop(name);
    if !is_well {
        return Ok(lua.throw_top());
    }
    lua.copy(1);
    lua.call(1, 1);
    if lua.is_absent(-1) {
        lua.pop(1);
        lua.push_boolean(true);
    }
    lua.copy(1);
    lua.copy(-2);
    lua.set_raw_pair(2);
    Ok(1)
}
