//! The table against a reference that is as plain as can be, and the rules one by one.

use std::cmp::Reverse;
use std::path::Path;

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::policy::route::{PathPattern, ValueMatch};

/// A table from the `routes` section of a policy, one route a line.
fn table(routes: &[&str]) -> RouteTable {
    let mut text = String::from("version: 1\nlisteners: [{address: 127.0.0.1:0}]\nroutes:\n");
    for route in routes {
        text.push_str(&format!("  - {{match: {{{route}}}, respond: {{status: 200}}}}\n"));
    }
    let policy = crate::policy::parse(&text, Path::new("test.yaml"), Path::new("."));
    RouteTable::new(&policy.unwrap_or_else(|findings| panic!("{findings}")).policy.routes)
}

#[derive(Debug)]
struct Request {
    host: Option<&'static str>,
    path: String,
    query: Option<&'static str>,
    method: Method,
    headers: HeaderMap,
}

impl Request {
    fn get(host: &'static str, path: &str) -> Self {
        let (method, headers) = (Method::GET, HeaderMap::new());
        Request { host: Some(host), path: path.to_owned(), query: None, method, headers }
    }

    fn view(&self) -> RequestView<'_> {
        let Request { host, path, query, method, headers } = self;
        RequestView { host: *host, path, query: *query, method, headers }
    }
}

fn index(table: &RouteTable, request: &Request) -> Option<usize> {
    table.find(&request.view()).map(|(index, _)| index)
}

#[test]
fn host_groups_are_tried_from_the_best_to_the_rest() {
    let table = table(&[
        "path: {prefix: /}",
        "host: '*.example.com', path: {prefix: /}",
        "host: '*.b.example.com', path: {prefix: /x}",
        "host: a.b.example.com, path: {exact: /y}",
    ]);
    let found = |host, path| index(&table, &Request::get(host, path));
    assert_eq!(found("a.b.example.com", "/y"), Some(3));
    assert_eq!(found("a.b.example.com", "/x"), Some(2));
    assert_eq!(found("a.b.example.com", "/z"), Some(1));
    assert_eq!(found("b.example.com", "/x"), Some(1));
    assert_eq!(found("example.com", "/x"), Some(0), "a wildcard stands for at least one label");
    assert_eq!(found(".example.com", "/x"), Some(0));
    assert_eq!(found("badexample.com", "/x"), Some(0));
}

#[test]
fn paths_go_from_exact_over_regex_to_the_longest_prefix() {
    let table = table(&[
        "path: {prefix: /}",
        "path: {prefix: /api}",
        "path: {prefix: /api/v1}",
        "path: {regex: '/api/v[0-9]/.*'}",
        "path: {exact: /api/v1/x}",
    ]);
    let found = |path| index(&table, &Request::get("h", path));
    assert_eq!(found("/api/v1/x"), Some(4));
    assert_eq!(found("/api/v1/y"), Some(3));
    assert_eq!(found("/api/v1"), Some(2));
    assert_eq!(found("/api/"), Some(1));
    assert_eq!(found("/apis"), Some(0));
    assert_eq!(found("*"), Some(0));
}

#[test]
fn more_conditions_win_and_then_the_order() {
    let table = table(&[
        "path: {prefix: /}",
        "query: [{name: q, present: true}, {name: r, absent: true}]",
        "query: [{name: q, exact: a b}]",
        "headers: [{name: x-a, regex: 'b+'}]",
        "methods: [GET, POST]",
    ]);
    let mut request = Request::get("h", "/");
    assert_eq!(index(&table, &request), Some(4));
    request.method = Method::PUT;
    assert_eq!(index(&table, &request), Some(0));
    request.query = Some("x&q=a%20b&r");
    assert_eq!(index(&table, &request), Some(2));
    request.query = Some("%71=1");
    assert_eq!(index(&table, &request), Some(1));
    request.headers.append("x-a", HeaderValue::from_static("c"));
    assert_eq!(index(&table, &request), Some(1));
    request.headers.append("x-a", HeaderValue::from_static("bb"));
    assert_eq!(index(&table, &request), Some(3));
}

