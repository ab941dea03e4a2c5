//! Native filters: header edits and token buckets.

use crate::chain;
use crate::guests::tag;
use crate::support::{Gateway, Message, Origin, get, response};
use crate::wasm;

#[test]
fn headers_are_removed_set_and_added() {
    let origin = Origin::answering(response(
        200,
        &[("server", "origin"), ("x-kept", "1"), ("x-set", "old"), ("x-set", "older")],
        b"ok",
    ));
    let edits = "{ remove: [x-debug, server], set: { x-set: new }, add: { x-tag: [one, two] } }";
    let filter = format!("{{ headers: {{ request: {edits}, response: {edits} }} }}");
    let gateway = Gateway::start(&chain(&origin, &[("edit", filter)]));
    let answer = gateway.ask(get("/", &[("x-debug", "1"), ("x-set", "old"), ("x-kept", "1")]));
    for message in [&answer, &origin.request()] {
        assert_eq!(message.header("x-set"), Some("new"));
        assert_eq!(message.headers_named("x-tag"), ["one", "two"]);
        assert_eq!(message.header("x-kept"), Some("1"));
        assert_eq!((message.header("x-debug"), message.header("server")), (None, None));
    }
}

fn statuses(answers: &[Message]) -> (usize, usize) {
    let count = |status| answers.iter().filter(|answer| answer.status() == status).count();
    (count(200), count(429))
}

/// Each on a connection of its own, so that both workers get some.
#[test]
fn one_bucket_serves_all_workers() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let limit = "{ rate_limit: { rate: 1/hour, burst: 7, key: { fixed: all } } }".to_owned();
    let gateway = Gateway::start(&chain(&origin, &[("limit", limit), ("tag", wasm(&tag("a"), ""))]));
    let mut answers: Vec<Message> = (0..7).map(|_| gateway.get("/")).collect();
    assert_eq!(statuses(&answers), (7, 0));
    answers.extend((0..13).map(|_| gateway.get("/")));
    assert_eq!((statuses(&answers), origin.requests().len()), ((7, 13), 7));
    for (number, allowed) in answers[..7].iter().enumerate() {
        assert_eq!(allowed.header("ratelimit-policy"), Some("\"limit\";q=1;w=3600;tollgate-burst=7"));
        let left = format!("\"limit\";r={};t=", 6 - number);
        assert!(allowed.header("ratelimit").unwrap().starts_with(&left), "{allowed:?}");
        assert_eq!(allowed.header("retry-after"), None);
    }
    for denied in &answers[7..] {
        let after: u32 = denied.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3600).contains(&after), "{after}");
        assert_eq!(denied.header("ratelimit"), Some(&*format!("\"limit\";r=0;t={after}")));
        assert_eq!(denied.header("ratelimit-policy"), Some("\"limit\";q=1;w=3600;tollgate-burst=7"));
        assert_eq!(denied.headers_named("x-order").len(), 0, "the filter behind it has not run");
    }
    let series =
        |decision| format!("tollgate_rate_limit_requests_total{{filter=\"limit\",decision=\"{decision}\"}}");
    assert_eq!(
        (gateway.metric(&series("allowed")), gateway.metric(&series("denied"))),
        (Some(7.0), Some(13.0))
    );
    let log = gateway.stop().access_log;
    assert_eq!(log[19]["ended_by"]["filter"], "limit");
}

#[test]
fn a_bucket_is_exact_when_all_come_at_once() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let limit = "{ rate_limit: { rate: 1/hour, burst: 100, key: client_address } }".to_owned();
    let gateway = Gateway::start(&chain(&origin, &[("limit", limit)]));
    let answers: Vec<Message> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16).map(|_| gateway.client()).collect();
        let asking = clients.into_iter().map(|mut client| {
            scope.spawn(move || (0..20).map(|_| client.ask(get("/", &[]))).collect::<Vec<_>>())
        });
        asking.collect::<Vec<_>>().into_iter().flat_map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!((statuses(&answers), origin.requests().len()), ((100, 220), 100));
}

#[test]
fn keys_have_buckets_of_their_own() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let start = |key: &str, more: &str| {
        let limit = format!("{{ rate_limit: {{ rate: 1/hour, burst: 2, key: {key} }} }}");
        Gateway::start(&format!("{more}{}", chain(&origin, &[("limit", limit)])))
    };
    let ask = |gateway: &Gateway, fields: &[(&str, &str)]| {
        let answers: Vec<_> = (0..3).map(|_| gateway.ask(get("/", fields))).collect();
        statuses(&answers)
    };
    let gateway = start("{ header: x-api-key }", "");
    assert_eq!(ask(&gateway, &[("x-api-key", "a")]), (2, 1));
    assert_eq!(ask(&gateway, &[("x-api-key", "b")]), (2, 1));
    assert_eq!(ask(&gateway, &[]), (2, 1), "those without it share one");
    assert_eq!(ask(&gateway, &[("x-other", "a")]), (0, 3));

    let gateway = start("client_address", "trusted_proxies: [127.0.0.1]\n");
    assert_eq!(ask(&gateway, &[("x-forwarded-for", "192.0.2.1")]), (2, 1));
    assert_eq!(ask(&gateway, &[("x-forwarded-for", "192.0.2.2")]), (2, 1));
    assert_eq!(ask(&gateway, &[("x-forwarded-for", "6.6.6.6, 192.0.2.2")]), (0, 3));

    let gateway = start("client_address", "");
    assert_eq!(ask(&gateway, &[("x-forwarded-for", "192.0.2.1")]), (2, 1));
    assert_eq!(ask(&gateway, &[("x-forwarded-for", "192.0.2.2")]), (0, 3), "nobody is believed");
}

/// Two routes with the same filter share its bucket, unless the route is the key.
#[test]
fn routes_share_a_filter_or_not() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    for (key, left) in [("{ fixed: x }", 0), ("route", 1)] {
        let gateway = Gateway::start(&format!(
            "{}filters: {{ limit: {{ rate_limit: {{ rate: 1/hour, key: {key} }} }} }}\nroutes:\n\
             - {{ match: {{ path: {{ exact: /a }} }}, filters: [limit], forward: {{ upstream: u }} }}\n\
             - {{ filters: [limit], forward: {{ upstream: u }} }}\n",
            crate::support::upstream(&origin)
        ));
        assert_eq!(gateway.get("/a").status(), 200);
        assert_eq!(gateway.get("/a").status(), 429);
        assert_eq!(statuses(&[gateway.get("/b")]).0, left, "{key}");
    }
}
