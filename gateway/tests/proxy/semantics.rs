//! Methods, statuses without a body, interim answers, HTTP/1.0, pipelining.

use crate::support::{Gate, Gateway, Next, Origin, get, post, response};

#[test]
fn any_method_and_query_pass_as_they_are() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE", "PROPFIND"];
    for method in methods {
        let request = format!("{method} /a?b=c%20d&&e HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(client.ask(request).status(), 200, "{method}");
    }
    let seen = origin.requests();
    assert_eq!(seen.iter().map(|request| request.method()).collect::<Vec<_>>(), methods);
    assert!(seen.iter().all(|request| request.target() == "/a?b=c%20d&&e"));
}

/// What has no body ends with its head, whatever the head says of a length.
#[test]
fn answers_without_a_body() {
    let table = [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 200, Some("5")),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 200, None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n", 304, None),
        // RFC 9110, 8.6: a length is optional here, and hyper leaves it out.
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, None),
    ];
    for (method, answer, status, length) in table {
        let origin = Origin::answering(answer);
        let gateway = Gateway::before(&origin);
        let mut client = gateway.client();
        for _ in 0..2 {
            client.send(format!("{method} / HTTP/1.1\r\nhost: h\r\n\r\n"));
            let head = client.head();
            assert_eq!((head.status(), head.header("content-length")), (status, length), "{answer}");
        }
        assert_eq!(origin.connections(), 1, "{answer}");
    }
}

#[test]
fn direct_answers_obey_the_method_and_the_status() {
    let gateway = Gateway::start(
        "routes:\n\
         - { match: { path: { exact: /text } }, respond: { status: 200, body: hello } }\n\
         - { match: { path: { exact: /none } }, respond: { status: 204 } }\n",
    );
    let mut client = gateway.client();
    let head = client.ask("HEAD /text HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!((head.status(), head.header("content-length")), (200, Some("5")));
    let none = client.ask(get("/none", &[]));
    assert_eq!((none.status(), none.header("content-length")), (204, None));
    assert_eq!(client.ask(get("/text", &[])).text(), "hello");
}

#[test]
fn interim_answers_of_the_upstream_end_here() {
    let origin = Origin::answering(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    );
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.ask(get("/", &[]));
        assert_eq!((answer.status(), answer.text(), answer.header("link")), (200, "ok", None));
    }
}

const EXPECTING: &str = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";

#[test]
fn a_client_is_told_to_continue_when_its_body_is_read() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(EXPECTING);
    assert_eq!(client.head().status(), 100);
    client.send("body");
    assert_eq!(client.response().text(), "body");
    assert_eq!(origin.request().header("expect"), None);
}

#[test]
fn a_refused_client_is_not_told_to_continue() {
    let gateway =
        Gateway::start("routes: [{ match: { path: { exact: /other } }, respond: { status: 200 } }]");
    let mut client = gateway.client();
    client.send(EXPECTING);
    assert_eq!(client.head().status(), 404);
}

#[test]
fn http_1_0_clients_get_bodies_that_they_understand() {
    let origin =
        Origin::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let answer = client.ask("GET / HTTP/1.0\r\nhost: h\r\n\r\n");
    assert_eq!((answer.text(), answer.header("transfer-encoding")), ("ok", None));
    client.assert_closed();
    // To the upstream it is HTTP/1.1, which needs a Host even if it is empty.
    let mut client = gateway.client();
    assert_eq!(client.ask("GET / HTTP/1.0\r\n\r\n").status(), 200);
    let seen = origin.requests();
    assert!(seen.iter().all(|request| request.start == "GET / HTTP/1.1"), "{seen:?}");
    assert!(seen[1].header("host").is_some(), "{seen:?}");
}

#[test]
fn an_http_1_0_connection_is_kept_if_both_want_it() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.ask("GET / HTTP/1.0\r\nhost: h\r\nconnection: keep-alive\r\n\r\n");
        assert_eq!(answer.text(), "ok");
        assert_eq!(answer.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("keep-alive"));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let first = Gate::new();
    let origin = Origin::start({
        let first = first.clone();
        move |exchange| {
            exchange.read_body()?;
            if exchange.request.target() == "/1" {
                first.pass();
            }
            let answer = response(200, &[], exchange.request.target().as_bytes());
            exchange.wire.send(answer)?;
            Ok(Next::Keep)
        }
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let all = [get("/1", &[]), post("/2", &[], b"body"), get("/3", &[])].concat();
    client.send(all);
    origin.wait_for_requests(1);
    first.open();
    for target in ["/1", "/2", "/3"] {
        assert_eq!(client.response().text(), target);
    }
}
