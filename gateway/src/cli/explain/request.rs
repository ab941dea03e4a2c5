//! The request in question, as the gateway would see it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use ipnet::IpNet;

use super::Args;
use crate::http::forwarded::{Peer, Trust, client_address};
use crate::http::host::{self, HostError};
use crate::http::path::{self, PathError};
use crate::route::RequestView;

/// A header field of the command line.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Field(HeaderName, HeaderValue);

/// Why a command line makes no header field.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum FieldError {
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
pub(in crate::cli) enum QuestionError {
    /// Its authority.
    #[error("the gateway would answer 400: {0}")]
    Host(#[from] HostError),
    /// Its path.
    #[error("the gateway would answer 400: {0}")]
    Path(#[from] PathError),
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
    pub(super) fn new(args: &Args, trusted: &[IpNet]) -> Result<Self, QuestionError> {
        let mut headers = HeaderMap::new();
        for Field(name, value) in &args.headers {
            headers.append(name.clone(), value.clone());
        }
        if !headers.contains_key(HOST) {
            headers.insert(HOST, host_field(&args.url)?);
        }
        let host = host::of_request(Version::HTTP_11, &args.url, &headers)?;
        let host = host.ok_or(HostError::Missing)?.name.into_owned();
        let written = if args.url.path().is_empty() { "/" } else { args.url.path() };
        let (path, path_as_written) = match path::normalise(written)? {
            Cow::Borrowed(path) => (path.to_owned(), None),
            Cow::Owned(path) => (path, Some(written.to_owned())),
        };
        let peer = Peer::new(args.from);
        let client = match peer.trust(trusted) {
            Trust::Trusted => client_address(peer.address(), &headers, trusted),
            Trust::Untrusted => peer.address(),
        };
        let query = args.url.query().map(str::to_owned);
        let method = args.method.clone();
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

fn host_field(url: &Uri) -> Result<HeaderValue, HostError> {
    match url.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).map_err(|_| HostError::Malformed),
        None => Ok(HeaderValue::from_static("localhost")),
    }
}
