//! Data that all workers share: `shared.get(key)`, `shared.set(key, value [, ttl])`,
//! `shared.add(key, value [, ttl])`, `shared.incr(key [, by [, ttl]])`, `shared.delete(key)`, and
//! `shared.space(name)` with the same functions over data that other scripts see as well.
//!
//! A value is a string, a number or a boolean; `ttl` is in seconds, and without one a value stays. `incr`
//! counts in whole numbers; a key that is not there counts from 0 and lives for `ttl`, another keeps its
//! time. `add` and `incr` are one step for all workers. A script's own data is told apart by its filter's
//! name, so that it outlives a change of the script. The gateway's limits on shared data hold: `set`,
//! `add` and `incr` raise an error when there is no room.

use super::{get_registry, set_global, set_registry};
use crate::abi::Status;
use crate::lua::{Lua, Raise, Returns, ffi, wrap};
use crate::shared_data::{self, KEY_MAX, Key};
use crate::stored::Stored;

const FUNCTIONS: &str = "tollgate.shared";
pub(super) fn open(lua: &Lua, filter: &[u8]) {
    lua.push(filter);
    push_space(lua, b"f");
    set_global(lua, "shared");
    lua.push_function(wrap(space));
    set_registry(lua, FUNCTIONS);
    lua.push_globals();
    lua.get(-1, c"shared");
    get_registry(lua, FUNCTIONS);
    lua.set_raw(-2, "space");
    lua.pop(2);
}

/// Replaces the name on top by a table of functions over its data.
fn push_space(lua: &Lua, kind: &[u8]) {
    let name = lua.top();
    lua.push_table(0, 6);
    let functions: [(&str, ffi::CFunction); 5] = [
        ("get", wrap(get)),
        ("set", wrap(set)),
        ("add", wrap(add)),
        ("incr", wrap(incr)),
        ("delete", wrap(delete)),
    ];
    for (key, function) in functions {
        lua.push(kind);
        lua.copy(name);
        lua.push_closure(function, 2);
        lua.set_raw(-2, key);
    }
    lua.insert(name);
    lua.set_top(name);
}

fn space(lua: &Lua) -> Returns {
    if lua.check_bytes(1).len() > KEY_MAX / 2 {
        return Err(Raise(format!("the name of a space has at most {} bytes", KEY_MAX / 2)));
    }
    lua.set_top(1);
    push_space(lua, b"s");
    Ok(1)
}

/// The first argument, below its space.
fn key(lua: &Lua) -> Result<Key, Raise> {
    let key = lua.check_bytes(1);
    let kind = lua.bytes(Lua::upvalue(1)).unwrap_or_default();
    let space = lua.bytes(Lua::upvalue(2)).unwrap_or_default();
    Key::new(kind, space, key).map_err(|error| Raise(error.to_string()))
}

fn get(lua: &Lua) -> Returns {
    let key = key(lua)?;
    // A copy into Lua; if that throws, nothing here is to be dropped.
    if shared_data::get(&key, |value| push(lua, &value)).is_err() {
        lua.push_nil();
    }
    Ok(1)
}

fn push(lua: &Lua, value: &Stored<'_>) {
    match value {
        Stored::Bytes(bytes) => lua.push(bytes),
        Stored::Integer(value) => lua.push_integer(*value),
        Stored::Number(value) => lua.push_number(*value),
        Stored::Boolean(value) => lua.push_boolean(*value),
    }
}

fn value<'l>(lua: &'l Lua, index: i32) -> Result<Stored<'l>, Raise> {
    match lua.type_of(index) {
        ffi::STRING => Ok(Stored::Bytes(lua.bytes(index).unwrap_or_default())),
        ffi::BOOLEAN => Ok(Stored::Boolean(lua.boolean(index))),
        ffi::NUMBER if lua.is_integer(index) => Ok(Stored::Integer(lua.integer(index).unwrap_or_default())),
        ffi::NUMBER => Ok(Stored::Number(lua.number(index).unwrap_or_default())),
        _ => Err("a shared value is a string, a number or a boolean".into()),
    }
}

/// The time to live at `index` in milliseconds; 0 for ever.
fn lifetime(lua: &Lua, index: i32) -> Result<u64, Raise> {
    if lua.is_absent(index) {
        return Ok(0);
    }
    let milliseconds = shared_data::lifetime(lua.check_number(index));
    milliseconds.ok_or_else(|| "a time to live is a positive number of seconds".into())
}

fn refused(status: Status) -> Raise {
    Raise(format!("the value was not stored: {status}"))
}

fn set(lua: &Lua) -> Returns {
    if lua.is_absent(2) {
        return delete(lua);
    }
    let key = key(lua)?;
    let (milliseconds, value) = (lifetime(lua, 3)?, value(lua, 2)?);
    shared_data::set(&key, &value, milliseconds).map_err(refused)?;
    Ok(0)
}

/// True if it was stored, false if there is a value already.
fn add(lua: &Lua) -> Returns {
    let key = key(lua)?;
    let (milliseconds, value) = (lifetime(lua, 3)?, value(lua, 2)?);
    lua.push_boolean(shared_data::add(&key, &value, milliseconds).map_err(refused)?);
    Ok(1)
}

/// Adds a whole number and returns what it became.
fn incr(lua: &Lua) -> Returns {
    let key = key(lua)?;
    let by = if lua.is_absent(2) { 1 } else { lua.check_integer(2) };
    let milliseconds = lifetime(lua, 3)?;
    match shared_data::increment(&key, by, milliseconds) {
        Ok(sum) => lua.push_integer(sum),
        Err(Status::BAD_ARGUMENT) => return Err("`incr` counts in whole numbers, and this is none".into()),
        Err(status) => return Err(refused(status)),
    }
    Ok(1)
}

fn delete(lua: &Lua) -> Returns {
    shared_data::delete(&key(lua)?);
    Ok(0)
}
