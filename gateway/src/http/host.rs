//! The authority that a request is for: RFC 9112 §3.2 and RFC 9110 §7.2.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, Uri, Version, header};

/// Longest host name, in bytes (RFC 1035 §2.3.4, without the final dot).
const NAME_BYTES_MAX: usize = 253;

/// A valid authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a> {
    /// Lower-case name or address, without port and final dot; an IPv6 address keeps its brackets.
    pub name: Cow<'a, str>,
    /// The port, if one was written.
    pub port: Option<u16>,
    /// Where it was found.
    pub source: HostSource,
}

/// Where the authority of a request was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostSource {
    /// In the request target (absolute-form): the Host field must be replaced by it when the
    /// request is forwarded (RFC 9112 §3.2.2).
    Target,
    /// In the Host field.
    Field,
}

/// Why a request has no valid authority. All are answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// HTTP/1.1 without a Host field.
    #[error("no Host field")]
    Missing,
    /// More than one Host field.
    #[error("several Host fields")]
    Several,
    /// Not `host[:port]` with a valid host.
    #[error("malformed authority")]
    Malformed,
}

/// The authority of a request. An absolute-form target wins over the Host field, which must be
/// valid even so. `None` only for HTTP/1.0 without Host. Allocates only for upper-case names.
///
/// # Errors
/// [`HostError`], each of which means that the request should get 400.
pub fn of_request<'a>(
    version: Version,
    uri: &'a Uri,
    headers: &'a HeaderMap,
) -> Result<Option<Host<'a>>, HostError> {
    let mut fields = headers.get_all(header::HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(field), None) => {
            Some(parse(field.to_str().map_err(|_| HostError::Malformed)?, HostSource::Field)?)
        }
        (Some(_), Some(_)) => return Err(HostError::Several),
        (None, _) if version >= Version::HTTP_11 => return Err(HostError::Missing),
        (None, _) => None,
    };
    match uri.authority() {
        Some(authority) => parse(authority.as_str(), HostSource::Target).map(Some),
        None => Ok(field),
    }
}

/// Parses `host[:port]`.
fn parse(authority: &str, source: HostSource) -> Result<Host<'_>, HostError> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').ok_or(HostError::Malformed)? + 2,
        None => authority.bytes().position(|byte| byte == b':').unwrap_or(authority.len()),
    };
    let (name, port) = authority.split_at(end);
    Ok(Host { name: parse_name(name)?, port: parse_port(port)?, source })
}

fn parse_name(name: &str) -> Result<Cow<'_, str>, HostError> {
    if let Some(address) = name.strip_prefix('[') {
        let address = address.strip_suffix(']').ok_or(HostError::Malformed)?;
        let address: Ipv6Addr = address.parse().map_err(|_| HostError::Malformed)?;
        return Ok(Cow::Owned(format!("[{address}]")));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(HostError::Malformed);
    }
    let mut has_upper = false;
    let mut previous = b'.';
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'A'..=b'Z' => has_upper = true,
            b'.' if previous != b'.' => {}
            _ => return Err(HostError::Malformed),
        }
        previous = byte;
    }
    if previous == b'.' {
        return Err(HostError::Malformed);
    }
    // A name that ends in a number is an IPv4 address or nothing (WHATWG URL §3.5).
    if previous.is_ascii_digit() && ends_in_number(name) && name.parse::<Ipv4Addr>().is_err() {
        return Err(HostError::Malformed);
    }
    Ok(if has_upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) })
}

fn ends_in_number(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
}

fn parse_port(text: &str) -> Result<Option<u16>, HostError> {
    match text.strip_prefix(':') {
        // RFC 3986 §3.2.3 allows an empty port.
        None if text.is_empty() => Ok(None),
        Some("") => Ok(None),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map(Some).map_err(|_| HostError::Malformed)
        }
        _ => Err(HostError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(
        version: Version,
        target: &str,
        hosts: &[&str],
    ) -> Result<Option<(String, Option<u16>)>, HostError> {
        let uri: Uri = target.parse().unwrap();
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        let host = of_request(version, &uri, &headers)?;
        Ok(host.map(|host| (host.name.into_owned(), host.port)))
    }

    #[test]
    fn accepted() {
        let table = [
            ("example.com", "example.com", None),
            ("EXAMPLE.com.", "example.com", None),
            ("a_b-c.d:8080", "a_b-c.d", Some(8080)),
            ("localhost:", "localhost", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8:0::1]:443", "[2001:db8::1]", Some(443)),
            ("1a.2b", "1a.2b", None),
        ];
        for (field, name, port) in table {
            let host = of(Version::HTTP_11, "/", &[field]);
            assert_eq!(host, Ok(Some((name.to_owned(), port))), "{field}");
        }
    }

    #[test]
    fn malformed() {
        let long = "a".repeat(254);
        for field in [
            "",
            ".",
            "a b",
            "a..b",
            ".a",
            "user@a",
            "a/b",
            "a,b",
            "a%41",
            "a:b",
            "a:70000",
            "a:-1",
            "a:+1",
            "a:80:80",
            "[::1",
            "[::1]x",
            "[::1%25eth0]",
            "[v1.a]",
            "::1",
            "1.2.3",
            "1.2.3.256",
            "é",
            "a\\b",
            &long,
        ] {
            assert_eq!(of(Version::HTTP_11, "/", &[field]), Err(HostError::Malformed), "{field:?}");
        }
    }

    #[test]
    fn exactly_one_field() {
        assert_eq!(of(Version::HTTP_11, "/", &[]), Err(HostError::Missing));
        assert_eq!(of(Version::HTTP_11, "/", &["a", "a"]), Err(HostError::Several));
        assert_eq!(of(Version::HTTP_10, "/", &["a", "b"]), Err(HostError::Several));
        assert_eq!(of(Version::HTTP_10, "/", &[]), Ok(None));
    }

    #[test]
    fn absolute_form_wins_over_a_valid_field() {
        let target = "http://Target.example:81/x";
        let expected = Ok(Some(("target.example".to_owned(), Some(81))));
        assert_eq!(of(Version::HTTP_11, target, &["field.example"]), expected);
        assert_eq!(of(Version::HTTP_10, target, &[]), expected);
        assert_eq!(of(Version::HTTP_11, target, &[]), Err(HostError::Missing));
        assert_eq!(of(Version::HTTP_11, target, &["a b"]), Err(HostError::Malformed));
        assert_eq!(of(Version::HTTP_11, "http://u@target/x", &["a"]), Err(HostError::Malformed));
    }

    #[test]
    fn a_lower_case_name_is_not_copied() {
        assert!(matches!(parse("a.b:1", HostSource::Field).unwrap().name, Cow::Borrowed("a.b")));
    }

    proptest! {
        #[test]
        fn a_valid_name_is_a_fixed_point(text in "[A-Ca-c0-9.:\\[\\]_@ -]{0,20}") {
            if let Ok(host) = parse(&text, HostSource::Field) {
                let again = parse(&host.name, HostSource::Field).unwrap();
                prop_assert_eq!(&again.name, &host.name);
                prop_assert_eq!(again.port, None);
            }
        }
    }
}
