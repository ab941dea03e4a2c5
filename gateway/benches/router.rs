//! What finding a route costs, by the number of routes. `cargo bench -p tollgate --bench router`.
//!
//! The routes are spread over hosts as those of a busy edge would be: exact paths, prefixes and a
//! tenth of regexes, some with a method. The requests hit all kinds; a look-up is one request.
#![allow(clippy::unwrap_used, unreachable_pub)]

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use http::{HeaderMap, Method, StatusCode};
use tollgate::policy::route::{Action, DirectResponse, HostPattern, Match, PathPattern, Route};
use tollgate::route::{RequestView, RouteTable};

const SIZES: [usize; 4] = [10, 1_000, 10_000, 100_000];
const REQUESTS: usize = 1_000;

fn main() {
    divan::main();
}

/// One iteration is all of the requests; `items/s` counts look-ups.
#[divan::bench(args = SIZES, sample_size = 10)]
fn find(bencher: Bencher<'_, '_>, size: usize) {
    let table = RouteTable::new(&routes(size));
    // An odd stride meets every kind of route.
    let stride = (size / REQUESTS) | 1;
    let requests: Vec<(String, String)> = (0..REQUESTS).map(|i| request(i * stride % size)).collect();
    let headers = HeaderMap::new();
    let find_all = || {
        let views = requests.iter().map(|(host, path)| RequestView {
            host: Some(host),
            path,
            query: None,
            method: &Method::GET,
            headers: &headers,
        });
        views.filter(|view| table.find(black_box(view)).is_some()).count()
    };
    // Regexes build their states when they first match.
    assert_eq!(find_all(), REQUESTS);
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(find_all);
}

#[divan::bench(args = SIZES, sample_count = 5, sample_size = 1)]
fn build(bencher: Bencher<'_, '_>, size: usize) {
    let routes = routes(size);
    bencher.bench_local(|| RouteTable::new(black_box(&routes)));
}

fn host(index: usize) -> String {
    format!("h{}.example.com", index % 50)
}

fn routes(size: usize) -> Vec<Arc<Route>> {
    (0..size).map(|index| Arc::new(route(index))).collect()
}

fn route(index: usize) -> Route {
    let path = match index % 10 {
        0 => PathPattern::Regex(regex::Regex::new(&format!(r"\A(?:/svc{index}/[0-9]+)\z")).unwrap()),
        1..=4 => PathPattern::Exact(format!("/svc{index}/index").into()),
        _ => PathPattern::Prefix(format!("/svc{index}/api").into()),
    };
    let hosts = match index % 7 {
        0 => vec![HostPattern::Suffix(".example.com".into())],
        1 => vec![],
        _ => vec![HostPattern::Exact(host(index).into())],
    };
    let methods = if index.is_multiple_of(5) { vec![Method::GET] } else { vec![] };
    let matches = Match { hosts, path, methods, headers: vec![], query: vec![] };
    let response =
        DirectResponse { status: StatusCode::OK, headers: HeaderMap::new(), body: bytes::Bytes::new() };
    Route { name: format!("r{index}").into(), matches, filters: vec![], action: Action::Respond(response) }
}

/// Host and path of a request that route `index` takes.
fn request(index: usize) -> (String, String) {
    let rest = match index % 10 {
        0 => "77",
        1..=4 => "index",
        _ => "api/items/12345",
    };
    (host(index), format!("/svc{index}/{rest}"))
}
