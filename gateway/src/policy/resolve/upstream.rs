//! `upstreams`: groups of endpoints.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::super::raw::{self, Field};
use super::super::report::{Problem, quoted};
use super::super::upstream::{
    CONNECT_TIMEOUT, Endpoint, HostHeader, IDLE_CONNECTIONS, IDLE_TIMEOUT, Protocol, REFUSED_PAUSE,
    RESPONSE_TIMEOUT, Upstream,
};
use super::host::is_dns_name;
use super::limits::{TIMEOUT_MAX, TIMEOUT_MIN};
use super::names::Names;
use super::place::Place;
use super::scalar::{check_name, count, duration, show_duration};

const UPSTREAMS_MAX: usize = 10_000;
const ENDPOINTS_MAX: usize = 1_000;

/// All upstreams by name. `total` is the total timeout, which no response should outlast.
pub(super) fn resolve<'r>(
    section: Place<'_>,
    field: &'r Field<raw::Entries<raw::Upstream>>,
    total: Option<Duration>,
) -> Names<'r, Upstream> {
    let mut upstreams = Names::new("upstreams");
    for (name, upstream) in section.entries(field, UPSTREAMS_MAX) {
        let place = section.key(name);
        check_name(place, name);
        upstreams.add(name, resolve_one(place, name, upstream, total).map(Arc::new));
    }
    for name in refused(field) {
        upstreams.add(name, None);
    }
    upstreams
}

/// Warns of options for HTTP on upstreams that only TCP services use.
pub(super) fn warn_of_http_options(
    section: Place<'_>,
    field: &Field<raw::Entries<raw::Upstream>>,
    upstreams: &Names<'_, Upstream>,
) {
    for (name, raw) in section.entries(field, UPSTREAMS_MAX) {
        if !upstreams.is_for_tcp_alone(name) {
            continue;
        }
        let place = section.key(name);
        let options = [
            ("protocol", raw.protocol.is_absent()),
            ("response_timeout", raw.response_timeout.is_absent()),
            ("idle_timeout", raw.idle_timeout.is_absent()),
            ("idle_connections", raw.idle_connections.is_absent()),
            ("host", raw.host.is_absent()),
        ];
        for (key, _) in options.into_iter().filter(|(_, is_absent)| !is_absent) {
            let problem = Problem::new("no effect: only TCP listeners use this upstream").on_key();
            place.key(key).warn(match key {
                "idle_timeout" => problem.help("set `tcp.idle_timeout` of the listener instead"),
                _ => problem.help("remove it: it is for HTTP"),
            });
        }
    }
}

/// Names whose values are no mapping: reported, but not to be called undefined elsewhere.
pub(super) fn refused<T>(field: &Field<raw::Entries<T>>) -> impl Iterator<Item = &str> {
    let entries = field.given().into_iter().flat_map(|raw::Entries(entries)| entries);
    entries.filter(|(_, value)| value.given().is_none()).map(|(name, _)| name.as_str())
}

fn resolve_one(
    place: Place<'_>,
    name: &str,
    raw: &raw::Upstream,
    total: Option<Duration>,
) -> Option<Upstream> {
    let protocol = resolve_protocol(&raw.protocol);
    let endpoints = resolve_endpoints(place, &raw.endpoints);
    let timeout = |key: &'static str, field: &Field<raw::Duration>, default: Duration| {
        duration(place.key(key), field, default, TIMEOUT_MIN..=TIMEOUT_MAX)
    };
    let connect_timeout = timeout("connect_timeout", &raw.connect_timeout, CONNECT_TIMEOUT);
    let response_timeout = timeout("response_timeout", &raw.response_timeout, RESPONSE_TIMEOUT);
    let idle_timeout = timeout("idle_timeout", &raw.idle_timeout, IDLE_TIMEOUT);
    let idle_connections =
        count(place.key("idle_connections"), &raw.idle_connections, IDLE_CONNECTIONS, 1..=10_000);
    let refused_pause = timeout("refused_pause", &raw.refused_pause, REFUSED_PAUSE);
    let host = resolve_host(place.key("host"), &raw.host);
    if protocol == Some(Protocol::Redis) && !raw.host.is_absent() {
        place.key("host").error(Problem::new("Redis has no Host").help("remove it").on_key());
    }
    if let (Field::Given(_), Some(response), Some(total)) = (&raw.response_timeout, response_timeout, total)
        && response > total
    {
        let problem = Problem::new("never reached: `limits.total_timeout` ends the request before");
        let total = format!("at most {}", show_duration(total));
        place.key("response_timeout").warn(problem.expected(total).found(show_duration(response)));
    }
    Some(Upstream {
        name: name.into(),
        protocol: protocol?,
        endpoints: endpoints?,
        connect_timeout: connect_timeout?,
        response_timeout: response_timeout?,
        idle_timeout: idle_timeout?,
        idle_connections_max: idle_connections?,
        refused_pause: refused_pause?,
        host: host?,
    })
}

