//! `forward`, `redirect` and `respond`: what becomes of a request.

use std::num::NonZeroU16;
use std::sync::Arc;

use http::StatusCode;

use super::super::raw::{self, Field};
use super::super::report::{Problem, quoted};
use super::super::route::{Action, DirectResponse, HostPattern, Match, PathPattern, Redirect, RedirectPath};
use super::super::upstream::{Protocol, Upstream};
use super::headers::resolve_fields;
use super::host::is_dns_name;
use super::names::Names;
use super::pattern::{check_path, prefix};
use super::place::Place;

const BODY_MAX: usize = 64 << 10;

/// The one action of a route. `matches` is what the route takes, if that is right.
pub(super) fn resolve(
    route: Place<'_>,
    raw: &raw::Route,
    matches: Option<&Match>,
    upstreams: &Names<'_, Upstream>,
) -> Option<Action> {
    let keys = [
        ("forward", raw.forward.is_absent()),
        ("redirect", raw.redirect.is_absent()),
        ("respond", raw.respond.is_absent()),
    ];
    let place = route.key(route.exactly_one(&keys)?);
    match (raw.forward.given(), raw.redirect.given(), raw.respond.given()) {
        (Some(forward), ..) => resolve_forward(place, forward, matches, upstreams),
        (_, Some(redirect), _) => resolve_redirect(place, redirect, matches).map(Action::Redirect),
        (.., Some(respond)) => resolve_response(place, respond).map(Action::Respond),
        _ => None,
    }
}

fn resolve_forward(
    place: Place<'_>,
    raw: &raw::Forward,
    matches: Option<&Match>,
    upstreams: &Names<'_, Upstream>,
) -> Option<Action> {
    let name = place.required(&raw.upstream, "upstream", "the name of an upstream");
    let upstream = name.and_then(|name| upstreams.find(place.key("upstream"), name));
    let upstream = upstream.filter(|upstream| is_http(place.key("upstream"), upstream));
    let rewrite_prefix = replacement(place.key("rewrite_prefix"), &raw.rewrite_prefix, matches);
    Some(Action::Forward { upstream: upstream?, rewrite_prefix })
}

/// A route sends HTTP.
fn is_http(place: Place<'_>, upstream: &Upstream) -> bool {
    let is_http = match upstream.protocol {
        Protocol::Http1 | Protocol::Http2 => true,
        Protocol::Redis => false,
    };
    if !is_http {
        let problem = Problem::new(format!("{} speaks Redis", quoted(&upstream.name)));
        let help = "requests are HTTP; filters call Redis, see `filters.NAME.wasm.allow.upstreams`";
        place.error(problem.expected("an upstream of `protocol: http1` or `http2`").help(help));
    }
    is_http
}

/// What replaces the matched prefix, which needs a prefix to replace.
fn replacement(place: Place<'_>, field: &Field<String>, matches: Option<&Match>) -> Option<Arc<str>> {
    let replacement = prefix(place, field.given()?)?;
    if matches.is_some_and(|matches| !matches!(matches.path, PathPattern::Prefix(_))) {
        let problem =
            Problem::new("there is no prefix to replace").expected("`match.path.prefix` in this route");
        place.error(problem.on_key());
    }
    Some(replacement)
}

fn resolve_redirect(place: Place<'_>, raw: &raw::Redirect, matches: Option<&Match>) -> Option<Redirect> {
    let status = status(place.key("status"), &raw.status, 308, |s| matches!(s, 301 | 302 | 303 | 307 | 308));
    let own_authority = raw.scheme.is_absent() && raw.host.is_absent() && raw.port.is_absent();
    let own_path = raw.path.is_absent() && raw.prefix.is_absent();
    if own_authority && own_path {
        let expected = "`scheme`, `host`, `port`, `path` or `prefix`";
        place.error(Problem::new("a redirect to the request's own address").expected(expected));
    }
    if !raw.path.is_absent() && !raw.prefix.is_absent() {
        let problem = Problem::new("`prefix` beside `path`").help("remove one of them").on_key();
        place.key("prefix").error(problem);
    }
    let full = raw.path.given().filter(|path| check_path(place.key("path"), path));
    let prefix = replacement(place.key("prefix"), &raw.prefix, matches).map(RedirectPath::Prefix);
    let redirect = Redirect {
        status: status?,
        scheme: scheme(place.key("scheme"), &raw.scheme),
        host: redirect_host(place.key("host"), &raw.host),
        port: port(place.key("port"), &raw.port),
        path: full.map(|path| RedirectPath::Full(path.as_str().into())).or(prefix),
    };
    let right = own_path == redirect.path.is_none() && !(own_authority && own_path);
    if right && own_origin(raw, matches) && matches.is_some_and(|matches| loops(&redirect, matches)) {
        let problem = Problem::new("the redirect leads to its own route again");
        place.warn(problem.help("take its target out of the route's match, or redirect elsewhere").on_key());
    }
    Some(redirect)
}

