//! The example policies in `policies/`: each is read without a warning, and its routes take the
//! requests that its comments promise. Needs the filters (`make filters`).

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};
use tollgate::policy::filter::{FilterKind, WasmFilter};
use tollgate::policy::listener::{Listener, Service, TcpService};
use tollgate::policy::remote::NoFetch;
use tollgate::policy::{Policy, load, parse};
use tollgate::route::{RequestView, RouteTable};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

fn read(name: &str) -> Policy {
    let loaded =
        load(&folder().join(name), &NoFetch::shared()).unwrap_or_else(|findings| panic!("{findings}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    loaded.policy
}

/// The name of the route that takes a request; `target` is host, path and query, such as `h/a?b`.
fn route(policy: &Policy, method: Method, target: &str, headers: &[(&'static str, &'static str)]) -> String {
    let (host, rest) = target.split_at(target.find('/').unwrap());
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let headers: HeaderMap =
        headers.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect();
    let request = RequestView { host: Some(host), path, query, method: &method, headers: &headers };
    let table = RouteTable::new(&policy.routes);
    table.find(&request).map_or_else(|| "none".to_owned(), |(_, route)| route.name.to_string())
}

#[test]
fn every_example_is_read_without_a_warning() {
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    let policies: Vec<&String> = names.iter().filter(|name| name.ends_with(".yaml")).collect();
    assert!(policies.len() >= 3, "{names:?}");
    for name in policies {
        read(name);
    }
}

#[test]
fn minimal_takes_everything() {
    let policy = read("minimal.yaml");
    assert_eq!(route(&policy, Method::DELETE, "any/where?at=all", &[]), "route-1");
}

#[test]
fn demo_routes_as_the_tour_needs() {
    let policy = read("demo.yaml");
    assert_eq!(route(&policy, Method::GET, "localhost/", &[]), "everything");
    assert_eq!(route(&policy, Method::GET, "localhost/admin", &[]), "everything");
    assert_eq!(route(&policy, Method::GET, "localhost/limited/x", &[]), "limited");
    assert_eq!(route(&policy, Method::GET, "localhost/hello", &[]), "hello");
    assert_eq!(route(&policy, Method::PUT, "localhost/hello", &[]), "everything");
}

#[test]
fn full_routes_as_it_says() {
    let policy = read("full.yaml");
    let key = ("x-api-key", "k");
    let accept = ("accept", "application/json");
    let get = |target: &str, headers: &[_]| route(&policy, Method::GET, target, headers);
    assert_eq!(get("a.api.example.com/v1/x?format=full", &[key, accept]), "api");
    assert_eq!(get("api.example.com/v1?format=full", &[key, accept, ("x-debug", "1")]), "everything-else");
    assert_eq!(get("api.example.com/v10?format=full", &[key, accept]), "everything-else");
    assert_eq!(get("h/orders/77", &[]), "orders");
    assert_eq!(get("h/orders/77/x", &[]), "everything-else");
    assert_eq!(get("h/healthz", &[]), "health");
    assert_eq!(get("h/status.txt", &[]), "status");
    assert_eq!(get("h/docs/a", &[]), "docs-moved");
    assert_eq!(get("example.com/", &[]), "home");
}

/// What full.yaml calls a default is one.
#[test]
fn full_shows_the_defaults() {
    let (full, minimal) = (read("full.yaml"), read("minimal.yaml"));
    assert_eq!(full.limits, minimal.limits);
    let mut shop = (*full.upstreams[0]).clone();
    shop.name = minimal.upstreams[0].name.clone();
    shop.endpoints = minimal.upstreams[0].endpoints.clone();
    assert_eq!(shop, *minimal.upstreams[0]);
    let mut guard = wasm(&full, "guard");
    let terse = wasm(&full, "edge-headers");
    (guard.path, guard.digest, guard.code) = (terse.path.clone(), terse.digest, terse.code.clone());
    guard.configuration = terse.configuration.clone();
    assert_eq!(guard, terse);
}

#[test]
fn full_shows_the_defaults_of_tcp() {
    let terse = "version: 1\nlisteners: [{ address: '127.0.0.1:1', tcp: { forward: { upstream: u } } }]\n\
                 upstreams: { u: { endpoints: ['127.0.0.1:2'] } }\n";
    let terse =
        parse(terse, Path::new("terse.yaml"), &folder()).unwrap_or_else(|findings| panic!("{findings}"));
    let (full, terse) = (tcp(&read("full.yaml")), tcp(&terse.policy));
    assert_eq!((full.idle_timeout, full.buffer_bytes_max), (terse.idle_timeout, terse.buffer_bytes_max));
    assert_eq!((&*terse.name, terse.connections_max, terse.filters.len()), ("tcp-1", None, 0));
}

/// The TCP service of a policy.
fn tcp(policy: &Policy) -> Arc<TcpService> {
    let service = |listener: &Listener| match &listener.service {
        Service::Tcp(service) => Some(Arc::clone(service)),
        Service::Http => None,
    };
    policy.listeners.iter().find_map(service).unwrap()
}

fn wasm(policy: &Policy, name: &str) -> WasmFilter {
    let filter = policy.filters.iter().find(|filter| &*filter.name == name).unwrap();
    let FilterKind::Wasm(wasm) = &filter.kind else { panic!("{name} is no Wasm filter") };
    (**wasm).clone()
}
