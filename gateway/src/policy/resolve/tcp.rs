//! `listeners[].tcp`: TCP services.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::super::compose::Adjuster;
use super::super::fault::OnFailure;
use super::super::filter::{Filter, FilterKind};
use super::super::limits::Limits;
use super::super::listener::{Listener, Service, TcpService};
use super::super::raw::{self, Field, FilterUse};
use super::super::report::{Problem, quoted};
use super::super::upstream::{Protocol, Upstream};
use super::limits::{TIMEOUT_MAX, TIMEOUT_MIN};
use super::listener::{Address, LISTENERS_MAX};
use super::names::Names;
use super::place::Place;
use super::scalar::{check_shown_name, count, duration, size};
use super::sets::Chains;

const FILTERS_MAX: usize = 64;
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
const BUFFER_MAX: u64 = 1 << 30;

/// Services by the index of their listener.
pub(super) type Services = HashMap<usize, Arc<TcpService>>;

/// All TCP services.
pub(super) fn resolve(
    section: Place<'_>,
    raw: &raw::Policy,
    limits: Option<&Limits>,
    upstreams: &Names<'_, Upstream>,
    chains: &Chains<'_>,
) -> Services {
    let mut services = Services::new();
    let mut names: HashMap<Arc<str>, usize> = HashMap::new();
    // What is wrong with the list itself was said when its addresses were read.
    let listeners = raw.listeners.given().into_iter().flatten().take(LISTENERS_MAX).enumerate();
    for (index, listener) in listeners {
        let Some(raw) = listener.given().and_then(|listener| listener.tcp.given()) else { continue };
        let entry = section.index(index);
        let place = entry.key("tcp");
        let name = service_name(place, raw, index);
        if let Some(first) = names.insert(Arc::clone(&name), index) {
            let entry = section.index(first);
            let first = place.report.place(&entry.key("tcp").at, "the first one");
            let problem = Problem::new(format!("a second TCP service is named {}", quoted(&name)));
            place.key("name").error(problem.help("give each its own name").see(first));
        }
        if let Some(service) = resolve_one(place, name, raw, limits, upstreams, chains) {
            services.insert(index, Arc::new(service));
        }
    }
    services
}

/// Listeners of their addresses and services. To be called if nothing was wrong with either.
pub(super) fn join(addresses: Vec<Address>, mut services: Services) -> Vec<Listener> {
    let listener = |(index, address)| Listener {
        address,
        service: services.remove(&index).map_or(Service::Http, Service::Tcp),
    };
    addresses.into_iter().map(listener).collect()
}

fn service_name(place: Place<'_>, raw: &raw::TcpService, index: usize) -> Arc<str> {
    match raw.name.given() {
        Some(name) => {
            check_shown_name(place.key("name"), name);
            name.as_str().into()
        }
        None => format!("tcp-{}", index + 1).into(),
    }
}

fn resolve_one(
    place: Place<'_>,
    name: Arc<str>,
    raw: &raw::TcpService,
    limits: Option<&Limits>,
    upstreams: &Names<'_, Upstream>,
    chains: &Chains<'_>,
) -> Option<TcpService> {
    let filters = chain(place.key("filters"), &raw.filters, &name, chains);
    let upstream = forward(place, &raw.forward, upstreams);
    let idle_timeout = match &raw.idle_timeout {
        Field::Given(raw::Duration(text)) if text == "none" => Some(None),
        field => {
            duration(place.key("idle_timeout"), field, IDLE_TIMEOUT, TIMEOUT_MIN..=TIMEOUT_MAX).map(Some)
        }
    };
    let connections_max = match &raw.connections {
        Field::Absent => Some(None),
        field => count(place.key("connections"), field, std::num::NonZeroU32::MIN, 1..=1_000_000).map(Some),
    };
    let default = limits.map_or(1 << 20, |limits| limits.buffer_bytes_max.get());
    let buffer_bytes = size(place.key("buffer_bytes"), &raw.buffer_bytes, default, 1..=BUFFER_MAX);
    Some(TcpService {
        name,
        filters,
        upstream: upstream?,
        idle_timeout: idle_timeout?,
        connections_max: connections_max?,
        buffer_bytes_max: NonZeroUsize::new(usize::try_from(buffer_bytes?).ok()?)?,
    })
}

fn forward(
    place: Place<'_>,
    field: &Field<raw::TcpForward>,
    upstreams: &Names<'_, Upstream>,
) -> Option<Arc<Upstream>> {
    let forward = place.required(field, "forward", "`forward: { upstream: NAME }`")?;
    let place = place.key("forward");
    let name = place.required(&forward.upstream, "upstream", "the name of an upstream")?;
    let upstream = upstreams.find_for_tcp(place.key("upstream"), name);
    upstream.filter(|upstream| is_for_bytes(place.key("upstream"), upstream))
}

/// An upstream whose protocol the gateway speaks itself has connections of that protocol only.
fn is_for_bytes(place: Place<'_>, upstream: &Upstream) -> bool {
    match upstream.protocol {
        Protocol::Http1 | Protocol::Http2 => true,
        Protocol::Redis => {
            let problem = Problem::new(format!("{} is for the calls of filters", quoted(&upstream.name)));
            let help = "list its endpoints in an upstream of its own, without `protocol`";
            place.error(problem.expected("an upstream without `protocol: redis`").help(help));
            false
        }
    }
}

fn chain(
    section: Place<'_>,
    field: &Field<Vec<Field<FilterUse>>>,
    service: &str,
    chains: &Chains<'_>,
) -> Vec<Arc<Filter>> {
    let mut chain: Vec<Arc<Filter>> = Vec::new();
    for (index, entry) in section.list(field, FILTERS_MAX) {
        let place = section.index(index);
        for name in chains.names(place, entry, Adjuster::TcpService, service) {
            let Some(filter) = chains.filters.find_for_tcp(place, &name) else { continue };
            if chain.iter().any(|earlier| earlier.name == filter.name) {
                let problem = Problem::new(format!("{} is listed twice", quoted(&name)));
                place.error(problem.help("remove one of them"));
            }
            check_kind(place, &filter);
            chain.push(filter);
        }
    }
    chain
}

/// Native filters know HTTP only, and so does the shadow.
fn check_kind(place: Place<'_>, filter: &Filter) {
    let (kind, help) = match &filter.kind {
        FilterKind::Wasm(wasm) if wasm.on_failure == OnFailure::Shadow => {
            let problem =
                Problem::new(format!("{} runs in shadow, which is for requests", quoted(&filter.name)));
            let help = "for connections, define another filter with the same module";
            return place.error(problem.expected("`on_failure: closed` or `open`").help(help));
        }
        FilterKind::Wasm(_) => return,
        FilterKind::RateLimit(_) => {
            ("rate_limit", "limit the connections of this listener with `tcp.connections`")
        }
        FilterKind::Headers(_) => ("headers", "use it in a route: bytes have no headers"),
    };
    let problem =
        Problem::new(format!("{} works on HTTP requests, not on connections", quoted(&filter.name)));
    place.error(problem.expected("a filter of the kind `wasm`").found(format!("`{kind}`")).help(help));
}
