//! `regex.test(text, pattern)`, `regex.match(text, pattern)`, `regex.find(text, pattern)`,
//! `regex.gsub(text, pattern, replacement)`: regular expressions in the syntax of Rust's `regex`, whose
//! matching takes time linear in the text whatever the pattern. Bytes that are not UTF-8 are replaced
//! before they are looked at. The last [`KEPT`] patterns stay compiled, whichever script uses them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use regex_lite::{Captures, Regex, RegexBuilder};

use super::set_global;
use crate::lua::{Lua, Raise, Returns, functions};

/// Patterns that stay compiled.
const KEPT: usize = 256;
/// Bytes of a pattern, and of a compiled one.
const PATTERN_MAX: usize = 4 << 10;
const COMPILED_MAX: usize = 256 << 10;
/// Bytes of a text after replacing.
const TEXT_MAX: usize = 8 << 20;

thread_local! {
    static PATTERNS: RefCell<Patterns> = RefCell::default();
}

#[derive(Default)]
struct Patterns {
    compiled: HashMap<Box<[u8]>, Rc<Regex>>,
    /// The oldest first.
    order: VecDeque<Box<[u8]>>,
}

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
    let mut out = String::new();
    let mut end = 0;
    for captures in regex.captures_iter(&text) {
        let Some(whole) = captures.get(0) else { continue };
        out.push_str(&text[end..whole.start()]);
        captures.expand(&by, &mut out);
        end = whole.end();
        if out.len() > TEXT_MAX {
            return Err(Raise(format!("the text would be longer than {TEXT_MAX} bytes")));
        }
    }
    out.push_str(&text[end..]);
    drop((regex, text, by));
    lua.push_owned(out);
    Ok(1)
}

fn readable(text: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(text)
}

fn compiled(pattern: &[u8]) -> Result<Rc<Regex>, Raise> {
    PATTERNS.with_borrow_mut(|patterns| {
        if let Some(regex) = patterns.compiled.get(pattern) {
            return Ok(Rc::clone(regex));
        }
        let regex = Rc::new(compile(pattern)?);
        if patterns.order.len() >= KEPT
            && let Some(oldest) = patterns.order.pop_front()
        {
            patterns.compiled.remove(&oldest);
        }
        patterns.order.push_back(pattern.into());
        patterns.compiled.insert(pattern.into(), Rc::clone(&regex));
        Ok(regex)
    })
}

fn compile(pattern: &[u8]) -> Result<Regex, Raise> {
    if pattern.len() > PATTERN_MAX {
        return Err(Raise(format!("a pattern has at most {PATTERN_MAX} bytes")));
    }
    let pattern = std::str::from_utf8(pattern).map_err(|_| "the pattern is not UTF-8")?;
    let compiled = RegexBuilder::new(pattern).size_limit(COMPILED_MAX).build();
    compiled.map_err(|error| Raise(format!("not a regular expression: {error}")))
}
