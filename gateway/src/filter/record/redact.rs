//! What is not written down: values of fields and query parameters that are secrets by their names, and
//! those values wherever else in a head they turn up.

use std::collections::BTreeSet;

use http::HeaderName;

/// What stands in place of a secret.
pub const REDACTED: &str = "<redacted>";
/// Names that hold a secret, whole.
const NAMES: [&str; 6] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "authentication-info",
    "www-authenticate",
];
/// Parts of names that hold a secret.
const PARTS: [&str; 10] = [
    "token",
    "secret",
    "passw",
    "api-key",
    "apikey",
    "api_key",
    "session",
    "credential",
    "signature",
    "private",
];
/// A value that is shorter is not looked for elsewhere: it would be found by chance.
const SECRET_MIN: usize = 8;

/// What is redacted.
#[derive(Debug, Clone, Default)]
pub struct Redaction {
    /// Fields that are kept although they look like secrets.
    keep: Vec<HeaderName>,
}

/// What was redacted in one exchange.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Names of fields and query parameters.
    pub(super) names: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Redaction {
    /// The usual secrets but for these fields.
    pub fn but(keep: Vec<HeaderName>) -> Self {
        Self { keep }
    }

    fn is_secret(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let is_kept = self.keep.iter().any(|kept| kept.as_str() == name);
        !is_kept && (NAMES.contains(&name.as_str()) || PARTS.iter().any(|part| name.contains(part)))
    }

    /// The value of a field, or what stands in its place.
    pub(super) fn value(&self, name: &str, value: &str, found: &mut Found) -> String {
        if !self.is_secret(name) {
            return value.to_owned();
        }
        found.add(name, value);
        REDACTED.to_owned()
    }

    /// A path and query without the secrets in its query.
    pub(super) fn target(&self, target: &str, found: &mut Found) -> String {
        let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
        let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
            Some((name, value)) if self.is_secret(name) => {
                found.add(name, value);
                format!("{name}={REDACTED_IN_QUERY}")
            }
            _ => parameter.to_owned(),
        });
        format!("{path}?{}", parameters.collect::<Vec<_>>().join("&"))
    }
}

/// As [`REDACTED`], of characters that a query may have.
const REDACTED_IN_QUERY: &str = "redacted";

impl Found {
    fn add(&mut self, name: &str, value: &str) {
        self.names.insert(name.to_ascii_lowercase());
        // Of `Bearer abc` the word before it is no secret, of `a=1; b=2` each value is one.
        let words =
            value.split([' ', ';', ',']).map(|word| word.rsplit_once('=').map_or(word, |(_, value)| value));
        let words = words.chain([value]).map(str::trim).filter(|word| word.len() >= SECRET_MIN);
        self.secrets.extend(words.map(str::to_owned));
    }

    /// A text without the secrets that were found so far.
    pub(super) fn cleaned(&self, text: String) -> String {
        match self.secrets.iter().any(|secret| text.contains(secret.as_str())) {
            true => REDACTED.to_owned(),
            false => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_by_their_names_and_by_their_values() {
        let redaction = Redaction::but(vec![HeaderName::from_static("x-session-kind")]);
        let mut found = Found::default();
        for name in ["Authorization", "cookie", "x-api-key", "X-Auth-Token"] {
            assert_eq!(redaction.value(name, "Bearer s3cr3t-value", &mut found), REDACTED, "{name}");
        }
        assert_eq!(redaction.value("x-session-kind", "long-lived", &mut found), "long-lived");
        assert_eq!(redaction.value("accept", "*/*", &mut found), "*/*");
        assert_eq!(
            redaction.target("/a?b=1&access_token=0123456789", &mut found),
            "/a?b=1&access_token=redacted"
        );
        assert_eq!(redaction.target("/a", &mut found), "/a");
        assert_eq!(found.cleaned("who=s3cr3t-value".to_owned()), REDACTED);
        assert_eq!(found.cleaned("/x/0123456789/y".to_owned()), REDACTED);
        assert_eq!(found.cleaned("Bearer of news".to_owned()), "Bearer of news");
        assert!(found.names.contains("access_token") && found.names.contains("authorization"));
    }
}
