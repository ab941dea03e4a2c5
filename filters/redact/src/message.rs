//! What the headers of a request or a response decide.

use crate::config::{Config, Encoded};

/// The headers of a message.
pub trait Headers {
    /// The first value of a header.
    fn get(&self, name: &str) -> Option<Vec<u8>>;
    /// Replaces every value of a header by one.
    fn set(&self, name: &str, value: &[u8]);
    /// Takes every value of a header away.
    fn remove(&self, name: &str);
}

/// What is done with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// It is looked at.
    Scan,
    /// It goes by as it is.
    Leave,
    /// It is encoded, and the configuration lets no such body pass.
    Refuse,
}

/// Checksums of the body, which would no longer be right.
const CHECKSUMS: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];

/// Makes sure that the upstream's answer can be read: whole and not compressed.
pub fn ask_for_a_readable_response(config: &Config, request: &impl Headers) {
    if !config.keep_accept_encoding {
        request.set("accept-encoding", b"identity");
    }
    request.remove("range");
    request.remove("if-range");
}

/// Decides on the body of a message, and makes its headers ready for it to change.
pub fn prepare(config: &Config, message: &impl Headers) -> Plan {
    if !config.content_types.iter().any(|wanted| wanted.accepts(message.get("content-type").as_deref())) {
        return Plan::Leave;
    }
    match (message.get("content-encoding"), config.encoded) {
        (Some(coding), encoded) if !coding.trim_ascii().eq_ignore_ascii_case(b"identity") => {
            return if encoded == Encoded::Deny { Plan::Refuse } else { Plan::Leave };
        }
        _ => {}
    }
    if !config.patterns.keep_length() {
        message.remove("content-length");
    }
    message.remove("accept-ranges");
    CHECKSUMS.iter().for_each(|name| message.remove(name));
    Plan::Scan
}

/// A media type to be looked at; each half may be a wildcard, and `*+json` is a suffix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    kind: Box<str>,
    subtype: Box<str>,
}

impl MediaType {
    /// Parses `type/subtype`, `type/*`, `type/*+suffix` or `*/*`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, subtype) = text.split_once('/')?;
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"*!#$&-^_.+".contains(&b))
        };
        let valid = is_name(kind) && is_name(subtype);
        valid.then(|| Self {
            kind: kind.to_ascii_lowercase().into(),
            subtype: subtype.to_ascii_lowercase().into(),
        })
    }

    /// Whether the value of a `content-type` header is meant. A body that says nothing of its
    /// type may be anything, and so is looked at.
    #[must_use]
    pub fn accepts(&self, content_type: Option<&[u8]>) -> bool {
        let essence = content_type.unwrap_or_default().split(|byte| *byte == b';').next().unwrap_or_default();
        let essence = essence.trim_ascii().to_ascii_lowercase();
        if essence.is_empty() {
            return true;
        }
        let Some(slash) = essence.iter().position(|byte| *byte == b'/') else { return false };
        let (kind, subtype) = (&essence[..slash], &essence[slash + 1..]);
        let same = |wanted: &str, given: &[u8]| match wanted.strip_prefix('*') {
            Some(suffix) => given.ends_with(suffix.as_bytes()),
            None => given == wanted.as_bytes(),
        };
        same(&self.kind, kind) && same(&self.subtype, subtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Map(RefCell<Vec<(String, Vec<u8>)>>);

    impl Map {
        fn new(pairs: &[(&str, &str)]) -> Self {
            Self(RefCell::new(pairs.iter().map(|(n, v)| ((*n).into(), v.as_bytes().to_vec())).collect()))
        }

        fn names(&self) -> Vec<String> {
            self.0.borrow().iter().map(|(name, _)| name.clone()).collect()
        }
    }

    impl Headers for Map {
        fn get(&self, name: &str) -> Option<Vec<u8>> {
            self.0.borrow().iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
        }

        fn set(&self, name: &str, value: &[u8]) {
            self.remove(name);
            self.0.borrow_mut().push((name.into(), value.to_vec()));
        }

        fn remove(&self, name: &str) {
            self.0.borrow_mut().retain(|(other, _)| other != name);
        }
    }

    fn config(keys: &str) -> Config {
        Config::parse(format!(r#"{{"patterns": [{{"class": "email"}}]{keys}}}"#).as_bytes()).unwrap()
    }

    #[test]
    fn lengths_and_checksums_go_when_a_body_may_change() {
        let map = Map::new(&[
            ("content-type", "application/json; charset=utf-8"),
            ("content-length", "10"),
            ("digest", "x"),
            ("accept-ranges", "bytes"),
            ("etag", "\"1\""),
        ]);
        assert_eq!(prepare(&config(""), &map), Plan::Scan);
        assert_eq!(map.names(), ["content-type", "etag"]);
    }

    #[test]
    fn masks_leave_the_length() {
        let map = Map::new(&[("content-type", "text/plain"), ("content-length", "10")]);
        assert_eq!(prepare(&config(r#", "mask": "*""#), &map), Plan::Scan);
        assert_eq!(map.names(), ["content-type", "content-length"]);
    }

    #[test]
    fn what_is_not_text_goes_by_untouched() {
        let map = Map::new(&[("content-type", "image/png"), ("content-length", "10")]);
        assert_eq!(prepare(&config(""), &map), Plan::Leave);
        assert_eq!(map.names(), ["content-type", "content-length"]);
    }

    #[test]
    fn encoded_bodies_are_left_or_refused() {
        let map = || {
            Map::new(&[("content-type", "text/html"), ("content-encoding", "gzip"), ("content-length", "1")])
        };
        assert_eq!(prepare(&config(""), &map()), Plan::Leave);
        assert_eq!(prepare(&config(r#", "encoded": "deny""#), &map()), Plan::Refuse);
        let identity = Map::new(&[("content-encoding", " Identity")]);
        assert_eq!(prepare(&config(""), &identity), Plan::Scan);
    }

    #[test]
    fn the_upstream_is_asked_for_something_readable() {
        let map = Map::new(&[("accept-encoding", "gzip, br"), ("range", "bytes=0-1"), ("accept", "*/*")]);
        ask_for_a_readable_response(&config(""), &map);
        assert_eq!(map.get("accept-encoding").unwrap(), b"identity");
        assert_eq!(map.names(), ["accept", "accept-encoding"]);
        let kept = Map::new(&[("accept-encoding", "gzip")]);
        ask_for_a_readable_response(&config(r#", "keep_accept_encoding": true"#), &kept);
        assert_eq!(kept.get("accept-encoding").unwrap(), b"gzip");
    }

    #[test]
    fn media_types_match_with_wildcards() {
        let accepts =
            |wanted: &str, given: &str| MediaType::parse(wanted).unwrap().accepts(Some(given.as_bytes()));
        assert!(accepts("text/*", "Text/HTML; charset=x") && !accepts("text/*", "application/json"));
        assert!(accepts("application/*+json", "application/problem+json"));
        assert!(!accepts("application/*+json", "application/json"));
        assert!(accepts("*/*", "image/png") && !accepts("*/*", "rubbish"));
        assert!(accepts("text/plain", "") && MediaType::parse("text/plain").unwrap().accepts(None));
        assert_eq!(MediaType::parse("text"), None);
        assert_eq!(MediaType::parse("text/"), None);
    }
}
