//! Regular expressions and paths.

use std::collections::HashMap;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::super::raw;
use super::super::report::{Problem, quoted};
use super::super::route::PathPattern;
use super::place::Place;

const PATH_MAX: usize = 4 * 1024;
const PATTERN_MAX: usize = 4 * 1024;
/// Bytes of a compiled pattern, and of the states that matching may cache.
const PROGRAM_MAX: usize = 1 << 20;

/// Patterns compiled so far: routes repeat them, and a copy shares its program.
#[derive(Default)]
pub(super) struct Patterns {
    compiled: HashMap<String, Regex>,
}

impl Patterns {
    /// A pattern for the whole of a text.
    pub(super) fn compile(&mut self, place: Place<'_>, pattern: &str) -> Option<Regex> {
        if let Some(regex) = self.compiled.get(pattern) {
            return Some(regex.clone());
        }
        let regex = match compile(pattern) {
            Ok(regex) => regex,
            Err(why) => {
                place.error(Problem::new(format!("bad regular expression: {why}")).found(quoted(pattern)));
                return None;
            }
        };
        self.compiled.insert(pattern.to_owned(), regex.clone());
        Some(regex)
    }
}

/// The pattern alone is parsed first: put between anchors, `a)|(b` would be well-formed.
fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_MAX {
        return Err(format!("longer than {PATTERN_MAX} bytes"));
    }
    regex_syntax::parse(pattern).map_err(|error| syntax_error(&error))?;
    // A comment at the end, under `(?x)`, would swallow the anchor: then a line end closes it.
    let build = |anchored: String| {
        RegexBuilder::new(&anchored).size_limit(PROGRAM_MAX).dfa_size_limit(PROGRAM_MAX).build()
    };
    let regex = match build(format!(r"\A(?:{pattern})\z")) {
        Err(regex::Error::Syntax(_)) => build(format!("\\A(?:{pattern}\n)\\z")),
        built => built,
    };
    regex.map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => format!("larger than {limit} bytes once compiled"),
        error => last_line(&error.to_string()),
    })
}

fn syntax_error(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => {
            format!("{} at character {}", error.kind(), error.span().start.offset + 1)
        }
        regex_syntax::Error::Translate(error) => {
            format!("{} at character {}", error.kind(), error.span().start.offset + 1)
        }
        error => last_line(&error.to_string()),
    }
}

fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// `match.path`; absent means every path.
pub(super) fn resolve_path(
    place: Place<'_>,
    raw: Option<&raw::PathMatch>,
    patterns: &mut Patterns,
) -> Option<PathPattern> {
    let Some(raw) = raw else { return Some(PathPattern::Prefix("/".into())) };
    let keys = [
        ("exact", raw.exact.is_absent()),
        ("prefix", raw.prefix.is_absent()),
        ("regex", raw.regex.is_absent()),
    ];
    let place_of = place.key(place.exactly_one(&keys)?);
    match (raw.exact.given(), raw.prefix.given(), raw.regex.given()) {
        (Some(path), ..) => check_path(place_of, path).then(|| PathPattern::Exact(path.as_str().into())),
        (_, Some(path), _) => prefix(place_of, path).map(PathPattern::Prefix),
        (.., Some(pattern)) => patterns.compile(place_of, pattern).map(PathPattern::Regex),
        _ => None,
    }
}

/// A prefix, without the slash at its end.
pub(super) fn prefix(place: Place<'_>, path: &str) -> Option<Arc<str>> {
    if !check_path(place, path) {
        return None;
    }
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    Some(if trimmed.is_empty() { "/" } else { trimmed }.into())
}

/// Whether `path` is in the normal form that requests are brought to before they are matched:
/// a pattern in another form would never match.
pub(super) fn check_path(place: Place<'_>, path: &str) -> bool {
    let Some((what, help)) = abnormal(path) else { return true };
    let problem = Problem::new(what).expected("a normal path, such as `/api/v1`").found(quoted(path));
    match help {
        "" => place.error(problem),
        "/" => place.error(problem.did_you_mean(Some(&format!("/{path}")))),
        help => place.error(problem.help(help)),
    }
    false
}

/// What keeps a path from being normal, and how to mend it.
fn abnormal(path: &str) -> Option<(&'static str, &'static str)> {
    if !path.starts_with('/') {
        return Some(("a path that does not begin with `/`", if is_raw(path) { "/" } else { "" }));
    }
    if path.len() > PATH_MAX {
        return Some(("a path longer than 4096 bytes", ""));
    }
    if path.contains(['?', '#']) {
        return Some(("a path with `?` or `#`", "match the query under `query`"));
    }
    if path.contains("//") {
        return Some(("a path with `//`", "requests have it merged into one `/`"));
    }
    let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    if path.split('/').any(dots) {
        return Some(("a path with a dot segment", "requests have them resolved"));
    }
    if !is_raw(path) {
        return Some(("a path with a character that is encoded in requests", "percent-encode it"));
    }
    path.match_indices('%').find_map(|(at, _)| abnormal_escape(path.as_bytes().get(at + 1..at + 3)))
}

fn abnormal_escape(digits: Option<&[u8]>) -> Option<(&'static str, &'static str)> {
    let decoded = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
    let digits = digits.unwrap_or_default();
    match decoded {
        Some(_) if !digits.iter().all(u8::is_ascii_hexdigit) => {
            Some(("a `%` without two hexadecimal digits", "write `%25` for a percent sign"))
        }
        None => Some(("a `%` without two hexadecimal digits", "write `%25` for a percent sign")),
        Some(b'/' | b'\\' | 0..=0x1f | 0x7f) => {
            Some(("an escape that requests may not hold", "such a request is refused before it is matched"))
        }
        Some(b) if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') => {
            Some(("an escape that is decoded in requests", "write the character itself"))
        }
        Some(_) if digits.iter().any(u8::is_ascii_lowercase) => {
            Some(("an escape in lower case", "write its digits in upper case"))
        }
        Some(_) => None,
    }
}

/// Whether all characters may stand in a path as they are (RFC 3986 §3.3), or are escapes.
fn is_raw(path: &str) -> bool {
    path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_patterns_at_both_ends() {
        let regex = compile("/a|/b").unwrap();
        assert!(regex.is_match("/a") && regex.is_match("/b"));
        assert!(!regex.is_match("/ab") && !regex.is_match("x/a") && !regex.is_match("/a\n"));
        assert!(compile("(?x) /a  # comment").unwrap().is_match("/a"));
        assert!(compile("/a#(?:b)").unwrap().is_match("/a#b"));
        assert!(compile("a)|(b").is_err());
        assert!(compile(r"\w{200}").is_err());
    }

    #[test]
    fn knows_normal_paths() {
        for normal in ["/", "/a", "/a/", "/a%20b", "/a:b@c", "/.well-known/x", "/a..b", "/..."] {
            assert_eq!(abnormal(normal), None, "{normal}");
        }
        for other in [
            "", "a", "/a//b", "/a/../b", "/.", "/..;x/", "/a?b", "/a b", "/é", "/%zz", "/%+1", "/%4", "/%41",
            "/%c3", "/%2F",
        ] {
            assert!(abnormal(other).is_some(), "{other}");
        }
    }
}
