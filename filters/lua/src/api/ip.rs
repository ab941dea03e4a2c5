//! `ip.matches(address, range)`, `ip.set{range, …}` with `set:contains(address)`, `ip.is_valid(text)`.
//!
//! A range is `10.0.0.0/8`, `2001:db8::/32` or a single address. An address that is none is in no range.

use super::{get_registry, set_global, set_registry};
use crate::lua::{Lua, Raise, Returns, Tagged, functions};
use crate::ranges::{self, RANGES_MAX, Ranges};

const METATABLE: &str = "tollgate.ip_set";

/// A set, behind a userdata. Dropped by its finaliser, which leaves an empty one.
#[repr(C)]
struct Set {
    tag: u32,
    ranges: std::cell::RefCell<Ranges>,
}

#[allow(unsafe_code)]
// SAFETY: `repr(C)`, its tag first, and no other type has this one.
unsafe impl Tagged for Set {
    const TAG: u32 = 0x5e7_1a11;
}

pub(super) fn open(lua: &Lua) {
    lua.push_table(0, 3);
    functions!(lua, "matches" => matches, "set" => set, "is_valid" => is_valid);
    set_global(lua, "ip");
    lua.push_table(0, 3);
    functions!(lua, "__gc" => forget);
    lua.push_table(0, 1);
    functions!(lua, "contains" => contains);
    lua.set_raw(-2, "__index");
    lua.push_boolean(false);
    lua.set_raw(-2, "__metatable");
    set_registry(lua, METATABLE);
}

fn is_valid(lua: &Lua) -> Returns {
    let is_valid = ranges::parse_address(lua.check_bytes(1)).is_some();
    lua.push_boolean(is_valid);
    Ok(1)
}

fn matches(lua: &Lua) -> Returns {
    let (address, range) = (lua.check_bytes(1), lua.check_bytes(2));
    let range = ranges::parse(range).ok_or_else(|| not_a_range(range))?;
    let is_match =
        ranges::parse_address(address).is_some_and(|address| Ranges::new([range]).contains(address));
    lua.push_boolean(is_match);
    Ok(1)
}

fn set(lua: &Lua) -> Returns {
    lua.check_table(1);
    let count = i64::try_from(lua.length(1)).unwrap_or(i64::MAX);
    if count > RANGES_MAX as i64 {
        return Err(Raise(format!("a set has at most {RANGES_MAX} ranges")));
    }
    // The userdata first: pushing it may throw, what follows does not.
    lua.push_userdata(Set { tag: Set::TAG, ranges: std::cell::RefCell::default() }, 0);
    get_registry(lua, METATABLE);
    lua.set_metatable(-2);
    let mut nets = Vec::new();
    for n in 1..=count {
        lua.get_index(1, n);
        let range = lua.bytes(-1).unwrap_or_default();
        nets.push(ranges::parse(range).ok_or_else(|| not_a_range(range))?);
        lua.pop(1);
    }
    if let Some(set) = lua.tagged::<Set>(-1) {
        set.ranges.replace(Ranges::new(nets));
    }
    Ok(1)
}

fn contains(lua: &Lua) -> Returns {
    let address = lua.check_bytes(2);
    let set = lua.tagged::<Set>(1).ok_or("a set of address ranges was expected")?;
    let contains =
        ranges::parse_address(address).is_some_and(|address| set.ranges.borrow().contains(address));
    lua.push_boolean(contains);
    Ok(1)
}

fn forget(lua: &Lua) -> Returns {
    if let Some(set) = lua.tagged::<Set>(1) {
        set.ranges.take();
    }
    Ok(0)
}

fn not_a_range(range: &[u8]) -> Raise {
    Raise(format!("`{}` is not a range of addresses, such as `10.0.0.0/8`", String::from_utf8_lossy(range)))
}