fn status(
    place: Place<'_>,
    field: &Field<u64>,
    default: u16,
    allowed: impl Fn(u16) -> bool,
) -> Option<StatusCode> {
    let number = match field {
        Field::Absent => return StatusCode::from_u16(default).ok(),
        Field::Refused => return None,
        Field::Given(number) => number,
    };
    let status = u16::try_from(*number).ok().filter(|number| allowed(*number));
    if status.is_none() {
        let expected = if default == 308 { "301, 302, 303, 307 or 308" } else { "a status from 200 to 599" };
        place.error(Problem::new("not a status for this").expected(expected).found(number.to_string()));
    }
    StatusCode::from_u16(status?).ok()
}

fn scheme(place: Place<'_>, field: &Field<String>) -> Option<Arc<str>> {
    let text = field.given()?;
    if !matches!(text.as_str(), "http" | "https") {
        let problem = Problem::new("not a scheme").expected("`http` or `https`").found(quoted(text));
        place.error(problem);
    }
    Some(text.as_str().into())
}

fn redirect_host(place: Place<'_>, field: &Field<String>) -> Option<Arc<str>> {
    let text = field.given()?;
    if !is_dns_name(text) {
        let problem = Problem::new("not a host name").expected("a name such as `www.example.com`");
        let problem = problem.found(quoted(text));
        place.error(match text.rsplit_once(':') {
            Some((host, port)) if is_dns_name(host) => {
                problem.help(format!("write `host: {host}` and `port: {}`", port.escape_debug()))
            }
            _ => problem,
        });
    }
    Some(text.to_ascii_lowercase().into())
}

fn port(place: Place<'_>, field: &Field<u64>) -> Option<NonZeroU16> {
    let number = field.given()?;
    let port = u16::try_from(*number).ok().and_then(NonZeroU16::new);
    if port.is_none() {
        place.error(Problem::new("not a port").expected("from 1 to 65535").found(number.to_string()));
    }
    port
}

/// Whether the target has the scheme, host and port that the request had.
fn own_origin(raw: &raw::Redirect, matches: Option<&Match>) -> bool {
    let own_host = match (raw.host.given(), matches.map(|matches| matches.hosts.as_slice())) {
        (Some(host), Some([HostPattern::Exact(own)])) => own.eq_ignore_ascii_case(host),
        _ => raw.host.is_absent(),
    };
    own_host && raw.scheme.is_absent() && raw.port.is_absent()
}

/// Whether the target's path is one that the route takes, as far as can be told without a request.
fn loops(redirect: &Redirect, matches: &Match) -> bool {
    match (&redirect.path, &matches.path) {
        (Some(RedirectPath::Full(path)), PathPattern::Exact(own)) => path == own,
        (Some(RedirectPath::Full(path)), PathPattern::Prefix(own)) => is_below(path, own),
        (Some(RedirectPath::Full(path)), PathPattern::Regex(own)) => own.is_match(path),
        (Some(RedirectPath::Prefix(path)), PathPattern::Prefix(own)) => is_below(path, own),
        (Some(RedirectPath::Prefix(_)), _) => false,
        (None, _) => true,
    }
}

fn is_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn resolve_response(place: Place<'_>, raw: &raw::Respond) -> Option<DirectResponse> {
    place.required(&raw.status, "status", "a status from 200 to 599");
    let status = status(place.key("status"), &raw.status, 200, |s| (200..=599).contains(&s));
    let headers = resolve_fields(place.key("headers"), &raw.headers);
    let body = raw.body.given().map_or("", String::as_str);
    if body.len() > BODY_MAX {
        let problem = Problem::new("too long").expected(format!("at most {BODY_MAX} bytes"));
        place.key("body").error(problem.found(body.len().to_string()));
    }
    let status = status?;
    if !body.is_empty() && matches!(status.as_u16(), 204 | 205 | 304) {
        let problem = Problem::new(format!("an answer with status {} has no body", status.as_u16()));
        place.key("body").error(problem.help("remove the body, or choose another status").on_key());
    }
    Some(DirectResponse { status, headers, body: bytes::Bytes::copy_from_slice(body.as_bytes()) })
}