#[test]
fn many_regexes_in_one_folder_are_searched_as_a_set() {
    let routes: Vec<String> = (0..200).map(|i| format!("path: {{regex: '/a/[0-9]+/r{i}'}}")).collect();
    let table = table(&routes.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(index(&table, &Request::get("h", "/a/77/r150")), Some(150));
    assert_eq!(index(&table, &Request::get("h", "/a/x/r150")), None);
}

#[test]
fn nothing_matches_in_an_empty_table() {
    assert!(RouteTable::new(&[]).find(&Request::get("h", "/").view()).is_none());
}

/// All that match, sorted by the documented order.
fn reference(routes: &[Arc<Route>], request: &RequestView<'_>) -> Option<usize> {
    let matching = routes.iter().enumerate().filter_map(|(index, route)| {
        let matches = &route.matches;
        let host = host_rank(&matches.hosts, request.host)?;
        let path = path_rank(&matches.path, request.path)?;
        let methods = matches.methods.is_empty() || matches.methods.contains(request.method);
        let headers = matches.headers.iter().all(|m| {
            let values = request.headers.get_all(&m.name).iter().map(|v| v.to_str().unwrap().to_owned());
            holds(&m.value, &values.collect::<Vec<_>>())
        });
        let query = matches.query.iter().all(|m| {
            let pairs = request.query.unwrap_or("").split('&').filter_map(|pair| pair.split_once('='));
            let values = pairs.filter(|(name, _)| *name == &*m.name).map(|(_, value)| value.to_owned());
            holds(&m.value, &values.collect::<Vec<_>>())
        });
        let counts =
            (matches.methods.is_empty(), Reverse(matches.headers.len()), Reverse(matches.query.len()));
        (methods && headers && query).then_some((host, path, counts, index))
    });
    matching.min().map(|(.., index)| index)
}

fn host_rank(patterns: &[HostPattern], host: Option<&str>) -> Option<(u8, Reverse<usize>)> {
    if patterns.is_empty() {
        return Some((2, Reverse(0)));
    }
    let host = host?;
    let ranks = patterns.iter().filter_map(|pattern| match pattern {
        HostPattern::Exact(name) => (**name == *host).then_some((0, Reverse(0))),
        HostPattern::Suffix(suffix) => {
            (host.len() > suffix.len() && host.ends_with(&**suffix)).then_some((1, Reverse(suffix.len())))
        }
    });
    ranks.min()
}

fn path_rank(pattern: &PathPattern, path: &str) -> Option<(u8, Reverse<usize>)> {
    match pattern {
        PathPattern::Exact(exact) => (**exact == *path).then_some((0, Reverse(0))),
        PathPattern::Regex(regex) => regex.is_match(path).then_some((1, Reverse(0))),
        PathPattern::Prefix(prefix) => {
            let below = &**prefix == "/" || path == &**prefix || path.starts_with(&format!("{prefix}/"));
            below.then_some((2, Reverse(prefix.len())))
        }
    }
}

fn holds(condition: &ValueMatch, values: &[String]) -> bool {
    match condition {
        ValueMatch::Present => !values.is_empty(),
        ValueMatch::Absent => values.is_empty(),
        ValueMatch::Exact(text) => values.iter().any(|value| **value == **text),
        ValueMatch::Regex(regex) => values.iter().any(|value| regex.is_match(value)),
    }
}

mod generate {
    use proptest::sample::{select, subsequence};

    use super::*;
    use crate::policy::route::{Action, DirectResponse, HeaderMatch, Match, QueryMatch};

    const HOSTS: [&str; 6] = ["a.com", "x.a.com", "y.x.a.com", "b.com", "x.b.com", "com"];

    pub(super) fn request() -> impl Strategy<Value = Request> {
        let headers = prop::collection::vec((select(vec!["x-a", "x-b"]), select(vec!["1", "2", "22"])), 0..4);
        let query = select(vec![None, Some(""), Some("q=1"), Some("q=2&r=1"), Some("q=22&q=1"), Some("r=")]);
        let method = select(vec![Method::GET, Method::POST, Method::PUT]);
        (select(HOSTS.to_vec()), any::<bool>(), path(), query, method, headers).prop_map(
            |(host, has_host, path, query, method, fields)| {
                let fields = fields
                    .into_iter()
                    .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
                let mut headers = HeaderMap::new();
                fields.for_each(|(name, value)| {
                    headers.append(name, value);
                });
                Request { host: has_host.then_some(host), path, query, method, headers }
            },
        )
    }

    /// Few segments, so that many routes meet.
    fn path() -> impl Strategy<Value = String> {
        prop::collection::vec(select(vec!["a", "b", "ab", "a1"]), 0..4)
            .prop_map(|segments| format!("/{}", segments.join("/")))
    }

    fn pattern() -> impl Strategy<Value = PathPattern> {
        let regexes =
            ["/.*", "/a/.*", "/a/[ab]+", "/a/b/.", "/(a|b)", "/ab?/a[0-9]", ".*/b", "/a/b/a", "/(?i)A"];
        let regex = select(regexes.to_vec()).prop_map(|pattern| {
            PathPattern::Regex(regex::Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap())
        });
        prop_oneof![
            path().prop_map(|path| PathPattern::Exact(path.into())),
            path().prop_map(|path| PathPattern::Prefix(path.into())),
            regex,
        ]
    }

    fn value() -> impl Strategy<Value = ValueMatch> {
        prop_oneof![
            Just(ValueMatch::Present),
            Just(ValueMatch::Absent),
            Just(ValueMatch::Exact("1".into())),
            Just(ValueMatch::Regex(regex::Regex::new(r"\A(?:2+)\z").unwrap())),
        ]
    }

    fn hosts() -> impl Strategy<Value = Vec<HostPattern>> {
        let patterns = HOSTS.iter().flat_map(|host| {
            [HostPattern::Exact((*host).into()), HostPattern::Suffix(format!(".{host}").into())]
        });
        subsequence(patterns.collect::<Vec<_>>(), 0..3)
    }

    fn route() -> impl Strategy<Value = Arc<Route>> {
        let methods = subsequence(vec![Method::GET, Method::POST], 0..=2);
        let header = (select(vec!["x-a", "x-b"]), value())
            .prop_map(|(name, value)| HeaderMatch { name: HeaderName::from_static(name), value });
        let query = (select(vec!["q", "r"]), value())
            .prop_map(|(name, value)| QueryMatch { name: name.into(), value });
        let conditions = (prop::collection::vec(header, 0..3), prop::collection::vec(query, 0..3));
        (hosts(), pattern(), methods, conditions).prop_map(|(hosts, path, methods, (headers, query))| {
            let matches = Match { hosts, path, methods, headers, query };
            let action = Action::Respond(DirectResponse {
                status: http::StatusCode::OK,
                headers: HeaderMap::new(),
                body: bytes::Bytes::new(),
            });
            Arc::new(Route { name: "r".into(), matches, filters: Vec::new(), action })
        })
    }

    pub(super) fn routes() -> impl Strategy<Value = Vec<Arc<Route>>> {
        prop::collection::vec(route(), 0..40)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn agrees_with_the_reference(
        routes in generate::routes(),
        requests in prop::collection::vec(generate::request(), 20),
    ) {
        let table = RouteTable::new(&routes);
        for request in &requests {
            let view = request.view();
            prop_assert_eq!(table.find(&view).map(|(index, _)| index), reference(&routes, &view), "{:?}", view);
        }
    }

    #[test]
    fn an_explanation_agrees_with_the_table(
        routes in generate::routes(),
        requests in prop::collection::vec(generate::request(), 20),
    ) {
        let table = RouteTable::new(&routes);
        for request in &requests {
            let view = request.view();
            let explained = explain::explain(&routes, &view);
            prop_assert_eq!(explained.taken_by, table.find(&view).map(|(index, _)| index), "{:?}", view);
            let told = explained.taken_by.iter().count() + explained.also.len() + explained.not.len();
            prop_assert_eq!(told, routes.len());
            // Without the route that takes it, the next one of `also` does.
            if let Some(taken) = explained.taken_by {
                let mut rest = routes.clone();
                rest.remove(taken);
                let next = RouteTable::new(&rest).find(&view).map(|(index, _)| index + usize::from(index >= taken));
                prop_assert_eq!(next, explained.also.first().copied(), "{:?}", view);
            }
        }
    }
}
