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
use crate::abi::{self, Status};
use crate::lua::{Lua, Raise, Returns, ffi, wrap};
use crate::stored::{self, Stored};

const FUNCTIONS: &str = "tollgate.shared";
/// Bytes of a key of the host's.
const KEY_MAX: usize = 1024;
/// The gateway's own functions (`gateway/proxy-wasm/src/host/foreign`).
const DELETE: &str = "tollgate_shared_data_delete";
const SET_TTL: &str = "tollgate_shared_data_set_ttl";
const INCREMENT: &str = "tollgate_shared_data_increment";
/// A version that no value has: with it only a key that is not there can be written.
const ABSENT: u32 = u32::MAX;

/// A key of the host's, on the stack: nothing to drop.
struct Key {
    bytes: [u8; KEY_MAX],
    len: usize,
}

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

impl Key {
    /// The first argument, below its space: kind, space's name, NUL, key.
    fn read(lua: &Lua) -> Result<Self, Raise> {
        let key = lua.check_bytes(1);
        let kind = lua.bytes(Lua::upvalue(1)).unwrap_or_default();
        let space = lua.bytes(Lua::upvalue(2)).unwrap_or_default();
        let mut bytes = [0; KEY_MAX];
        let mut len = 0;
        for part in [kind, space, b"\0", key] {
            let place = bytes.get_mut(len..len + part.len());
            let place = place.ok_or_else(|| {
                Raise(format!("a key has at most {KEY_MAX} bytes, its space's name included"))
            })?;
            place.copy_from_slice(part);
            len += part.len();
        }
        Ok(Self { bytes, len })
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn get(lua: &Lua) -> Returns {
    let key = Key::read(lua)?;
    // A copy into Lua; if that throws, nothing here is to be dropped.
    if abi::shared(key.bytes(), |bytes, _| push(lua, &stored::decode(bytes))).is_err() {
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
    let seconds = lua.check_number(index);
    // Beyond a thousand years there is no difference to for ever.
    if !(seconds > 0.0 && seconds < 3.2e10) {
        return Err("a time to live is a positive number of seconds".into());
    }
    Ok((seconds * 1000.0).ceil() as u64)
}

fn refused(status: Status) -> Raise {
    Raise(format!("the value was not stored: {status}"))
}

fn set(lua: &Lua) -> Returns {
    if lua.is_absent(2) {
        return delete(lua);
    }
    let key = Key::read(lua)?;
    let (milliseconds, value) = (lifetime(lua, 3)?, value(lua, 2)?);
    write(&key, &value, milliseconds, 0).map_err(refused)?;
    Ok(0)
}

/// True if it was stored, false if there is a value already.
fn add(lua: &Lua) -> Returns {
    let key = Key::read(lua)?;
    let (milliseconds, value) = (lifetime(lua, 3)?, value(lua, 2)?);
    match write(&key, &value, milliseconds, ABSENT) {
        Ok(()) => lua.push_boolean(true),
        Err(Status::CAS_MISMATCH) => lua.push_boolean(false),
        Err(status) => return Err(refused(status)),
    }
    Ok(1)
}

fn write(key: &Key, value: &Stored<'_>, milliseconds: u64, version: u32) -> Result<(), Status> {
    abi::set_shared(key.bytes(), &stored::encode(value), version)?;
    if milliseconds > 0 {
        // It fails if another worker has deleted the key meanwhile: then there is nothing to end.
        let _ = with_numbers([milliseconds], key, |argument| abi::foreign(SET_TTL, argument, |_| ()));
    }
    Ok(())
}

/// Adds a whole number and returns what it became.
fn incr(lua: &Lua) -> Returns {
    let key = Key::read(lua)?;
    let by = if lua.is_absent(2) { 1 } else { lua.check_integer(2) };
    let milliseconds = lifetime(lua, 3)?;
    let sum = with_numbers([by.cast_unsigned(), milliseconds], &key, |argument| {
        abi::foreign(INCREMENT, argument, |sum| sum.try_into().map_or(0, i64::from_le_bytes))
    });
    match sum {
        Ok(sum) => lua.push_integer(sum),
        Err(Status::BAD_ARGUMENT) => return Err("`incr` counts in whole numbers, and this is none".into()),
        Err(status) => return Err(refused(status)),
    }
    Ok(1)
}

/// Calls `f` with numbers and the key behind them, as the gateway's functions take them.
fn with_numbers<const N: usize, R>(numbers: [u64; N], key: &Key, f: impl FnOnce(&[u8]) -> R) -> R {
    let mut bytes = [0; KEY_MAX + 16];
    let (places, rest) = bytes.split_at_mut(8 * N);
    for (place, number) in places.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    rest[..key.len].copy_from_slice(key.bytes());
    f(&bytes[..8 * N + key.len])
}

fn delete(lua: &Lua) -> Returns {
    let key = Key::read(lua)?;
    // A key that is not there is as good as deleted.
    let _ = abi::foreign(DELETE, key.bytes(), |_| ());
    Ok(0)
}
