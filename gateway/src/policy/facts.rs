//! Every setting of a policy as a name and a text, for people to read and to compare.
//!
//! What may hold a secret (configuration, environment, header values, bodies) is told by its length
//! and the beginning of its SHA-256 only, so that a change shows and the value does not.
//!
//! Each structure is taken apart by name without `..`: a new setting cannot be forgotten here.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use tollgate_proxy_wasm::Capabilities;

use super::bodies::{BodyMode, BodyModes};
use super::fault::{Circuit, OnFailure, Role};
use super::filter::{
    Allow, CallLimits, Filter, FilterKind, HeaderEdit, HeaderEdits, Period, RateLimit, RateLimitKey,
    WasmFilter,
};
use super::limits::Limits;
use super::listener::{Listener, Service, TcpService};
use super::rollout::{Margins, Rollout, RolloutKey, Share};
use super::route::{
    Action, DirectResponse, HostPattern, Match, PathPattern, Redirect, RedirectPath, Route, ValueMatch,
};
use super::upstream::{Endpoint, HostHeader, Protocol, Upstream};

/// A setting's name and what it is set to. Equal texts mean equal settings.
pub type Fact = (&'static str, String);

/// What is set for all.
pub fn of_limits(limits: &Limits) -> Vec<Fact> {
    let Limits {
        header_bytes_max,
        header_count_max,
        body_bytes_max,
        buffer_bytes_max,
        connections_max,
        header_read_timeout,
        idle_timeout,
        total_timeout,
        drain_timeout,
    } = limits;
    vec![
        ("header_bytes", bytes((*header_bytes_max).into())),
        ("header_count", header_count_max.to_string()),
        ("body_bytes", bytes(body_bytes_max.get())),
        ("buffer_bytes", bytes(buffer_bytes_max.get())),
        ("connections", connections_max.to_string()),
        ("header_read_timeout", format!("{header_read_timeout:?}")),
        ("idle_timeout", format!("{idle_timeout:?}")),
        ("total_timeout", total_timeout.map_or("none".to_owned(), |timeout| format!("{timeout:?}"))),
        ("drain_timeout", format!("{drain_timeout:?}")),
    ]
}

/// How the policy comes into force, if not at once.
pub fn of_rollout(rollout: &Rollout) -> Fact {
    let Rollout { steps, key, margins, minimum_requests } = rollout;
    let steps: Vec<_> = steps.iter().map(|step| format!("{} for {:?}", step.share, step.time)).collect();
    let key = match key {
        RolloutKey::ClientAddress => "client address".to_owned(),
        RolloutKey::Header(name) => format!("header {name}"),
        RolloutKey::Cookie(name) => format!("cookie {name}"),
    };
    let Margins { errors, traps, denials, latency } = margins;
    let shown = |share: &Option<Share>| share.map_or_else(|| "none".to_owned(), |share| share.to_string());
    let margins =
        [("errors", shown(errors)), ("traps", shown(traps)), ("denials", shown(denials))].map(joined);
    let latency = latency.map_or_else(|| "none".to_owned(), |latency| format!("{latency:?}"));
    let text = format!(
        "{} of {minimum_requests} requests each, by {key}; margins {}, latency {latency}",
        steps.join(", "),
        margins.join(", ")
    );
    ("rollout", text)
}

fn joined((name, value): (&str, String)) -> String {
    format!("{name} {value}")
}

/// What is set for an upstream.
pub fn of_upstream(upstream: &Upstream) -> Vec<Fact> {
    let Upstream {
        name: _,
        protocol,
        endpoints,
        connect_timeout,
        response_timeout,
        idle_timeout,
        idle_connections_max,
        refused_pause,
        host,
    } = upstream;
    let host = match host {
        HostHeader::Client => "client".to_owned(),
        HostHeader::Endpoint => "endpoint".to_owned(),
        HostHeader::Fixed(name) => name.to_string(),
    };
    let protocol = match protocol {
        Protocol::Http1 => "http1",
        Protocol::Http2 => "http2",
        Protocol::Redis => "redis",
    };
    vec![
        ("protocol", protocol.to_owned()),
        ("endpoints", of_endpoints(endpoints)),
        ("connect_timeout", format!("{connect_timeout:?}")),
        ("response_timeout", format!("{response_timeout:?}")),
        ("idle_timeout", format!("{idle_timeout:?}")),
        ("idle_connections", idle_connections_max.to_string()),
        ("refused_pause", format!("{refused_pause:?}")),
        ("host", host),
    ]
}

/// The kind of a filter, as the policy names it.
pub fn kind(filter: &FilterKind) -> &'static str {
    match filter {
        FilterKind::Wasm(_) => "wasm",
        FilterKind::RateLimit(_) => "rate_limit",
        FilterKind::Headers(_) => "headers",
    }
}

