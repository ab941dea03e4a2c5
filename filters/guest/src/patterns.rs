//! Regular expressions in the syntax of Rust's `regex`, whose matching takes time linear in the text whatever
//! the pattern. The last [`KEPT`] patterns stay compiled, whichever script uses them.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use regex_lite::{Regex, RegexBuilder};

/// A compiled pattern.
pub use regex_lite::Regex as Compiled;

/// Patterns that stay compiled.
pub const KEPT: usize = 256;
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

/// A pattern, compiled now or before.
///
/// # Errors
/// In words, if it is no pattern, or too long.
pub fn compiled(pattern: &[u8]) -> Result<Rc<Regex>, String> {
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

fn compile(pattern: &[u8]) -> Result<Regex, String> {
    if pattern.len() > PATTERN_MAX {
        return Err(format!("a pattern has at most {PATTERN_MAX} bytes"));
    }
    let pattern = std::str::from_utf8(pattern).map_err(|_| "the pattern is not UTF-8")?;
    let compiled = RegexBuilder::new(pattern).size_limit(COMPILED_MAX).build();
    compiled.map_err(|error| format!("not a regular expression: {error}"))
}

/// `text` with all matches replaced; `$1` and `${name}` stand for groups, `$$` for `$`.
///
/// # Errors
/// In words, if it would be too long.
pub fn replace(regex: &Regex, text: &str, by: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut end = 0;
    for captures in regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        out.push_str(&text[end..whole.start()]);
        captures.expand(by, &mut out);
        end = whole.end();
        if out.len() > TEXT_MAX {
            return Err(format!("the text would be longer than {TEXT_MAX} bytes"));
        }
    }
    out.push_str(&text[end..]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_are_replaced_and_patterns_kept() {
        let regex = compiled(br"(\d+)").unwrap();
        assert_eq!(replace(&regex, "a1b22", "<$1>").unwrap(), "a<1>b<22>");
        assert!(Rc::ptr_eq(&regex, &compiled(br"(\d+)").unwrap()));
        assert!(compiled(b"(").unwrap_err().starts_with("not a regular expression"));
    }
}
