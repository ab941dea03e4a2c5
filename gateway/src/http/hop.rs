//! Hop-by-hop fields, which concern one connection and end here: RFC 9110 §7.6.1.
//!
//! To be called before filters run and before the gateway adds its own fields, so that a client's
//! `Connection` can name only what the client sent. Even so, fields that others rely on cannot be
//! named: a trusted proxy in front may have added them ([`PROTECTED`] and `x-forwarded-*`).
//!
//! `Trailer` stays: the gateway passes trailers on, and hyper sends only those it names.

use http::header::{
    CONNECTION, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Options that one message's Connection fields may hold together.
const CONNECTION_OPTIONS_MAX: usize = 16;

/// End-to-end fields that `Connection` may not name; if it does, they stay.
pub const PROTECTED: [&str; 18] = [
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "forwarded",
    "host",
    "origin",
    "set-cookie",
    "traceparent",
    "tracestate",
    "trailer",
    "via",
    "x-real-ip",
    "x-request-id",
];

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY: HeaderName = HeaderName::from_static("proxy");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");

/// What the removed fields of a request asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestHop {
    /// The protocols of `Upgrade`, if `Connection` named it. Ignoring it is always right
    /// (RFC 9110 §7.8); a route that allows upgrades puts it back.
    pub upgrade: Option<HeaderValue>,
    /// Whether the body waits for `100 Continue`. hyper sends it when the body is first read, so
    /// that a filter or a route can refuse before the client sends anything.
    pub expectation: Expectation,
}

/// What the client waits for before it sends the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing.
    #[default]
    None,
    /// `100 Continue`.
    Continue,
}

/// Why hop-by-hop fields cannot be taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HopError {
    /// An expectation other than `100-continue`. Answer: 417.
    #[error("unknown expectation")]
    Expectation,
    /// Too many options in `Connection`. Answer: 400, or 502 for a response.
    #[error("more than {CONNECTION_OPTIONS_MAX} connection options")]
    ConnectionOptions,
}

/// Takes the hop-by-hop fields off a request. One pass over the names when there are none.
///
/// # Errors
/// [`HopError`]; the fields may then be half removed.
pub fn strip_request(headers: &mut HeaderMap) -> Result<RequestHop, HopError> {
    let found = Found::scan(headers);
    let mut hop = RequestHop::default();
    if found.is_empty() {
        return Ok(hop);
    }
    if found.has(Found::EXPECT) {
        hop.expectation = expectation(headers)?;
    }
    let mut accepts_trailers = false;
    if found.has(Found::CONNECTION) && !is_persistence_only(headers) {
        let named = named_by_connection(headers)?;
        if named.upgrade {
            hop.upgrade = headers.get(UPGRADE).cloned();
        }
        accepts_trailers = named.te && accepts_trailers_by(headers);
        remove_named(headers);
    }
    found.remove_from(headers);
    if accepts_trailers {
        // Trailers are passed on, so this hop understands them too (RFC 9110 §10.1.4).
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    Ok(hop)
}

/// Takes the hop-by-hop fields off a response. [`super::framing::repair_response`] comes first.
///
/// # Errors
/// [`HopError::ConnectionOptions`]; the fields may then be half removed.
pub fn strip_response(headers: &mut HeaderMap) -> Result<(), HopError> {
    let found = Found::scan(headers).without(Found::REQUEST_ONLY);
    if found.is_empty() {
        return Ok(());
    }
    if found.has(Found::CONNECTION) && !is_persistence_only(headers) {
        named_by_connection(headers)?;
        remove_named(headers);
    }
    found.remove_from(headers);
    Ok(())
}

/// Which hop-by-hop fields a message has: one bit for each entry of [`FIELDS`].
#[derive(Clone, Copy)]
struct Found(u16);

/// The fields, in the order of the bits. All constants are standard names or static text, so that
/// a look-up does not allocate.
static FIELDS: [HeaderName; 12] = [
    CONNECTION,
    EXPECT,
    TE,
    UPGRADE,
    TRANSFER_ENCODING,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_AUTHENTICATION_INFO,
    HTTP2_SETTINGS,
    // Not hop-by-hop, but CGI programs take it for their HTTP_PROXY variable (CVE-2016-5385).
    PROXY,
];

impl Found {
    const CONNECTION: u16 = 1;
    const EXPECT: u16 = 1 << 1;
    const REQUEST_ONLY: u16 = Self::EXPECT;

    fn scan(headers: &HeaderMap) -> Self {
        let bits = headers.keys().map(|name| match name.as_str() {
            "connection" => Self::CONNECTION,
            "expect" => Self::EXPECT,
            "te" => 1 << 2,
            "upgrade" => 1 << 3,
            "transfer-encoding" => 1 << 4,
            "keep-alive" => 1 << 5,
            "proxy-connection" => 1 << 6,
            "proxy-authenticate" => 1 << 7,
            "proxy-authorization" => 1 << 8,
            "proxy-authentication-info" => 1 << 9,
            "http2-settings" => 1 << 10,
            "proxy" => 1 << 11,
            _ => 0,
        });
        Self(bits.fold(0, |all, bit| all | bit))
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    fn without(self, bits: u16) -> Self {
        Self(self.0 & !bits)
    }

    fn remove_from(self, headers: &mut HeaderMap) {
        let set = FIELDS.iter().enumerate().filter(|(bit, _)| self.has(1 << bit));
        for (_, name) in set {
            headers.remove(name);
        }
    }
}

/// Whether `Connection` is what it nearly always is: one option that names no field.
fn is_persistence_only(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONNECTION).iter();
    let is_plain = |value: &HeaderValue| {
        let value = value.as_bytes();
        value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
    };
    values.next().is_some_and(is_plain) && values.next().is_none()
}

/// The options of `Connection` that mean something here.
#[derive(Default)]
struct Named {
    upgrade: bool,
    te: bool,
}

fn named_by_connection(headers: &HeaderMap) -> Result<Named, HopError> {
    let mut named = Named::default();
    for (count, option) in options(headers).enumerate() {
        if count == CONNECTION_OPTIONS_MAX {
            return Err(HopError::ConnectionOptions);
        }
        named.upgrade |= option.eq_ignore_ascii_case("upgrade");
        named.te |= option.eq_ignore_ascii_case("te");
    }
    Ok(named)
}

/// Removes the fields that `Connection` names, but for protected ones.
fn remove_named(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = options(headers)
        .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
        .filter(|name| !is_protected(name.as_str()))
        .collect();
    for name in names {
        headers.remove(name);
    }
}

fn is_protected(name: &str) -> bool {
    name.starts_with("x-forwarded-") || PROTECTED.contains(&name)
}

fn options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|option| !option.is_empty())
}

