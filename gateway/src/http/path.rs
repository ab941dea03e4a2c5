//! Path normalisation: one spelling for what routes match, filters see and upstreams get.
//!
//! A route that guards `/admin` is worth nothing if `/%61dmin`, `/x/../admin` or `//admin` get
//! round it, so the gateway matches **and forwards** the normal form:
//!
//! | in the request | rule |
//! |---|---|
//! | escapes of unreserved characters (`%41`, `%7e`) | decoded, once (RFC 3986 §6.2.2.2) |
//! | other escapes | kept, hexadecimal digits in upper case (§6.2.2.1) |
//! | `.` and `..` segments, also when written as `%2e` | removed (§5.2.4); `..` at the root stays at the root |
//! | `//` | merged into one `/`, as most upstreams would do it |
//! | characters that a path may not hold raw (`"`, `<`, non-ASCII, …) | percent-encoded |
//! | `%2f`, `%5c`, `\`, `%00`, control characters | refused: upstreams disagree on what they mean |
//! | `%` without two hexadecimal digits | refused |
//! | `.;x` and `..;x` segments | refused: servlet containers read them as `.` and `..` |
//!
//! Escapes of reserved characters (`%3A`) are not decoded: RFC 3986 §2.2 makes them a different
//! path from the raw character. A rule on such a path should name both spellings.

use std::borrow::Cow;

/// Why a path has no normal form. All are answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("path does not begin with a slash")]
    NotAbsolute,
    /// `%` is not followed by two hexadecimal digits.
    #[error("invalid percent escape at byte {at}")]
    InvalidEscape {
        /// Offset of the `%`.
        at: usize,
    },
    /// An encoded slash, a backslash in either form, NUL or another control character.
    #[error("forbidden byte {byte:#04x} at byte {at}")]
    Forbidden {
        /// The byte, decoded.
        byte: u8,
        /// Offset of it, or of its `%`.
        at: usize,
    },
    /// A dot segment with path parameters.
    #[error("dot segment with parameters")]
    DotSegmentParameters,
}

/// The normal form of `path`, without a query. Borrowed if it is normal already, which one scan
/// finds out; else one allocation of at most three times the length.
///
/// # Errors
/// [`PathError`], each of which means that the request should get 400.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path.as_bytes())?;
    let out = remove_segments(&decoded)?;
    // `decode` lets ASCII through only and `remove_segments` cuts at slashes.
    String::from_utf8(out).map(Cow::Owned).map_err(|_| PathError::NotAbsolute)
}

/// Whether a scan finds nothing to do.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = 0;
    for (at, &byte) in path.iter().enumerate() {
        match CLASS[usize::from(byte)] {
            Class::Plain => {}
            Class::Percent if is_normal_escape(path, at) => {}
            Class::Percent | Class::Encode | Class::Forbidden => return false,
        }
        if previous == b'/' && (byte == b'/' || byte == b'.' && starts_with_dot_segment(&path[at..])) {
            return false;
        }
        previous = byte;
    }
    true
}

/// Whether the escape at `at` is one that stays as it is.
fn is_normal_escape(path: &[u8], at: usize) -> bool {
    let is_upper = path[at..].iter().take(3).all(|byte| !byte.is_ascii_lowercase());
    is_upper && escaped(path, at).is_some_and(|byte| meaning(byte) == Escape::Keep)
}

/// Whether the first segment of `rest`, which begins with a dot, is one that must go.
fn starts_with_dot_segment(rest: &[u8]) -> bool {
    let after = if rest.get(1) == Some(&b'.') { 2 } else { 1 };
    matches!(rest.get(after), None | Some(b'/' | b';'))
}

/// Decodes and encodes characters; slashes stay where they are.
fn decode(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(path.len() + 16);
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        match CLASS[usize::from(byte)] {
            Class::Plain => out.push(byte),
            Class::Encode => push_escape(&mut out, byte),
            Class::Forbidden => return Err(PathError::Forbidden { byte, at }),
            Class::Percent => {
                let byte = escaped(path, at).ok_or(PathError::InvalidEscape { at })?;
                match meaning(byte) {
                    Escape::Decode => out.push(byte),
                    Escape::Keep => push_escape(&mut out, byte),
                    Escape::Forbidden => return Err(PathError::Forbidden { byte, at }),
                }
                at += 2;
            }
        }
        at += 1;
    }
    Ok(out)
}

/// The byte that the escape at `at` stands for.
fn escaped(path: &[u8], at: usize) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*path.get(at + 1)?)? << 4 | digit(*path.get(at + 2)?)?)
}

/// What becomes of an escaped byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    Decode,
    Keep,
    Forbidden,
}

