//! The folder that every path which a regex can match lies in.

use regex_syntax::hir::{Hir, HirKind, Look};

/// The whole segments that `pattern` begins with literally: `/users` for `\A(?:/users/[0-9]+)\z`,
/// `/` if there are none, if the pattern is not anchored at its start, or cannot be told.
pub(super) fn of(pattern: &str) -> String {
    let literal = regex_syntax::parse(pattern).ok().and_then(|hir| literal_start(&hir)).unwrap_or_default();
    match literal.rfind('/') {
        Some(end) if literal.starts_with('/') && end > 0 => literal[..end].to_owned(),
        _ => "/".to_owned(),
    }
}

/// The text between the start anchor and the first part that is not literal.
fn literal_start(hir: &Hir) -> Option<String> {
    let HirKind::Concat(parts) = hir.kind() else { return None };
    let [anchor, rest @ ..] = parts.as_slice() else { return None };
    if !matches!(anchor.kind(), HirKind::Look(Look::Start)) {
        return None;
    }
    let literals = rest.iter().map_while(|part| match part.kind() {
        HirKind::Literal(literal) => Some(&literal.0[..]),
        _ => None,
    });
    String::from_utf8(literals.collect::<Vec<_>>().concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_of_whole_literal_segments() {
        let cases = [
            (r"\A(?:/users/[0-9]+)\z", "/users"),
            (r"\A(?:/users/v[0-9]+)\z", "/users"),
            (r"\A(?:/a/b/.*)\z", "/a/b"),
            (r"\A(?:/a/b)\z", "/a"),
            (r"\A(?:/a)\z", "/"),
            (r"\A(?:/a/x|/b/x)\z", "/"),
            (r"\A(?:/a/x|/a/y)\z", "/"),
            (r"\A(?:(?i)/a/x)\z", "/"),
            (r"\A(?:.*\.php)\z", "/"),
            (r"/a/b/c", "/"),
            ("(", "/"),
        ];
        for (pattern, folder) in cases {
            assert_eq!(of(pattern), folder, "{pattern}");
        }
    }
}
