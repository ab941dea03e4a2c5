//! `log(…)`, `log.debug(…)`, `log.info(…)`, `log.warn(…)`, `log.error(…)` and `print(…)`: a line of the
//! gateway's log, which knows the filter and the request. Values are joined by a blank.

use super::set_global;
use crate::abi::{self, Level};
use crate::lua::{Lua, Returns, functions, wrap};

/// Bytes of a line; the gateway cuts longer ones as well.
const LINE_MAX: usize = 8 << 10;

pub(super) fn open(lua: &Lua) {
    lua.push_table(0, 4);
    functions!(lua, "debug" => debug, "info" => info, "warn" => warn, "error" => error);
    lua.push_table(0, 1);
    functions!(lua, "__call" => call);
    lua.set_metatable(-2);
    set_global(lua, "log");
    lua.push_function(wrap(info));
    set_global(lua, "print");
}

fn debug(lua: &Lua) -> Returns {
    line(lua, Level::Debug, 1)
}

fn info(lua: &Lua) -> Returns {
    line(lua, Level::Info, 1)
}

fn warn(lua: &Lua) -> Returns {
    line(lua, Level::Warn, 1)
}

fn error(lua: &Lua) -> Returns {
    line(lua, Level::Error, 1)
}

/// The table itself comes first.
fn call(lua: &Lua) -> Returns {
    line(lua, Level::Info, 2)
}

fn line(lua: &Lua, level: Level, first: i32) -> Returns {
    if !abi::wants_log(level) {
        return Ok(0);
    }
    let mut line = [0; LINE_MAX];
    let mut len = 0;
    for index in first..=lua.top() {
        // May throw, from `__tostring`; nothing here is to be dropped.
        let text = lua.push_shown(index);
        let blank: &[u8] = if index > first { b" " } else { b"" };
        for part in [blank, text] {
            let count = part.len().min(LINE_MAX - len);
            line[len..len + count].copy_from_slice(&part[..count]);
            len += count;
        }
        lua.pop(1);
    }
    abi::log(level, &line[..len]);
    Ok(0)
}
