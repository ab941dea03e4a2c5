//! The request in question, as the gateway would see it.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use crate::http::forwarded::{Peer, Trust, client_address};
use crate::http::framing::{self, FramingError};
use crate::http::host::{self, HostError};
use crate::http::path::{self, PathError};
use crate::policy::Policy;
use crate::policy::limits::Limits;
use crate::route::RequestView;

/// A header field of the command line.
#[derive(Debug, Clone)]
pub struct Field(HeaderName, HeaderValue);

/// Why a command line makes no header field.
#[derive(Debug, thiserror::Error)]
pub enum FieldError {
    /// There is no colon.
    #[error("expected `name: value`")]
    NoColon,
    /// Not a name.
    #[error("`{0}` is no header name")]
    Name(String),
    /// Not a value.
    #[error("the value holds a byte that header values must not")]
    Value,
}

/// As it is parsed.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, String::from_utf8_lossy(self.1.as_bytes()))
    }
}

impl FromStr for Field {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let (name, value) = text.split_once(':').ok_or(FieldError::NoColon)?;
        let name = name.trim();
        let value = HeaderValue::from_str(value.trim()).map_err(|_| FieldError::Value)?;
        Ok(Self(HeaderName::from_str(name).map_err(|_| FieldError::Name(name.to_owned()))?, value))
    }
}

/// Why the gateway would refuse the request before it looks for a route.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// Its authority.
    #[error("the gateway would answer 400: {0}")]
    Host(#[from] HostError),
    /// Its path.
    #[error("the gateway would answer 400: {0}")]
    Path(#[from] PathError),
    /// Its method, or how its body is framed.
    #[error("the gateway would answer 501: {0}")]
    Framing(#[from] FramingError),
    /// Its head, by `limits`.
    #[error("the gateway would answer 431: more than {0} header fields")]
    Fields(u32),
    /// Likewise.
    #[error("the gateway would answer 431: a head of more than {0} bytes")]
    Head(u64),
    /// Its body, by `limits`.
    #[error("the gateway would answer 413: a body of more than {0} bytes")]
    Body(u64),
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Inquiry {
    /// The method.
    pub method: Method,
    /// An absolute URL, or a path with a query.
    pub url: Uri,
    /// Header fields. Without `host` it is the URL's, else `localhost`.
    pub headers: Vec<Field>,
    /// The address at the other end of the connection.
    pub from: IpAddr,
}

/// The request in question.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) method: Method,
    /// Lower-case name without port.
    pub(super) host: String,
    /// In its normal form.
    pub(super) path: String,
    /// As it was written, if that is something else.
    pub(super) path_as_written: Option<String>,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    /// After the trusted-proxy rule.
    pub(super) client: IpAddr,
    pub(super) peer: IpAddr,
}

impl Question {
    pub(super) fn new(inquiry: &Inquiry, policy: &Policy) -> Result<Self, QuestionError> {
        let trusted = &policy.trusted_proxies;
        let mut headers = HeaderMap::new();
        for Field(name, value) in &inquiry.headers {
            headers.append(name.clone(), value.clone());
        }
        if !headers.contains_key(HOST) {
            headers.insert(HOST, host_field(&inquiry.url)?);
        }
        check_limits(inquiry, &headers, &policy.limits)?;
        framing::check_request(&inquiry.method, &headers)?;
        let host = host::of_request(Version::HTTP_11, &inquiry.url, &headers)?;
        let host = host.ok_or(HostError::Missing)?.name.into_owned();
        let written = if inquiry.url.path().is_empty() { "/" } else { inquiry.url.path() };
        let (path, path_as_written) = match path::normalise(written)? {
            Cow::Borrowed(path) => (path.to_owned(), None),
            Cow::Owned(path) => (path, Some(written.to_owned())),
        };
        let peer = Peer::new(inquiry.from);
        let client = match peer.trust(trusted) {
            Trust::Trusted => client_address(peer.address(), &headers, trusted),
            Trust::Untrusted => peer.address(),
        };
        let query = inquiry.url.query().map(str::to_owned);
        let method = inquiry.method.clone();
        Ok(Self { method, host, path, path_as_written, query, headers, client, peer: peer.address() })
    }

    pub(super) fn view(&self) -> RequestView<'_> {
        RequestView {
            host: Some(&self.host),
            path: &self.path,
            query: self.query.as_deref(),
            method: &self.method,
            headers: &self.headers,
        }
    }
}

/// As the connection and `proxy/admit` do.
fn check_limits(inquiry: &Inquiry, headers: &HeaderMap, limits: &Limits) -> Result<(), QuestionError> {
    let count = limits.header_count_max.get();
    if headers.len() > count as usize {
        return Err(QuestionError::Fields(count));
    }
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let line = inquiry.method.as_str().len() + inquiry.url.to_string().len() + " HTTP/1.1\r\n\r\n".len() + 1;
    let bytes = u64::from(limits.header_bytes_max);
    if (fields + line) as u64 > bytes {
        return Err(QuestionError::Head(bytes));
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let max = limits.body_bytes_max.get();
    if declared.is_some_and(|length| length > max) { Err(QuestionError::Body(max)) } else { Ok(()) }
}

fn host_field(url: &Uri) -> Result<HeaderValue, HostError> {
    match url.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).map_err(|_| HostError::Malformed),
        None => Ok(HeaderValue::from_static("localhost")),
    }
}
