//! Routes, rewrites, redirects and direct answers, from the outside.

use crate::support::{Gateway, Origin, get, post};

#[test]
fn the_most_specific_route_wins() {
    let names = ["exact", "regex", "prefix", "method", "header", "query", "wild", "host", "rest"];
    let matches = [
        "{ path: { exact: /a/exact } }",
        "{ path: { regex: '/a/[0-9]+' } }",
        "{ path: { prefix: /a } }",
        "{ path: { prefix: /m }, methods: [POST] }",
        "{ path: { prefix: /m }, headers: [{ name: x-beta, exact: 'on' }] }",
        "{ path: { prefix: /m }, query: [{ name: v, regex: '[12]' }] }",
        "{ host: '*.example.com' }",
        "{ host: api.example.com }",
        "{}",
    ];
    let route = |(name, matches): (&str, &str)| {
        format!("- {{ name: {name}, match: {matches}, respond: {{ status: 200, body: {name} }} }}\n")
    };
    let routes: String = names.into_iter().zip(matches).map(route).collect();
    let gateway = Gateway::start(&format!("routes:\n{routes}"));
    let table = [
        (get("/a/exact", &[]), "exact"),
        (get("/a/42", &[]), "regex"),
        (get("/a/42/x", &[]), "prefix"),
        (get("/a", &[]), "prefix"),
        (get("/ab", &[]), "rest"),
        (get("/b/../a/%65xact", &[]), "exact"),
        (post("/m", &[], b""), "method"),
        (get("/m/x", &[("x-beta", "on")]), "header"),
        (get("/m/x", &[("x-beta", "off")]), "rest"),
        (get("/m?u=1&v=2", &[]), "query"),
        (get("/m?v=3", &[]), "rest"),
        (get("/", &[("host", "api.example.com")]), "host"),
        (get("/", &[("host", "API.Example.com:8080")]), "host"),
        (get("/", &[("host", "x.y.example.com")]), "wild"),
        (get("/", &[("host", "example.com")]), "rest"),
        (get("http://api.example.com/", &[("host", "h")]), "host"),
    ];
    for (request, name) in &table {
        assert_eq!(gateway.ask(request).text(), *name, "{}", String::from_utf8_lossy(request));
    }
    let log = gateway.stop().access_log;
    let routes: Vec<_> = log.iter().map(|line| line["route"].as_str().unwrap()).collect();
    assert_eq!(routes, table.map(|(_, name)| name));
}

#[test]
fn prefixes_are_rewritten_for_the_upstream() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&format!(
        "upstreams: {{ u: {{ endpoints: ['{}'] }} }}\nroutes:\n\
         - {{ match: {{ path: {{ prefix: /api }} }}, forward: {{ upstream: u, rewrite_prefix: /internal/v1 }} }}\n\
         - {{ match: {{ path: {{ prefix: /strip }} }}, forward: {{ upstream: u, rewrite_prefix: / }} }}\n",
        origin.address()
    ));
    let table = [
        ("/api/x?y=/api", "/internal/v1/x?y=/api"),
        ("/api", "/internal/v1"),
        ("/api/", "/internal/v1/"),
        ("/strip/x", "/x"),
        ("/strip", "/"),
    ];
    for (target, _) in table {
        assert_eq!(gateway.get(target).status(), 200);
    }
    let seen: Vec<_> = origin.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(seen, table.map(|(_, expected)| expected));
    let log = gateway.stop().access_log;
    assert_eq!(log[0]["path"], "/api/x", "as received");
}

#[test]
fn redirects_keep_what_they_do_not_name() {
    let rules = [
        ("/full", "{ path: /welcome }", 308, "/welcome?q=1"),
        ("/prefix", "{ prefix: /new, status: 301 }", 301, "/new/x?q=1"),
        ("/host", "{ host: other.example }", 308, "http://other.example/host/x?q=1"),
        ("/secure", "{ scheme: https, status: 307 }", 307, "https://test.example/secure/x?q=1"),
        (
            "/all",
            "{ scheme: https, host: b.example, port: 8443, prefix: / }",
            308,
            "https://b.example:8443/x?q=1",
        ),
    ];
    let routes: String = rules
        .iter()
        .map(|(prefix, to, ..)| {
            format!("- {{ match: {{ path: {{ prefix: {prefix} }} }}, redirect: {to} }}\n")
        })
        .collect();
    let gateway = Gateway::start(&format!("routes:\n{routes}"));
    let mut client = gateway.client();
    for (prefix, _, status, location) in rules {
        let answer = client.ask(get(&format!("{prefix}/x?q=1"), &[]));
        assert_eq!((answer.status(), answer.header("location")), (status, Some(location)));
        assert_eq!(answer.body, b"");
    }
    // The port of the request does not follow to another scheme.
    let answer = client.ask(get("/secure", &[("host", "test.example:8080")]));
    assert_eq!(answer.header("location"), Some("https://test.example/secure"));
    // HTTP/1.0 without a Host.
    assert_eq!(gateway.ask("GET /secure HTTP/1.0\r\n\r\n").header("location"), Some("/secure"));
    assert_eq!(
        gateway.ask("GET /host HTTP/1.0\r\n\r\n").header("location"),
        Some("http://other.example/host")
    );
}

#[test]
fn direct_answers_come_as_written() {
    let gateway = Gateway::start(
        "routes:\n- respond: { status: 418, headers: { x-a: [one, two], content-type: text/x }, body: \"short\\n\" }\n",
    );
    let mut client = gateway.client();
    for request in [get("/", &[]), post("/", &[], b"ignored"), get("/", &[])] {
        let answer = client.ask(request);
        assert_eq!((answer.status(), answer.text()), (418, "short\n"));
        assert_eq!(answer.headers_named("x-a"), ["one", "two"]);
        assert_eq!(answer.header("content-type"), Some("text/x"));
    }
}
