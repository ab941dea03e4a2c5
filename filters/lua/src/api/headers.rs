//! `req.headers` and `resp.headers`: `h["name"]` is the first value or nil, assigning sets it and nil
//! removes it; `h:get(name)`, `h:get_all(name)`, `h:set(name, value)`, `h:add(name, value)`,
//! `h:remove(name)`; `for name, value in pairs(h)` goes over all, as they were when it began.
//!
//! Names are in lower case. Pseudo-headers are not among them: they are fields of the request or response.

use super::{get_registry, set_registry};
use crate::abi::{self, Map, Status};
use crate::lua::{Lua, Raise, Returns, Tagged, ffi, functions, wrap};
use crate::pairs;
use crate::world::Run;

const METATABLE: &str = "tollgate.headers";

/// The headers of one side of one exchange.
#[repr(C)]
struct Headers {
    tag: u32,
    context: u32,
    map: Map,
}

#[allow(unsafe_code)]
// SAFETY: `repr(C)`, its tag first, and no other type has this one.
unsafe impl Tagged for Headers {
    const TAG: u32 = 0x4ead_e125;
}

pub(super) fn open(lua: &Lua) {
    lua.push_table(0, 4);
    lua.push_table(0, 5);
    functions!(lua, "get" => get, "get_all" => get_all, "set" => set, "add" => add, "remove" => remove);
    lua.push_closure(wrap(index), 1);
    lua.set_raw(-2, "__index");
    functions!(lua, "__newindex" => set, "__pairs" => pairs);
    lua.push_boolean(false);
    lua.set_raw(-2, "__metatable");
    set_registry(lua, METATABLE);
}

/// Pushes the headers of a side.
pub(super) fn push(lua: &Lua, context: u32, map: Map) {
    lua.push_userdata(Headers { tag: Headers::TAG, context, map }, 0);
    get_registry(lua, METATABLE);
    lua.set_metatable(-2);
}

fn map(lua: &Lua) -> Result<Map, Raise> {
    let headers =
        lua.tagged::<Headers>(1).ok_or("headers were expected: write `headers:get(…)`, with a colon")?;
    match Run::is_current(headers.context) {
        true => Ok(headers.map),
        false => Err("these headers belong to a request that is over, or to another one".into()),
    }
}

/// A header's name or, if there is none of it, one of the functions.
fn index(lua: &Lua) -> Returns {
    let name = lua.check_bytes(2);
    if matches!(name, b"get" | b"get_all" | b"set" | b"add" | b"remove") {
        lua.copy(2);
        lua.get_raw_top(Lua::upvalue(1));
        return Ok(1);
    }
    get(lua)
}

fn get(lua: &Lua) -> Returns {
    let name = lua.check_bytes(2);
    let map = map(lua)?;
    if name.starts_with(b":") {
        lua.push_nil();
    } else {
        abi::header(map, name, |value| lua.push_option(value));
    }
    Ok(1)
}

fn get_all(lua: &Lua) -> Returns {
    let name = lua.check_bytes(2);
    let map = map(lua)?;
    lua.push_table(0, 0);
    // Copies into Lua; if one throws, nothing here is to be dropped.
    let _ = abi::headers(map, |bytes| {
        let values = pairs::decode(bytes).filter(|(found, _)| found.eq_ignore_ascii_case(name));
        for (n, (_, value)) in (1..).zip(values) {
            lua.push(value);
            lua.set_index(-2, n);
        }
    });
    Ok(1)
}

fn set(lua: &Lua) -> Returns {
    if lua.is_absent(3) {
        return remove(lua);
    }
    let (name, value) = (lua.check_bytes(2), lua.check_bytes(3));
    abi::set_header(named(lua, name)?, name, value).map_err(refused)?;
    Ok(0)
}

fn add(lua: &Lua) -> Returns {
    let (name, value) = (lua.check_bytes(2), lua.check_bytes(3));
    abi::add_header(named(lua, name)?, name, value).map_err(refused)?;
    Ok(0)
}

fn remove(lua: &Lua) -> Returns {
    let name = lua.check_bytes(2);
    abi::remove_header(named(lua, name)?, name).map_err(refused)?;
    Ok(0)
}

/// The map, for writing under this name.
fn named(lua: &Lua, name: &[u8]) -> Result<Map, Raise> {
    let map = map(lua)?;
    let is_token = !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte));
    match is_token {
        true => Ok(map),
        false => Err(Raise(format!("`{}` is not the name of a header", String::from_utf8_lossy(name)))),
    }
}

fn refused(status: Status) -> Raise {
    Raise(format!("the header was not changed: {status}"))
}

/// `__pairs`: a function over a list of what is there now.
fn pairs(lua: &Lua) -> Returns {
    let map = map(lua)?;
    lua.push_table(0, 0);
    let _ = abi::headers(map, |bytes| {
        let all = pairs::decode(bytes).filter(|(name, _)| !name.starts_with(b":"));
        for (n, (name, value)) in (0..).zip(all) {
            lua.push(name);
            lua.set_index(-2, 2 * n + 1);
            lua.push(value);
            lua.set_index(-2, 2 * n + 2);
        }
    });
    lua.push_integer(1);
    lua.push_closure(wrap(next), 2);
    Ok(1)
}

fn next(lua: &Lua) -> Returns {
    let at = lua.integer(Lua::upvalue(2)).unwrap_or_default();
    if lua.get_index(Lua::upvalue(1), at) == ffi::NIL {
        return Ok(1);
    }
    lua.get_index(Lua::upvalue(1), at + 1);
    lua.push_integer(at + 2);
    lua.replace(Lua::upvalue(2));
    Ok(2)
}