/// What is set for a filter.
pub fn of_filter(filter: &Filter) -> Vec<Fact> {
    let mut facts = vec![("kind", kind(&filter.kind).to_owned())];
    match &filter.kind {
        FilterKind::Wasm(wasm) => facts.extend(of_wasm(wasm)),
        FilterKind::RateLimit(limit) => facts.extend(of_rate_limit(limit)),
        FilterKind::Headers(edits) => {
            let HeaderEdits { request, response } = &**edits;
            facts.extend([("request", of_edit(request)), ("response", of_edit(response))]);
        }
    }
    facts
}

fn of_wasm(wasm: &WasmFilter) -> Vec<Fact> {
    let WasmFilter {
        path,
        // What else it was made of shows in the configuration.
        files: _,
        digest,
        code,
        vm_id,
        vm_configuration,
        root_id,
        configuration,
        environment,
        budget,
        start_budget,
        memory_pages_max,
        bodies,
        on_failure,
        allow,
        calls,
        circuit,
        role,
    } = wasm;
    let variables = environment.iter().map(|(name, value)| format!("{name} ({})", sealed(value.as_bytes())));
    let on_failure = match on_failure {
        OnFailure::Closed => "closed",
        OnFailure::Open => "open",
        OnFailure::Shadow => "shadow",
    };
    let BodyModes { request, response } = bodies;
    let Allow { upstreams, hosts, functions } = allow;
    let Circuit { failures, rest, longest_rest } = circuit;
    let role = role.as_ref().map(|Role::Authentication| "authentication".to_owned());
    let CallLimits { at_once, timeout, request_bytes_max, response_bytes_max } = calls;
    vec![
        ("module", path.display().to_string()),
        ("code", format!("{}, sha256 {}", bytes(code.len() as u64), short(digest))),
        ("config", sealed(configuration)),
        ("vm_id", vm_id.to_string()),
        ("vm_config", sealed(vm_configuration)),
        ("root_id", root_id.to_string()),
        ("environment", list(variables)),
        ("budget", format!("{budget:?}")),
        ("start_budget", format!("{start_budget:?}")),
        ("memory", bytes(u64::from(memory_pages_max.get()) << 16)),
        ("request_body", of_body_mode(*request)),
        ("response_body", of_body_mode(*response)),
        ("on_failure", on_failure.to_owned()),
        ("circuit.failures", failures.to_string()),
        ("circuit.rest", format!("{rest:?}")),
        ("circuit.longest_rest", format!("{longest_rest:?}")),
        ("role", role.unwrap_or_else(|| NONE.to_owned())),
        ("allow.upstreams", list(upstreams.iter().map(ToString::to_string))),
        ("allow.hosts", of_endpoints(hosts)),
        ("allow.functions", of_functions(*functions)),
        ("calls.at_once", at_once.to_string()),
        ("calls.timeout", format!("{timeout:?}")),
        ("calls.request_bytes", bytes(*request_bytes_max)),
        ("calls.response_bytes", bytes(*response_bytes_max)),
    ]
}

fn of_functions(functions: Capabilities) -> String {
    match functions {
        Capabilities::ALL => "all".to_owned(),
        some => list(some.shortest_names().map(str::to_owned)),
    }
}

