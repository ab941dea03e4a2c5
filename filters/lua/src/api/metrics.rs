//! `counter(name)` with `:add([n])`, `gauge(name)` with `:set(n)`, `:add([n])` and `:get()`,
//! `histogram(name)` with `:record(n)`. Made while the script loads or later; the same name is the same
//! metric, in all scripts and on all workers. Values are whole numbers.

use super::{get_registry, set_global, set_registry};
use crate::abi::{self, Metric, Status};
use crate::lua::{Lua, Raise, Returns, Tagged, functions, wrap};

const METATABLE: &str = "tollgate.metric";

#[repr(C)]
struct Handle {
    tag: u32,
    id: u32,
    kind: u32,
}

#[allow(unsafe_code)]
// SAFETY: `repr(C)`, its tag first, and no other type has this one.
unsafe impl Tagged for Handle {
    const TAG: u32 = 0x6e7a_0c22;
}

pub(super) fn open(lua: &Lua) {
    lua.push_table(0, 2);
    lua.push_table(0, 4);
    functions!(lua, "add" => add, "set" => set, "get" => get, "record" => record);
    lua.set_raw(-2, "__index");
    lua.push_boolean(false);
    lua.set_raw(-2, "__metatable");
    set_registry(lua, METATABLE);
    lua.push_function(wrap(counter));
    set_global(lua, "counter");
    lua.push_function(wrap(gauge));
    set_global(lua, "gauge");
    lua.push_function(wrap(histogram));
    set_global(lua, "histogram");
}

fn counter(lua: &Lua) -> Returns {
    define(lua, Metric::Counter)
}

fn gauge(lua: &Lua) -> Returns {
    define(lua, Metric::Gauge)
}

fn histogram(lua: &Lua) -> Returns {
    define(lua, Metric::Histogram)
}

fn define(lua: &Lua, kind: Metric) -> Returns {
    let id = abi::define_metric(kind, lua.check_bytes(1)).map_err(refused)?;
    lua.push_userdata(Handle { tag: Handle::TAG, id, kind: kind as u32 }, 0);
    get_registry(lua, METATABLE);
    lua.set_metatable(-2);
    Ok(1)
}

fn refused(status: Status) -> Raise {
    Raise(format!("the gateway does not take this metric: {status}"))
}

fn handle(lua: &Lua, kinds: &[Metric]) -> Result<u32, Raise> {
    let handle =
        lua.tagged::<Handle>(1).ok_or("a metric was expected: write `metric:add()`, with a colon")?;
    if kinds.iter().any(|kind| *kind as u32 == handle.kind) {
        Ok(handle.id)
    } else {
        Err("a metric of this kind cannot do that".into())
    }
}

fn add(lua: &Lua) -> Returns {
    let by = if lua.is_absent(2) { 1 } else { lua.check_integer(2) };
    abi::increment_metric(handle(lua, &[Metric::Counter, Metric::Gauge])?, by).map_err(refused)?;
    Ok(0)
}

fn set(lua: &Lua) -> Returns {
    let value = lua.check_integer(2);
    abi::record_metric(handle(lua, &[Metric::Gauge])?, value as u64).map_err(refused)?;
    Ok(0)
}

fn record(lua: &Lua) -> Returns {
    let value = u64::try_from(lua.check_integer(2)).map_err(|_| "a histogram takes what is not negative")?;
    abi::record_metric(handle(lua, &[Metric::Histogram])?, value).map_err(refused)?;
    Ok(0)
}

fn get(lua: &Lua) -> Returns {
    let value = abi::metric(handle(lua, &[Metric::Counter, Metric::Gauge])?).map_err(refused)?;
    lua.push_integer(value as i64);
    Ok(1)
}
