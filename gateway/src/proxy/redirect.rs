//! Redirects.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{HOST, LOCATION};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};

use super::forward::rewritten;
use crate::filter::{Exchange, Reply};
use crate::policy::route::{PathPattern, Redirect, RedirectPath, Route};

/// The answer that sends the client elsewhere; what the redirect does not name is the request's own.
pub(super) fn reply(exchange: &Exchange, route: &Route, redirect: &Redirect) -> Reply {
    let location = location(exchange, route, redirect);
    let mut headers = HeaderMap::with_capacity(2);
    if let Ok(value) = HeaderValue::try_from(location) {
        headers.insert(LOCATION, value);
    }
    Reply { status: redirect.status, headers, body: Bytes::new(), reason: String::new() }
}

fn location(exchange: &Exchange, route: &Route, redirect: &Redirect) -> String {
    let head = exchange.request();
    let asked = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let target = target(&head.target, route, redirect);
    let host = redirect.host.as_deref().unwrap_or_else(|| without_port(asked));
    let is_elsewhere = redirect.scheme.is_some() || redirect.host.is_some() || redirect.port.is_some();
    let mut location = String::new();
    // Without a Host, as HTTP/1.0 allows, there is nothing to name but the path.
    if is_elsewhere && !host.is_empty() {
        let scheme = redirect.scheme.as_deref().unwrap_or("http");
        // Writing to a string cannot fail.
        let _ = write!(location, "{scheme}://{host}");
        if let Some(port) = redirect.port {
            let _ = write!(location, ":{port}");
        }
    }
    location.push_str(&target);
    location
}

fn target(target: &PathAndQuery, route: &Route, redirect: &Redirect) -> String {
    let query = |path: &str| match target.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    match (&redirect.path, &route.matches.path) {
        (Some(RedirectPath::Full(path)), _) => query(path),
        (Some(RedirectPath::Prefix(replacement)), PathPattern::Prefix(prefix)) => {
            rewritten(target, prefix, replacement)
                .map_or_else(|| target.to_string(), |target| target.to_string())
        }
        _ => target.as_str().to_owned(),
    }
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host[at..].contains(']') => &host[..at],
        _ => host,
    }
}
