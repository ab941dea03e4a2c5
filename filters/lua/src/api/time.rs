//! `time.now()` in seconds since 1970, with fractions; `time.utc([seconds])` taken apart;
//! `time.text([seconds])` as `2026-11-21T07:00:00Z`.

use super::set_global;
use crate::abi;
use crate::calendar::Moment;
use crate::lua::{Lua, Returns, functions};

pub(super) fn open(lua: &Lua) {
    lua.push_table(0, 3);
    functions!(lua, "now" => now, "utc" => utc, "text" => text);
    set_global(lua, "time");
}

fn now(lua: &Lua) -> Returns {
    lua.push_number(abi::now() as f64 / 1e9);
    Ok(1)
}

fn utc(lua: &Lua) -> Returns {
    let moment = moment(lua)?;
    lua.push_table(0, 7);
    let parts = [
        ("year", moment.year),
        ("month", moment.month),
        ("day", moment.day),
        ("hour", moment.hour),
        ("minute", moment.minute),
        ("second", moment.second),
        ("weekday", moment.weekday),
    ];
    for (name, value) in parts {
        lua.push_integer(value);
        lua.set_raw(-2, name);
    }
    Ok(1)
}

fn text(lua: &Lua) -> Returns {
    let text = moment(lua)?.text();
    lua.push_owned(text);
    Ok(1)
}

fn moment(lua: &Lua) -> Result<Moment, &'static str> {
    let seconds = match lua.is_absent(1) {
        true => (abi::now() / 1_000_000_000) as i64,
        false => lua.check_number(1).floor() as i64,
    };
    Moment::at(seconds).ok_or("a time lies in the years 1 to 9999")
}
