//! Settings that are right one by one and make no sense together. Nothing here is an error: it would work,
//! but hardly as it was meant.
//!
//! To be called for a policy without errors, so that lists and their raw forms have the same entries.

use std::collections::HashMap;
use std::net::IpAddr;

use regex_syntax::hir::{Dot, Hir, HirKind};

use super::super::Policy;
use super::super::bodies::BodyMode;
use super::super::facts::as_written;
use super::super::filter::{FilterKind, WasmFilter};
use super::super::raw;
use super::super::report::{Problem, quoted};
use super::super::route::{HostPattern, Match, PathPattern, ValueMatch};
use super::place::Place;
use super::scalar::{show_duration, show_size};

/// Host functions that call what `allow.upstreams` and `allow.hosts` list.
const CALLS: [&str; 4] = ["proxy_http_call", "proxy_grpc_call", "proxy_grpc_stream", "proxy_redis_call"];

/// Warns of all that this page knows.
pub(super) fn warn(root: Place<'_>, raw: &raw::Policy, policy: &Policy) {
    timeouts(root, raw, policy);
    filters(root.key("filters"), raw, policy);
    routes(root.key("routes"), policy);
    believed_by_all(root.key("trusted_proxies"), policy);
}

/// Connecting may not take longer than the whole. (For responses see `upstream`.)
fn timeouts(root: Place<'_>, raw: &raw::Policy, policy: &Policy) {
    let Some(total) = policy.limits.total_timeout else { return };
    let section = root.key("upstreams");
    let written: HashMap<_, _> = section.entries(&raw.upstreams, usize::MAX).into_iter().collect();
    for upstream in &policy.upstreams {
        let is_written = written.get(&*upstream.name).is_some_and(|raw| !raw.connect_timeout.is_absent());
        if is_written && upstream.connect_timeout > total {
            let problem = Problem::new("never reached: `limits.total_timeout` ends the request before");
            let problem = problem.expected(format!("at most {}", show_duration(total)));
            let place = section.key(&upstream.name);
            place.key("connect_timeout").warn(problem.found(show_duration(upstream.connect_timeout)));
        }
    }
}

fn filters(section: Place<'_>, raw: &raw::Policy, policy: &Policy) {
    let written: HashMap<_, _> = section.entries(&raw.filters, usize::MAX).into_iter().collect();
    for filter in &policy.filters {
        let Some(raw) = written.get(&*filter.name) else { continue };
        let place = section.key(&filter.name);
        let kinds =
            [("wasm", raw.wasm.given()), ("lua", raw.lua.given()), ("starlark", raw.starlark.given())];
        for (kind, raw) in kinds {
            if let (Some(raw), FilterKind::Wasm(wasm)) = (raw, &filter.kind) {
                guest(place.key(kind), raw, wasm, policy);
            }
        }
    }
}

fn guest(place: Place<'_>, raw: &raw::WasmFilter, wasm: &WasmFilter, policy: &Policy) {
    let has_timeout = raw.calls.given().is_some_and(|calls| !calls.timeout.is_absent());
    if let Some(total) = policy.limits.total_timeout
        && has_timeout
        && wasm.calls.timeout > total
    {
        let problem = Problem::new("no request waits so long: `limits.total_timeout` ends it before");
        let problem = problem.expected(format!("at most {}", show_duration(total)));
        place.key("calls").key("timeout").warn(problem.found(show_duration(wasm.calls.timeout)));
    }
    if let BodyMode::Buffer(size) | BodyMode::Peek(size) = wasm.bodies.request
        && !raw.request_body.is_absent()
        && u64::from(size.get()) > policy.limits.body_bytes_max.get()
    {
        let most = show_size(policy.limits.body_bytes_max.get());
        let problem = Problem::new("no request body is so long: `limits.body_bytes` refuses it before");
        let problem = problem.expected(format!("at most {most}")).found(show_size(size.get().into()));
        place.key("request_body").warn(problem);
    }
    let lists_servers = !wasm.allow.upstreams.is_empty() || !wasm.allow.hosts.is_empty();
    if lists_servers && !CALLS.iter().any(|function| wasm.allow.functions.allow(function)) {
        let problem = Problem::new("servers are listed, and no function that calls them is allowed");
        let help = "add `http_call`, `grpc` or `redis`, or remove `upstreams` and `hosts`";
        place.key("allow").key("functions").warn(problem.help(help).on_key());
    }
}

/// Who may send from anywhere can claim to be anyone.
fn believed_by_all(section: Place<'_>, policy: &Policy) {
    for (index, network) in policy.trusted_proxies.iter().enumerate() {
        if network.prefix_len() == 0 {
            let everyone = match network.addr() {
                IpAddr::V4(_) => "every IPv4 address",
                IpAddr::V6(_) => "every IPv6 address",
            };
            let problem = Problem::new(format!("{everyone} is believed to be a proxy"));
            let help = "any client can then choose the address that filters and rate limits see";
            section.index(index).warn(problem.help(help));
        }
    }
}

