//! `metadata[path]`: what the filters of a chain tell each other about an exchange, and `property(path)`:
//! what the gateway knows about it. A path's segments are separated by dots. Values are bytes; numbers
//! and booleans are written as text.

use super::{set_global, shown};
use crate::abi;
use crate::lua::{Lua, Raise, Returns, functions, wrap};
use crate::world::Run;

/// Bytes of a path.
const PATH_MAX: usize = 512;
/// Where only the gateway writes: a write there would end the exchange.
const READ_ONLY: [&[u8]; 8] =
    [b"connection", b"source", b"destination", b"request", b"response", b"upstream", b"xds", b"route_name"];

/// A path for the host, on the stack: nothing to drop.
struct Path {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl Path {
    fn new(text: &[u8]) -> Result<Self, Raise> {
        if text.len() > PATH_MAX {
            return Err(Raise(format!("a path has at most {PATH_MAX} bytes")));
        }
        let mut bytes = [0; PATH_MAX];
        for (place, byte) in bytes.iter_mut().zip(text) {
            *place = if *byte == b'.' { 0 } else { *byte };
        }
        Ok(Self { bytes, len: text.len() })
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

pub(super) fn open(lua: &Lua) {
    lua.push_table(0, 0);
    lua.push_table(0, 3);
    functions!(lua, "__index" => index, "__newindex" => new_index);
    lua.push_boolean(false);
    lua.set_raw(-2, "__metatable");
    lua.set_metatable(-2);
    set_global(lua, "metadata");
    lua.push_function(wrap(property));
    set_global(lua, "property");
}

/// The table itself comes first.
fn index(lua: &Lua) -> Returns {
    read(lua, 2)
}

fn property(lua: &Lua) -> Returns {
    read(lua, 1)
}

fn read(lua: &Lua, argument: i32) -> Returns {
    let path = Path::new(lua.check_bytes(argument))?;
    if abi::property(path.bytes(), |value| lua.push(value)).is_err() {
        lua.push_nil();
    }
    Ok(1)
}

fn new_index(lua: &Lua) -> Returns {
    let path = Path::new(lua.check_bytes(2))?;
    if !Run::in_exchange() {
        return Err("there is no exchange whose metadata could be set".into());
    }
    if path.bytes().split(|byte| *byte == 0).next().is_some_and(|root| READ_ONLY.contains(&root)) {
        return Err("this property belongs to the gateway; choose another name".into());
    }
    if lua.is_absent(3) {
        return Err("metadata cannot be removed; set it to an empty string".into());
    }
    let value = shown(lua, 3);
    abi::set_property(path.bytes(), value.as_bytes())
        .map_err(|status| Raise(format!("the metadata was not set: {status}")))?;
    Ok(0)
}