fn resolve_protocol(field: &Field<raw::Protocol>) -> Option<Protocol> {
    match field.given() {
        None => field.is_absent().then_some(Protocol::Http1),
        Some(raw::Protocol::Http1) => Some(Protocol::Http1),
        Some(raw::Protocol::Http2) => Some(Protocol::Http2),
        Some(raw::Protocol::Redis) => Some(Protocol::Redis),
    }
}

fn resolve_endpoints(place: Place<'_>, field: &Field<Vec<Field<String>>>) -> Option<Vec<Endpoint>> {
    let written = place.required(field, "endpoints", "a list such as `[10.0.0.5:80]`")?;
    let section = place.key("endpoints");
    if written.is_empty() {
        section.error(Problem::new("no endpoint").expected("at least one"));
    }
    let texts = section.list(field, ENDPOINTS_MAX);
    Some(texts.into_iter().filter_map(|(index, text)| endpoint(section.index(index), text)).collect())
}

/// `host:port`, where an IPv6 address stands in brackets.
pub(super) fn endpoint(place: Place<'_>, text: &str) -> Option<Endpoint> {
    let parsed = parse_endpoint(text);
    if parsed.is_none() {
        let problem = Problem::new("not an endpoint")
            .expected("a name or an IP address, and a port from 1 to 65535, such as `app.internal:8080`")
            .found(quoted(text));
        place.error(match text.split_once("://") {
            Some((_, rest)) => problem.did_you_mean(Some(rest.trim_end_matches('/'))),
            None => problem,
        });
    }
    parsed
}

fn parse_endpoint(text: &str) -> Option<Endpoint> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(|address| address.to_string())?,
        None if host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) => return None,
        None if host.parse::<IpAddr>().is_ok() || is_dns_name(host) => host.to_ascii_lowercase(),
        None => return None,
    };
    Some(Endpoint { host: host.into(), port })
}

fn resolve_host(place: Place<'_>, field: &Field<raw::HostHeader>) -> Option<HostHeader> {
    let Field::Given(host) = field else { return field.is_absent().then_some(HostHeader::Client) };
    match host {
        raw::HostHeader::Client => Some(HostHeader::Client),
        raw::HostHeader::Endpoint => Some(HostHeader::Endpoint),
        raw::HostHeader::Fixed(text) => {
            let (name, port) = text.rsplit_once(':').map_or((text.as_str(), None), |(n, p)| (n, Some(p)));
            let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
            if port_fits && is_dns_name(name) {
                return Some(HostHeader::Fixed(text.to_ascii_lowercase().into()));
            }
            let expected = "a host name, with or without a port, such as `app.example.com`";
            place.key("fixed").error(Problem::new("not a host").expected(expected).found(quoted(text)));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_endpoints() {
        let read = |text| parse_endpoint(text).map(|e| (e.host.to_string(), e.port));
        assert_eq!(read("127.0.0.1:80"), Some(("127.0.0.1".into(), 80)));
        assert_eq!(read("App.internal:8080"), Some(("app.internal".into(), 8080)));
        assert_eq!(read("[::1]:80"), Some(("::1".into(), 80)));
        for wrong in ["::1:80", "app", "app:0", "app:x", ":80", "[1.2.3.4]:80", "a b:80", "http://app:80"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