fn accepts_trailers_by(headers: &HeaderMap) -> bool {
    let values = headers.get_all(TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

fn expectation(headers: &HeaderMap) -> Result<Expectation, HopError> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    match headers.get_all(EXPECT).iter().all(known) {
        true => Ok(Expectation::Continue),
        false => Err(HopError::Expectation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        fields.iter().map(field).for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    #[test]
    fn bits_and_fields_agree() {
        for (bit, name) in FIELDS.iter().enumerate() {
            let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("x"))]);
            assert_eq!(Found::scan(&headers).0, 1 << bit, "{name}");
        }
    }

    #[test]
    fn hop_by_hop_fields_end_here_and_the_rest_stays() {
        let mut headers = map(&[
            ("host", "a"),
            ("connection", "keep-alive, X-Private"),
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("x-public", "1"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("http2-settings", "AA"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "close"),
            ("proxy", "http://evil"),
            ("transfer-encoding", "chunked"),
            ("trailer", "x-sum"),
        ]);
        let hop = strip_request(&mut headers).unwrap();
        assert_eq!(hop, RequestHop::default());
        assert_eq!(headers, map(&[("host", "a"), ("x-public", "1"), ("trailer", "x-sum")]));
    }

    #[test]
    fn protected_fields_cannot_be_named() {
        let fields = [
            ("host", "a"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("authorization", "x"),
            ("content-length", "3"),
            ("cookie", "a=b"),
        ];
        let named = fields.map(|(name, _)| name).join(", ");
        let mut headers = map(&fields);
        headers.append(CONNECTION, HeaderValue::from_str(&named).unwrap());
        strip_request(&mut headers).unwrap();
        assert_eq!(headers, map(&fields));
    }

    #[test]
    fn upgrade_is_told_only_if_connection_names_it() {
        let mut headers = map(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
        let hop = strip_request(&mut headers).unwrap();
        assert_eq!(hop.upgrade, Some(HeaderValue::from_static("websocket")));
        assert!(headers.is_empty());

        let mut headers = map(&[("upgrade", "websocket")]);
        assert_eq!(strip_request(&mut headers).unwrap().upgrade, None);
        assert!(headers.is_empty());
    }

    #[test]
    fn te_trailers_is_renewed() {
        let mut headers = map(&[("connection", "close, TE"), ("te", "gzip;q=0.5, Trailers")]);
        strip_request(&mut headers).unwrap();
        assert_eq!(headers, map(&[("te", "trailers"), ("connection", "te")]));
    }

    #[test]
    fn expectations() {
        let mut headers = map(&[("expect", "100-Continue")]);
        assert_eq!(strip_request(&mut headers).unwrap().expectation, Expectation::Continue);
        assert!(headers.is_empty());
        assert_eq!(strip_request(&mut map(&[("expect", "200-ok")])), Err(HopError::Expectation));
        assert_eq!(
            strip_request(&mut map(&[("expect", "100-continue"), ("expect", "x")])),
            Err(HopError::Expectation)
        );
    }

    #[test]
    fn connection_options_are_limited() {
        let mut headers = map(&[("connection", &"a,".repeat(16))]);
        assert!(strip_request(&mut headers).is_ok());
        let mut headers = map(&[("connection", &"a,".repeat(17))]);
        assert_eq!(strip_request(&mut headers), Err(HopError::ConnectionOptions));
        let mut headers = map(&[("connection", &"a,".repeat(17))]);
        assert_eq!(strip_response(&mut headers), Err(HopError::ConnectionOptions));
    }

    #[test]
    fn a_response_loses_its_hop_by_hop_fields() {
        let mut headers = map(&[
            ("content-length", "3"),
            ("connection", "close, x-hop, content-length"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("expect", "kept: it is the upstream's own affair"),
            ("upgrade", "h2c"),
        ]);
        strip_response(&mut headers).unwrap();
        assert_eq!(
            headers,
            map(&[("content-length", "3"), ("expect", "kept: it is the upstream's own affair")])
        );
    }
}
