//! Routes: which requests go where, through which filters.

use std::num::NonZeroU16;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::filter::Filter;
use super::upstream::Upstream;

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name, unique; a metric label and log field.
    pub name: Arc<str>,
    /// Which requests it takes.
    pub matches: Match,
    /// Filters in the order of the request; a response passes them in reverse.
    pub filters: Vec<Arc<Filter>>,
    /// What becomes of a request that every filter let pass.
    pub action: Action,
}

/// What a request must look like. All parts must hold; an absent part holds for all.
#[derive(Debug, Clone)]
pub struct Match {
    /// Host names, any of them; empty means every host.
    pub hosts: Vec<HostPattern>,
    /// The path, after normalisation (`http::path`).
    pub path: PathPattern,
    /// Methods, any of them; empty means every method.
    pub methods: Vec<Method>,
    /// Header conditions, all of them.
    pub headers: Vec<HeaderMatch>,
    /// Query conditions, all of them.
    pub query: Vec<QueryMatch>,
}

/// A host pattern, lower-case, without port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `api.example.com`
    Exact(Arc<str>),
    /// `*.example.com`: one or more labels before the suffix. Holds `.example.com`.
    Suffix(Arc<str>),
}

/// A path pattern.
#[derive(Debug, Clone)]
pub enum PathPattern {
    /// The whole path.
    Exact(Arc<str>),
    /// By whole segments: `/api` takes `/api` and `/api/x`, not `/apis`. `/` takes all.
    /// Held without a trailing slash, except `/` itself.
    Prefix(Arc<str>),
    /// Matches the whole path (anchored at both ends).
    Regex(regex::Regex),
}

/// A condition on a header; with several values of the name, one of them must hold.
#[derive(Debug, Clone)]
pub struct HeaderMatch {
    /// Which header.
    pub name: HeaderName,
    /// What must hold of it.
    pub value: ValueMatch,
}

/// A condition on a query parameter (percent-decoded); with several of the name, one must hold.
#[derive(Debug, Clone)]
pub struct QueryMatch {
    /// Which parameter.
    pub name: Arc<str>,
    /// What must hold of it.
    pub value: ValueMatch,
}

/// What must hold of a value.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// It is this.
    Exact(Arc<str>),
    /// The whole of it matches.
    Regex(regex::Regex),
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// It is sent to an upstream.
    Forward {
        /// Where to.
        upstream: Arc<Upstream>,
        /// Replaces the matched prefix of the path, if set. Only with a prefix pattern.
        rewrite_prefix: Option<Arc<str>>,
    },
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// It is answered here.
    Respond(DirectResponse),
}

/// A redirect; parts that are not set are the request's own.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308. Default 308.
    pub status: StatusCode,
    /// `http` or `https`.
    pub scheme: Option<Arc<str>>,
    /// Host without port.
    pub host: Option<Arc<str>>,
    /// Port.
    pub port: Option<NonZeroU16>,
    /// Whole path, or a replacement of the matched prefix.
    pub path: Option<RedirectPath>,
}

/// The path that a redirect names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectPath {
    /// This path; the query is kept.
    Full(Arc<str>),
    /// The matched prefix is replaced; the query is kept. Only with a prefix pattern.
    Prefix(Arc<str>),
}

/// An answer written in the policy.
#[derive(Debug, Clone)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: StatusCode,
    /// Header fields, framing headers refused.
    pub headers: HeaderMap<HeaderValue>,
    /// The body, at most 64 KiB.
    pub body: bytes::Bytes,
}