fn of_body_mode(mode: BodyMode) -> String {
    match mode {
        BodyMode::None => NONE.to_owned(),
        BodyMode::Stream => "stream".to_owned(),
        BodyMode::Buffer(size) => format!("buffer {}", bytes(size.get().into())),
        BodyMode::Peek(size) => format!("peek {}", bytes(size.get().into())),
    }
}

fn of_endpoints(endpoints: &[Endpoint]) -> String {
    list(endpoints.iter().map(ToString::to_string))
}

fn of_rate_limit(limit: &RateLimit) -> Vec<Fact> {
    let RateLimit { rate, period, burst, key, keys_max } = limit;
    let period = match period {
        Period::Second => "second",
        Period::Minute => "minute",
        Period::Hour => "hour",
    };
    let key = match key {
        RateLimitKey::ClientAddress => "client_address".to_owned(),
        RateLimitKey::Header(name) => format!("header {name}"),
        RateLimitKey::Route => "route".to_owned(),
        RateLimitKey::Fixed(name) => format!("fixed {name}"),
    };
    vec![
        ("rate", format!("{rate}/{period}")),
        ("burst", burst.to_string()),
        ("key", key),
        ("keys", keys_max.to_string()),
    ]
}

fn of_edit(edit: &HeaderEdit) -> String {
    let HeaderEdit { remove, set, add } = edit;
    let valued = |(name, value): &(HeaderName, HeaderValue)| format!("{name} ({})", sealed(value.as_bytes()));
    let parts = [
        ("remove", list(remove.iter().map(HeaderName::to_string))),
        ("set", list(set.iter().map(valued))),
        ("add", list(add.iter().map(valued))),
    ];
    let told = parts.iter().filter(|(_, names)| names != NONE).map(|(verb, names)| format!("{verb} {names}"));
    list_by("; ", told)
}

/// What is set for a route.
pub fn of_route(route: &Route) -> Vec<Fact> {
    let Route { name: _, matches, filters, action } = route;
    let mut facts = vec![("match", of_match(matches))];
    facts.push(("filters", list(filters.iter().map(|filter| filter.name.to_string()))));
    facts.push(of_action(action));
    facts
}

/// What is set for the TCP service of a listener, and its name; `None` if it serves HTTP.
pub fn of_tcp(listener: &Listener) -> Option<(&str, Vec<Fact>)> {
    let Listener { address, service } = listener;
    let Service::Tcp(service) = service else { return None };
    let TcpService { name, filters, upstream, idle_timeout, connections_max, buffer_bytes_max } = &**service;
    let facts = vec![
        ("address", address.to_string()),
        ("filters", list(filters.iter().map(|filter| filter.name.to_string()))),
        ("forward", upstream.name.to_string()),
        ("idle_timeout", idle_timeout.map_or("none".to_owned(), |timeout| format!("{timeout:?}"))),
        ("connections", connections_max.map_or("no limit".to_owned(), |max| max.to_string())),
        ("buffer_bytes", bytes(u64::try_from(buffer_bytes_max.get()).unwrap_or(u64::MAX))),
    ];
    Some((name, facts))
}

fn of_action(action: &Action) -> Fact {
    match action {
        Action::Forward { upstream, rewrite_prefix: None } => ("forward", upstream.name.to_string()),
        Action::Forward { upstream, rewrite_prefix: Some(prefix) } => {
            ("forward", format!("{} as {prefix}", upstream.name))
        }
        Action::Redirect(Redirect { status, scheme, host, port, path }) => {
            let mut text = status.as_u16().to_string();
            for (name, part) in [("scheme", scheme), ("host", host)] {
                let _ = part.as_ref().map(|part| write!(text, ", {name} {part}"));
            }
            let _ = port.map(|port| write!(text, ", port {port}"));
            match path {
                Some(RedirectPath::Full(path)) => text.push_str(&format!(", path {path}")),
                Some(RedirectPath::Prefix(prefix)) => text.push_str(&format!(", prefix {prefix}")),
                None => {}
            }
            ("redirect", text)
        }
        Action::Respond(DirectResponse { status, headers, body }) => {
            let text = format!("{}, headers {}, body {}", status.as_u16(), of_headers(headers), sealed(body));
            ("respond", text)
        }
    }
}

