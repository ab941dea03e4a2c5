//! `options{request_body = "buffer", response_body = "buffer", tick = 5}`: how the script wants to be
//! called. While it loads only; afterwards it is too late, and an error.

use std::cell::Cell;

use super::set_global;
use crate::lua::{Lua, Returns, wrap};
use crate::script::{BodyMode, Options};
use crate::world::Run;

/// Seconds between ticks.
const TICK: std::ops::RangeInclusive<f64> = 0.01..=86_400.0;

thread_local! {
    /// Of the script that is being loaded: one at a time.
    static GIVEN: Cell<Options> = const { Cell::new(Options::DEFAULT) };
}

pub(super) fn open(lua: &Lua) {
    GIVEN.set(Options::DEFAULT);
    lua.push_function(wrap(options));
    set_global(lua, "options");
}

/// What the script that was loaded last has given.
pub(crate) fn take() -> Options {
    GIVEN.replace(Options::DEFAULT)
}

fn options(lua: &Lua) -> Returns {
    lua.check_table(1);
    if Run::in_handler() {
        return Err("options are given while the script loads, not in a handler".into());
    }
    let mut given = GIVEN.get();
    lua.push_nil();
    while lua.next(1) {
        match lua.bytes(-2) {
            Some(b"request_body") => given.request_body = body_mode(lua)?,
            Some(b"response_body") => given.response_body = body_mode(lua)?,
            Some(b"tick") => {
                let seconds = lua.number(-1).filter(|seconds| TICK.contains(seconds));
                let seconds = seconds.ok_or("`tick` is a number of seconds, 0.01 to 86400")?;
                given.tick = (seconds * 1000.0) as u32;
            }
            _ => return Err("options are `request_body`, `response_body` and `tick`".into()),
        }
        lua.pop(1);
    }
    GIVEN.set(given);
    Ok(0)
}

fn body_mode(lua: &Lua) -> Result<BodyMode, &'static str> {
    match lua.bytes(-1) {
        Some(b"stream") => Ok(BodyMode::Stream),
        Some(b"buffer") => Ok(BodyMode::Buffer),
        _ => Err("a body is taken as \"stream\" or as \"buffer\""),
    }
}