fn meaning(byte: u8) -> Escape {
    match byte {
        b'/' | b'\\' | 0..=0x1f | 0x7f => Escape::Forbidden,
        b'-' | b'.' | b'_' | b'~' => Escape::Decode,
        _ if byte.is_ascii_alphanumeric() => Escape::Decode,
        _ => Escape::Keep,
    }
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// Removes dot segments and empty segments. A path that ended in a directory still does.
fn remove_segments(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(path.len());
    let mut is_directory = true;
    for segment in path.split(|&byte| byte == b'/') {
        match segment {
            b"" | b"." => is_directory = true,
            b".." => {
                out.truncate(out.iter().rposition(|&byte| byte == b'/').unwrap_or(0));
                is_directory = true;
            }
            _ if segment.starts_with(b".;") || segment.starts_with(b"..;") => {
                return Err(PathError::DotSegmentParameters);
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
                is_directory = false;
            }
        }
    }
    if is_directory {
        out.push(b'/');
    }
    Ok(out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stays as it is: `pchar` of RFC 3986 §3.3 and the slash.
    Plain,
    /// Begins an escape.
    Percent,
    /// Must be percent-encoded.
    Encode,
    /// Refused.
    Forbidden,
}

static CLASS: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::Encode; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = match byte {
            0..=0x1f | 0x7f | b'\\' => Class::Forbidden,
            b'%' => Class::Percent,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => Class::Plain,
            b'!' | b'$' | b'&'..=b',' | b';' | b'=' | b':' | b'@' | b'/' => Class::Plain,
            _ => Class::Encode,
        };
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn normal_forms() {
        let table = [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/a/..b/.c./d..", "/a/..b/.c./d.."),
            ("/a;v=1,2/b", "/a;v=1,2/b"),
            ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
            // unreserved escapes, decoded once
            ("/%61dmin", "/admin"),
            ("/%7Euser", "/~user"),
            ("/%2561", "/%2561"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            // others kept in upper case
            ("/a%3ab", "/a%3Ab"),
            ("/a%20b", "/a%20b"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/a\"b", "/a%22b"),
            ("/a%3fb", "/a%3Fb"),
            // dot segments
            ("/.", "/"),
            ("/..", "/"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/c/../../g", "/a/g"),
            ("/../../etc", "/etc"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2e/b", "/a/b"),
            ("/mid/content=5/../6", "/mid/6"),
            // merged slashes
            ("//", "/"),
            ("//admin", "/admin"),
            ("/a//b///c", "/a/b/c"),
            ("/a//../b", "/b"),
        ];
        for (raw, normal) in table {
            assert_eq!(normalise(raw).as_deref(), Ok(normal), "{raw}");
        }
    }

    #[test]
    fn refused() {
        let forbidden = |byte, at| PathError::Forbidden { byte, at };
        let table = [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("a/b", PathError::NotAbsolute),
            ("/%", PathError::InvalidEscape { at: 1 }),
            ("/a%4", PathError::InvalidEscape { at: 2 }),
            ("/%zz", PathError::InvalidEscape { at: 1 }),
            ("/%+1a", PathError::InvalidEscape { at: 1 }),
            ("/a%2fb", forbidden(b'/', 2)),
            ("/a%2Fb", forbidden(b'/', 2)),
            ("/..%2fadmin", forbidden(b'/', 3)),
            ("/a%5cb", forbidden(b'\\', 2)),
            ("/a\\b", forbidden(b'\\', 2)),
            ("/a%00", forbidden(0, 2)),
            ("/a%0d%0ab", forbidden(b'\r', 2)),
            ("/a\u{1}", forbidden(1, 2)),
            ("/public/..;/admin", PathError::DotSegmentParameters),
            ("/public/.;x=1/admin", PathError::DotSegmentParameters),
            ("/public/%2e%2e;/admin", PathError::DotSegmentParameters),
        ];
        for (raw, error) in table {
            assert_eq!(normalise(raw), Err(error), "{raw}");
        }
    }

    #[test]
    fn a_normal_path_is_not_copied() {
        for path in ["/", "/a/b.c/d", "/.hidden", "/a..b", "/a/b/", "/a%20b%C3%A9"] {
            assert!(matches!(normalise(path), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    proptest! {
        #[test]
        fn normal_form_is_a_fixed_point(path in "/([a-c./;%2eEfF5cé\\\\ ]|%2e|%61|%3a|//){0,24}") {
            if let Ok(normal) = normalise(&path) {
                prop_assert!(matches!(normalise(&normal), Ok(Cow::Borrowed(again)) if again == &*normal));
                prop_assert!(normal.starts_with('/') && normal.is_ascii() && !normal.contains("//"));
                prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
            }
        }

        #[test]
        fn any_text_is_answered(path in "\\PC{0,64}") {
            let _ = normalise(&path);
        }

        #[test]
        fn an_escaped_letter_is_the_letter(name in "[A-Za-z0-9._~-]{1,12}", spell in any::<u16>()) {
            prop_assume!(name != "." && name != "..");
            let path: String = std::iter::once("/".to_owned())
                .chain(name.bytes().enumerate().map(|(bit, byte)| match spell >> bit & 1 {
                    0 => char::from(byte).to_string(),
                    _ => format!("%{byte:02x}"),
                }))
                .collect();
            prop_assert_eq!(normalise(&path).unwrap().into_owned(), format!("/{name}"));
        }
    }
}