fn of_headers(headers: &HeaderMap) -> String {
    list(headers.iter().map(|(name, value)| format!("{name} ({})", sealed(value.as_bytes()))))
}

/// What a route asks of a request, in one line: the path first.
pub fn of_match(matches: &Match) -> String {
    let Match { hosts, path, methods, headers, query } = matches;
    let mut parts = vec![of_path(path)];
    if !hosts.is_empty() {
        parts.push(format!("host {}", of_hosts(hosts)));
    }
    if !methods.is_empty() {
        parts.push(list_by(" or ", methods.iter().map(ToString::to_string)));
    }
    parts.extend(headers.iter().map(|header| format!("header {}{}", header.name, of_value(&header.value))));
    parts.extend(query.iter().map(|query| format!("query {}{}", query.name, of_value(&query.value))));
    parts.join(", ")
}

/// Hosts, as the policy writes them.
pub fn of_hosts(hosts: &[HostPattern]) -> String {
    let text = |host: &HostPattern| match host {
        HostPattern::Exact(name) => name.to_string(),
        HostPattern::Suffix(suffix) => format!("*{suffix}"),
    };
    list_by(" or ", hosts.iter().map(text))
}

/// Which paths a pattern takes.
pub fn of_path(pattern: &PathPattern) -> String {
    match pattern {
        PathPattern::Exact(path) => format!("path {path}"),
        PathPattern::Prefix(prefix) if &**prefix == "/" => "every path".to_owned(),
        PathPattern::Prefix(prefix) => format!("paths under {prefix}"),
        PathPattern::Regex(regex) => format!("paths like {}", as_written(regex)),
    }
}

/// A condition on a value, to stand behind a name.
pub fn of_value(condition: &ValueMatch) -> String {
    match condition {
        ValueMatch::Present => " present".to_owned(),
        ValueMatch::Absent => " absent".to_owned(),
        ValueMatch::Exact(text) => format!(" = {text}"),
        ValueMatch::Regex(regex) => format!(" like {}", as_written(regex)),
    }
}

/// Without the anchors that resolving put around it.
pub(super) fn as_written(regex: &regex::Regex) -> &str {
    let text = regex.as_str();
    text.strip_prefix(r"\A(?:").and_then(|text| text.strip_suffix(r")\z")).unwrap_or(text)
}

const NONE: &str = "none";

fn list(items: impl Iterator<Item = String>) -> String {
    list_by(", ", items)
}

fn list_by(separator: &str, items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    if items.is_empty() { NONE.to_owned() } else { items.join(separator) }
}

/// Length and the beginning of the digest.
fn sealed(value: &[u8]) -> String {
    if value.is_empty() {
        return NONE.to_owned();
    }
    format!("{}, sha256 {}", bytes(value.len() as u64), short(&Sha256::digest(value)))
}

fn short(digest: &[u8]) -> String {
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// A size with the largest unit that loses nothing.
fn bytes(count: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(shift, _)| count > 0 && count.trailing_zeros() >= *shift);
    match (unit, count) {
        (Some((shift, unit)), _) => format!("{} {unit}", count >> shift),
        (None, 1) => "1 byte".to_owned(),
        (None, _) => format!("{count} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_lose_nothing() {
        let told = [0, 1, 1000, 1024, 1536, 1 << 20, 3 << 30].map(bytes);
        assert_eq!(told, ["0 bytes", "1 byte", "1000 bytes", "1 KiB", "1536 bytes", "1 MiB", "3 GiB"]);
    }

    #[test]
    fn secrets_are_sealed() {
        let edit = HeaderEdit {
            set: vec![(HeaderName::from_static("authorization"), HeaderValue::from_static("Bearer s3cret"))],
            ..HeaderEdit::default()
        };
        let told = of_edit(&edit);
        assert!(
            told.starts_with("set authorization (13 bytes, sha256 ") && !told.contains("s3cret"),
            "{told}"
        );
    }
}
