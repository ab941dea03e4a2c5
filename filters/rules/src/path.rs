//! One reading of a request's path, so that a rule cannot be walked around by spelling.
//!
//! The query is cut off, percent-escapes are decoded once, empty and `.` segments dropped, `..`
//! resolved. A path that two servers could read differently is [`Reading::Ambiguous`].

use crate::glob::{Glob, TooLong};

/// The path as the rules see it.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    /// One that every server reads the same way.
    Plain(Vec<u8>),
    /// One with an encoded slash, a backslash, a control character, or a broken escape, and how
    /// it reads when those are taken as they come.
    Ambiguous(Vec<u8>),
}

/// Reads the path of a request target in origin form (`/path?query`). Any other form (`*`, an
/// authority) is taken as it is.
#[must_use]
pub fn read(target: &[u8]) -> Reading {
    let path = target.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    if path.first() != Some(&b'/') {
        return Reading::Plain(path.to_vec());
    }
    let (decoded, ambiguous) = decode(path);
    let resolved = resolve(&decoded);
    if ambiguous { Reading::Ambiguous(resolved) } else { Reading::Plain(resolved) }
}

fn decode(path: &[u8]) -> (Vec<u8>, bool) {
    let mut decoded = Vec::with_capacity(path.len());
    let mut ambiguous = false;
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        let (byte, escaped, tail) = match (byte, tail) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex(*high) << 4 | hex(*low), true, tail)
            }
            _ => (*byte, false, tail),
        };
        ambiguous |= match byte {
            b'/' => escaped,
            b'%' => !escaped,
            byte => byte == b'\\' || byte.is_ascii_control(),
        };
        decoded.push(byte);
        rest = tail;
    }
    (decoded, ambiguous)
}

/// The value of a hexadecimal digit; the caller has checked that it is one.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

fn resolve(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut open = false; // whether a slash follows the last segment
    for segment in path.split(|byte| *byte == b'/') {
        open = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut resolved = Vec::with_capacity(path.len() + 1);
    for segment in &segments {
        resolved.push(b'/');
        resolved.extend_from_slice(segment);
    }
    if open || segments.is_empty() {
        resolved.push(b'/');
    }
    resolved
}

/// What a rule asks of the path.
#[derive(Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// The whole path.
    Exact(Box<[u8]>),
    /// The path or anything below it: `/admin` takes `/admin` and `/admin/x`, not `/administrator`.
    Prefix(Box<[u8]>),
    /// A glob over the whole path.
    Glob(Glob),
}

impl PathPattern {
    /// A pattern for the path itself and all below it.
    #[must_use]
    pub fn prefix(text: &str) -> Self {
        Self::Prefix(text.trim_end_matches('/').as_bytes().into())
    }

    /// A glob pattern.
    ///
    /// # Errors
    /// When it is too long.
    pub fn glob(text: &str) -> Result<Self, TooLong> {
        Glob::parse(text).map(Self::Glob)
    }

    /// Whether a path, as [`read`] gives it, is meant.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => path == &**wanted,
            Self::Prefix(wanted) => {
                path.strip_prefix(&**wanted).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
            }
            Self::Glob(glob) => glob.matches(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(target: &str) -> String {
        match read(target.as_bytes()) {
            Reading::Plain(path) => String::from_utf8(path).unwrap(),
            Reading::Ambiguous(path) => panic!("{target} is ambiguous: {path:?}"),
        }
    }

    #[test]
    fn spellings_of_one_path_read_the_same() {
        for target in
            ["/admin", "/%61dmin", "/./admin", "//admin", "/x/../admin", "/admin?x=/y", "/x/%2e%2E/admin"]
        {
            assert_eq!(plain(target), "/admin", "{target}");
        }
        assert_eq!(plain("/admin/"), "/admin/");
        assert_eq!(plain("/admin/x/.."), "/admin/");
        assert_eq!(plain("/../../etc"), "/etc");
        assert_eq!(plain("/"), "/");
        assert_eq!(plain("/a%20b/%C3%A9"), "/a b/é");
        assert_eq!(plain("/100%25"), "/100%");
        assert_eq!(plain("*"), "*");
        assert_eq!(plain(""), "");
    }

    #[test]
    fn what_can_be_read_in_two_ways_says_so() {
        for target in ["/a%2Fb", "/a%5cb", "/a\\b", "/a%00", "/a%0ab", "/a%", "/a%zz", "/a%4"] {
            assert!(matches!(read(target.as_bytes()), Reading::Ambiguous(_)), "{target}");
        }
        assert_eq!(read(b"/public/..%2fadmin"), Reading::Ambiguous(b"/admin".to_vec()));
    }

    #[test]
    fn any_bytes_can_be_read() {
        for byte in 0..=255 {
            let (Reading::Plain(path) | Reading::Ambiguous(path)) = read(&[b'/', byte, b'%', byte]);
            assert_eq!(path.first(), Some(&b'/'));
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let admin = PathPattern::prefix("/admin/");
        assert!(admin.matches(b"/admin") && admin.matches(b"/admin/") && admin.matches(b"/admin/x"));
        assert!(!admin.matches(b"/administrator") && !admin.matches(b"/x/admin"));
        assert!(PathPattern::prefix("/").matches(b"/anything"));
        assert!(!PathPattern::Exact((*b"/a").into()).matches(b"/a/"));
    }
}