fn routes(section: Place<'_>, policy: &Policy) {
    let takers = Takers::of(policy);
    for (index, route) in policy.routes.iter().enumerate() {
        let place = section.index(index);
        let matches = &route.matches;
        let headers = matches.headers.iter().map(|header| (header.name.as_str(), &header.value));
        contradiction(place.key("match").key("headers"), "header", headers);
        let query = matches.query.iter().map(|query| (&*query.name, &query.value));
        contradiction(place.key("match").key("query"), "query parameter", query);
        if let Some(taker) = takers.all_of(matches) {
            let see =
                place.report.place(&section.index(taker).key("match").at, "the route that takes it all");
            let problem = Problem::new("the route can never win: a regex takes all that it matches");
            let help = "regexes come before prefixes: narrow the regex, or make it a prefix";
            place.key("match").warn(problem.help(help).see(see).on_key());
        }
    }
}

/// A value that must be there and must not.
fn contradiction<'m>(
    place: Place<'_>,
    what: &str,
    conditions: impl Iterator<Item = (&'m str, &'m ValueMatch)> + Clone,
) {
    let absent = conditions.clone().filter(|(_, value)| matches!(value, ValueMatch::Absent));
    for (name, _) in absent {
        if conditions.clone().any(|(other, value)| other == name && !matches!(value, ValueMatch::Absent)) {
            let problem = Problem::new(format!(
                "no request matches: the {what} {} must be absent and there",
                quoted(name)
            ));
            place.warn(problem.help("remove one of the conditions").on_key());
            return;
        }
    }
}

/// Routes whose regex takes every path with some beginning, whatever else the request is: they win over
/// every prefix below it. By host pattern; the index of the route and the beginning.
#[derive(Default)]
struct Takers<'p>(HashMap<Option<&'p HostPattern>, Vec<(usize, String)>>);

impl<'p> Takers<'p> {
    fn of(policy: &'p Policy) -> Self {
        let mut takers = Self::default();
        for (index, route) in policy.routes.iter().enumerate() {
            let Match { hosts, path: PathPattern::Regex(regex), methods, headers, query } = &route.matches
            else {
                continue;
            };
            if !methods.is_empty() || !headers.is_empty() || !query.is_empty() {
                continue;
            }
            let Some(beginning) = beginning(as_written(regex)) else { continue };
            for host in each(hosts) {
                takers.0.entry(host).or_default().push((index, beginning.clone()));
            }
        }
        takers
    }

    /// The route that takes all that `matches` does, for each of its hosts.
    fn all_of(&self, matches: &Match) -> Option<usize> {
        let PathPattern::Prefix(prefix) = &matches.path else { return None };
        let taker = |host: Option<&HostPattern>| {
            let takers = self.0.get(&host)?;
            takers
                .iter()
                .find(|(_, beginning)| prefix.starts_with(beginning.as_str()))
                .map(|(index, _)| *index)
        };
        let takers: Option<Vec<usize>> = each(&matches.hosts).map(taker).collect();
        takers?.first().copied()
    }
}

fn each(hosts: &[HostPattern]) -> impl Iterator<Item = Option<&HostPattern>> {
    let every = hosts.is_empty().then_some(None);
    every.into_iter().chain(hosts.iter().map(Some))
}

/// For a regex such as `/api/.*`, which takes all that begins so: `/api/`.
fn beginning(regex: &str) -> Option<String> {
    let hir = regex_syntax::parse(regex).ok()?;
    let text = |hir: &Hir| match hir.kind() {
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok(),
        _ => None,
    };
    let takes_anything = |hir: &Hir| {
        let HirKind::Repetition(repetition) = hir.kind() else { return false };
        let any = [Hir::dot(Dot::AnyCharExceptLF), Hir::dot(Dot::AnyChar)];
        repetition.min == 0 && repetition.max.is_none() && any.contains(&repetition.sub)
    };
    match hir.kind() {
        HirKind::Concat(parts) => match parts.as_slice() {
            [literal, rest] if takes_anything(rest) => text(literal),
            _ => None,
        },
        _ => takes_anything(&hir).then(String::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regexes_that_take_all_below_a_beginning_count() {
        let table = [
            ("/.*", Some("/")),
            (".*", Some("")),
            ("/api/.*", Some("/api/")),
            ("(?:/a.b)*", None),
            ("/api/.+", None),
            ("/api/[a-z]*", None),
            ("/(a|b).*", None),
            ("/v[0-9]+/.*", None),
        ];
        for (regex, expected) in table {
            assert_eq!(beginning(regex).as_deref(), expected, "{regex}");
        }
    }
}
