//! What scripts see, one file a part. `README.md` documents it for them.
//!
//! Order: Lua's own libraries, less what reaches outside or makes code of bytes that were not checked
//! ([`sandbox`]); then ours. Each `open` leaves the stack as it found it.

mod codec;
pub(crate) mod exchange;
mod hash;
mod headers;
pub(crate) mod http;
mod ip;
mod json;
mod log;
mod metadata;
mod metrics;
mod options;
mod regex;
mod sandbox;
mod shared;
mod time;

use crate::lua::Lua;
use crate::settings::Settings;

pub(crate) use options::take as take_options;

/// Gives the state of a new script what it may use. Throws if there is no memory for it.
pub(crate) fn open(lua: &Lua, filter: &[u8], settings: &Settings) {
    sandbox::open(lua, settings);
    log::open(lua);
    options::open(lua);
    json::open(lua, &settings.config);
    codec::open(lua);
    hash::open(lua);
    regex::open(lua);
    ip::open(lua);
    time::open(lua);
    shared::open(lua, filter);
    metrics::open(lua);
    metadata::open(lua);
    headers::open(lua);
    exchange::open(lua);
    http::open(lua);
    lua.set_top(0);
}

/// A value as `tostring` shows it.
pub(crate) fn shown(lua: &Lua, index: i32) -> String {
    let text = String::from_utf8_lossy(lua.push_shown(index)).into_owned();
    lua.pop(1);
    text
}

/// Sets the table or function on top as a global.
fn set_global(lua: &Lua, name: &str) {
    lua.push_globals();
    lua.insert(-2);
    lua.set_raw(-2, name);
    lua.pop(1);
}

/// The name of a metatable or of functions in the registry, as a key that no script has.
fn set_registry(lua: &Lua, name: &str) {
    lua.set_raw(crate::lua::ffi::REGISTRY, name);
}

fn get_registry(lua: &Lua, name: &str) {
    lua.get_raw(crate::lua::ffi::REGISTRY, name);
}
