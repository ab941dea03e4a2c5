//! `json.encode(value)`, `json.decode(text)`, `json.null`, `json.empty_array`, and the global `config`.
//!
//! A table is an array if its keys are 1 to n with n > 0, else an object with its keys as text; the order
//! of an object's keys is Lua's. A table that came from an empty array and is still empty goes back to one.
//! `null` in a text becomes `json.null` in arrays and objects alike, so that no element goes missing. Whole
//! numbers stay whole.

use serde_json::Value;

use super::set_global;
use crate::json_text::Writer;
use crate::lua::{Lua, Raise, Returns, ffi, functions};

/// Tables within tables.
const DEPTH_MAX: usize = 64;

/// Addresses that stand for values which Lua has not.
static NULL: u8 = 0;
static EMPTY_ARRAY: u8 = 1;
/// Where the registry keeps the metatable of tables that came from empty arrays.
static ARRAY: u8 = 2;

pub(super) fn open(lua: &Lua, config: &Value) {
    lua.push_table(0, 4);
    functions!(lua, "encode" => encode, "decode" => decode);
    push_null(lua);
    lua.set_raw(-2, "null");
    lua.push_light((&raw const EMPTY_ARRAY).cast());
    lua.set_raw(-2, "empty_array");
    set_global(lua, "json");
    lua.push_table(0, 0);
    lua.set_registry_at((&raw const ARRAY).cast());
    match config {
        Value::Null => lua.push_table(0, 0),
        config => push_value(lua, config),
    }
    set_global(lua, "config");
}

fn push_null(lua: &Lua) {
    lua.push_light((&raw const NULL).cast());
}

fn encode(lua: &Lua) -> Returns {
    lua.check_any(1);
    lua.set_top(1);
    let mut writer = Writer::default();
    write(lua, 1, &mut writer, 0)?;
    lua.push_owned(writer.finish());
    Ok(1)
}

/// Reads tables raw: nothing here throws.
fn write(lua: &Lua, index: i32, out: &mut Writer, depth: usize) -> Result<(), Raise> {
    match lua.type_of(index) {
        ffi::NIL => out.raw(b"null")?,
        ffi::BOOLEAN => out.raw(if lua.boolean(index) { b"true" } else { b"false" })?,
        ffi::STRING => out.string(lua.bytes(index).unwrap_or_default())?,
        ffi::NUMBER => write_number(lua, index, out)?,
        ffi::LIGHT_USERDATA => {
            let is_array = lua.light(index) == Some((&raw const EMPTY_ARRAY).cast_mut().cast());
            out.raw(if is_array { b"[]" } else { b"null" })?;
        }
        ffi::TABLE if depth >= DEPTH_MAX => {
            return Err(Raise(format!("more than {DEPTH_MAX} tables within each other")));
        }
        ffi::TABLE if !lua.has_room(4) => return Err("not enough memory".into()),
        ffi::TABLE => match array_length(lua, index) {
            Some(length) => write_array(lua, index, length, out, depth)?,
            None if was_empty_array(lua, index) => out.raw(b"[]")?,
            None => write_object(lua, index, out, depth)?,
        },
        _ => return Err("JSON has no functions, threads and userdata".into()),
    }
    Ok(())
}

fn write_number(lua: &Lua, index: i32, out: &mut Writer) -> Result<(), Raise> {
    if lua.is_integer(index) {
        return Ok(out.integer(lua.integer(index).unwrap_or_default())?);
    }
    match lua.number(index).filter(|number| number.is_finite()) {
        Some(number) => Ok(out.number(number)?),
        None => Err("JSON has no infinity and no NaN".into()),
    }
}

/// n, if the keys are 1 to n and n > 0.
fn array_length(lua: &Lua, index: i32) -> Option<i64> {
    let length = i64::try_from(lua.length(index)).ok().filter(|length| *length > 0)?;
    let index = lua.absolute(index);
    let mut count = 0;
    lua.push_nil();
    while lua.next(index) {
        lua.pop(1);
        count += 1;
        let is_index = lua.is_integer(-1) && lua.integer(-1).is_some_and(|key| (1..=length).contains(&key));
        if !is_index {
            lua.pop(1);
            return None;
        }
    }
    (count == length).then_some(length)
}

/// Whether a table came from an empty array and is still empty.
fn was_empty_array(lua: &Lua, index: i32) -> bool {
    let index = lua.absolute(index);
    if !lua.has_metatable_at(index, (&raw const ARRAY).cast()) {
        return false;
    }
    lua.push_nil();
    let is_empty = !lua.next(index);
    if !is_empty {
        lua.pop(2);
    }
    is_empty
}

fn write_array(lua: &Lua, index: i32, length: i64, out: &mut Writer, depth: usize) -> Result<(), Raise> {
    let index = lua.absolute(index);
    out.raw(b"[")?;
    for n in 1..=length {
        if n > 1 {
            out.raw(b",")?;
        }
        lua.get_index(index, n);
        write(lua, -1, out, depth + 1)?;
        lua.pop(1);
    }
    Ok(out.raw(b"]")?)
}

fn write_object(lua: &Lua, index: i32, out: &mut Writer, depth: usize) -> Result<(), Raise> {
    let index = lua.absolute(index);
    out.raw(b"{")?;
    let mut is_first = true;
    lua.push_nil();
    while lua.next(index) {
        if !std::mem::take(&mut is_first) {
            out.raw(b",")?;
        }
        match lua.type_of(-2) {
            ffi::STRING => out.string(lua.bytes(-2).unwrap_or_default())?,
            ffi::NUMBER => {
                out.raw(b"\"")?;
                write_number(lua, -2, out)?;
                out.raw(b"\"")?;
            }
            _ => return Err("the keys of a JSON object are text".into()),
        }
        out.raw(b":")?;
        write(lua, -1, out, depth + 1)?;
        lua.pop(1);
    }
    Ok(out.raw(b"}")?)
}

/// The value, or nil and what is wrong with the text.
fn decode(lua: &Lua) -> Returns {
    let value: Result<Value, String> =
        serde_json::from_slice(lua.check_bytes(1)).map_err(|error| error.to_string());
    match value {
        Ok(value) => {
            let pushed = lua.protect(&mut |lua| push_value(lua, &value));
            drop(value);
            if !pushed {
                return Ok(lua.throw_top());
            }
            Ok(1)
        }
        Err(error) => {
            lua.push_nil();
            lua.push_owned(error);
            Ok(2)
        }
    }
}

/// The depth of a text is limited by its reader. Throws if there is no memory.
fn push_value(lua: &Lua, value: &Value) {
    if !lua.has_room(3) {
        lua.push(b"not enough memory");
        lua.throw_top();
    }
    match value {
        Value::Null => push_null(lua),
        Value::Bool(value) => lua.push_boolean(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => lua.push_integer(integer),
            (None, number) => lua.push_number(number.unwrap_or(f64::NAN)),
        },
        Value::String(text) => lua.push(text.as_bytes()),
        Value::Array(values) => {
            lua.push_table(room(values.len()), 0);
            for (n, value) in (1..).zip(values) {
                push_value(lua, value);
                lua.set_index(-2, n);
            }
            if values.is_empty() {
                lua.push_registry_at((&raw const ARRAY).cast());
                lua.set_metatable(-2);
            }
        }
        Value::Object(members) => {
            lua.push_table(0, room(members.len()));
            for (name, value) in members {
                push_value(lua, value);
                lua.set_raw(-2, name);
            }
        }
    }
}

fn room(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
