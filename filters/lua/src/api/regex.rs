//! `regex.test(text, pattern)`, `regex.match(text, pattern)`, `regex.find(text, pattern)`,
//! `regex.gsub(text, pattern, replacement)`: regular expressions in the syntax of Rust's `regex`, whose
//! matching takes time linear in the text whatever the pattern. Bytes that are not UTF-8 are replaced
//! before they are looked at.

use std::borrow::Cow;
use std::rc::Rc;

use regex_lite::{Captures, Regex};
use tollgate_guest::patterns;

use super::set_global;
use crate::lua::{Lua, Raise, Returns, functions};

pub(super) fn open(lua: &Lua) {
    lua.push_table(0, 4);
    functions!(lua, "test" => test, "match" => captures, "find" => find, "gsub" => gsub);
    set_global(lua, "regex");
}

fn test(lua: &Lua) -> Returns {
    let (text, pattern) = (lua.check_bytes(1), lua.check_bytes(2));
    let is_match = compiled(pattern)?.is_match(&readable(text));
    lua.push_boolean(is_match);
    Ok(1)
}

/// A table with the whole match at 0, groups by number and by name; nil if there is no match.
fn captures(lua: &Lua) -> Returns {
    let (text, pattern) = (lua.check_bytes(1), lua.check_bytes(2));
    let regex = compiled(pattern)?;
    let text = readable(text);
    let captures = regex.captures(&text);
    let pushed = match &captures {
        Some(captures) => lua.protect(&mut |lua| push_captures(lua, &regex, captures)),
        None => {
            lua.push_nil();
            true
        }
    };
    drop(captures);
    drop((regex, text));
    if !pushed {
        return Ok(lua.throw_top());
    }
    Ok(1)
}

fn push_captures(lua: &Lua, regex: &Regex, captures: &Captures<'_>) {
    lua.push_table(0, 0);
    for (n, (group, name)) in (0..).zip(captures.iter().zip(regex.capture_names())) {
        let Some(group) = group else { continue };
        lua.push(group.as_str().as_bytes());
        lua.set_index(-2, n);
        if let Some(name) = name {
            lua.push(group.as_str().as_bytes());
            lua.set_raw(-2, name);
        }
    }
}

/// The first and the last position of the match, as `string.find` gives them.
fn find(lua: &Lua) -> Returns {
    let (text, pattern) = (lua.check_bytes(1), lua.check_bytes(2));
    let found = compiled(pattern)?.find(&readable(text)).map(|found| (found.start(), found.end()));
    match found {
        Some((start, end)) => {
            lua.push_integer(start as i64 + 1);
            lua.push_integer(end as i64);
            Ok(2)
        }
        None => {
            lua.push_nil();
            Ok(1)
        }
    }
}

/// All matches replaced; `$1` and `${name}` stand for groups, `$$` for `$`.
fn gsub(lua: &Lua) -> Returns {
    let (text, pattern, by) = (lua.check_bytes(1), lua.check_bytes(2), lua.check_bytes(3));
    let regex = compiled(pattern)?;
    let text = readable(text);
    let by = String::from_utf8_lossy(by);
    let out = patterns::replace(&regex, &text, &by).map_err(Raise)?;
    drop((regex, text, by));
    lua.push_owned(out);
    Ok(1)
}

fn readable(text: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(text)
}

fn compiled(pattern: &[u8]) -> Result<Rc<Regex>, Raise> {
    patterns::compiled(pattern).map_err(Raise)
}
