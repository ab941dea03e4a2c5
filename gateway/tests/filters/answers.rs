//! The order of filters, and answers of their own.

use serde_json::json;

use crate::guests::{always, callback, tag, triggered, with};
use crate::support::{Gateway, Origin, get, post, response};
use crate::{chain, wasm};

fn tagged(name: &'static str) -> (&'static str, String) {
    (name, wasm(&tag(name), ""))
}

#[test]
fn requests_pass_in_order_and_responses_in_reverse() {
    let origin = Origin::answering(response(200, &[("x-order", "origin")], b"ok"));
    let native =
        "{ headers: { request: { add: { x-order: n } }, response: { add: { x-order: n } } } }".to_owned();
    let gateway = Gateway::start(&chain(&origin, &[tagged("a"), ("n", native), tagged("b"), tagged("c")]));
    let mut client = gateway.client();
    for _ in 0..3 {
        let answer = client.ask(get("/", &[("x-order", "client")]));
        assert_eq!(answer.text(), "ok");
        assert_eq!(answer.headers_named("x-order"), ["origin", "c", "b", "n", "a"]);
    }
    for request in origin.requests() {
        assert_eq!(request.headers_named("x-order"), ["client", "a", "n", "b", "c"]);
    }
}

/// The answer passes the filters before the one that gave it, and no others.
#[test]
fn a_filter_may_answer_instead_of_the_upstream() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let deny = wasm(&triggered("request_headers", "(call $deny (i32.const 403)) (i32.const 1)"), "");
    let gateway = Gateway::start(&chain(&origin, &[tagged("a"), ("deny", deny), tagged("c")]));
    let mut client = gateway.client();
    let denied = client.ask(post("/", &[("x-trigger", "1")], b"a body that nobody reads"));
    assert_eq!((denied.status(), denied.text()), (403, "no"));
    assert_eq!(denied.headers_named("x-order"), ["a"]);
    assert_eq!(origin.requests().len(), 0);
    assert_eq!(gateway.get("/").text(), "ok");
    let log = gateway.stop().access_log;
    let ended = json!({ "filter": "deny", "phase": "request_headers", "reason": "denied" });
    assert_eq!((&log[0]["ended_by"], &log[0]["status"]), (&ended, &json!(403)));
    assert_eq!(log[0].get("upstream"), None);
    assert_eq!(log[1].get("ended_by"), None);
}

/// The filter before sees the replacement, the one behind has seen what it replaces.
#[test]
fn a_filter_may_replace_the_response() {
    let origin = Origin::answering(response(200, &[("x-order", "origin")], b"from the origin"));
    let replace = always("response_headers", "(call $deny (i32.const 599)) (i32.const 1)");
    let gateway =
        Gateway::start(&chain(&origin, &[tagged("a"), ("replace", wasm(&replace, "")), tagged("c")]));
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.ask(get("/", &[]));
        assert_eq!((answer.status(), answer.text(), answer.header("content-length")), (599, "no", Some("2")));
        assert_eq!(answer.headers_named("x-order"), ["a"]);
    }
    let log = gateway.stop().access_log;
    let ended = json!({ "filter": "replace", "phase": "response_headers", "reason": "denied" });
    assert_eq!((&log[0]["ended_by"], &log[0]["status"]), (&ended, &json!(599)));
    assert_eq!(log[0]["upstream"]["name"], "u");
}

/// The upstream must not take a part of the body for the whole.
#[test]
fn a_filter_may_answer_when_it_has_seen_the_body() {
    let origin = Origin::echo();
    let code = "(if (result i32) (local.get $end)
      (then (call $deny (i32.const 422)) (i32.const 1))
      (else (i32.const 1)))";
    let gateway =
        Gateway::start(&chain(&origin, &[tagged("a"), ("judge", wasm(&always("request_body", code), ""))]));
    let answer = gateway.ask(post("/", &[], &[b'x'; 100_000]));
    assert_eq!((answer.status(), answer.text()), (422, "no"));
    assert_eq!(answer.headers_named("x-order"), ["a"]);
    origin.wait_until_unconnected();
    assert!(origin.requests().iter().all(|request| request.body.is_empty()));
    let log = gateway.stop().access_log;
    assert_eq!(log[0]["ended_by"], json!({ "filter": "judge", "phase": "request_body", "reason": "denied" }));
}

/// The head waits for the beginning of the body, so the answer replaces what the upstream said.
#[test]
fn an_answer_at_the_beginning_of_the_response_body_replaces_the_response() {
    for action in [0, 1] {
        let origin = Origin::answering(response(200, &[], b"secret"));
        let code = format!("(call $deny (i32.const 502)) (i32.const {action})");
        let gateway = Gateway::start(&chain(&origin, &[("late", wasm(&always("response_body", &code), ""))]));
        let mut client = gateway.client();
        client.send(get("/", &[]));
        let answer = client.response();
        assert_eq!((answer.status(), answer.text()), (502, "no"), "action {action}: {answer:?}");
        assert_eq!(gateway.stop().access_log.len(), 1);
    }
}

#[test]
fn a_filter_may_close_the_stream() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&chain(
        &origin,
        &[(
            "close",
            wasm(&triggered("request_headers", "(drop (call $close (i32.const 0))) (i32.const 1)"), ""),
        )],
    ));
    let mut client = gateway.client();
    client.send(get("/", &[("x-trigger", "1")]));
    client.assert_closed();
    assert_eq!(gateway.get("/").status(), 200);
    let log = gateway.stop().access_log;
    assert_eq!((log.len(), &log[0]["error"]), (2, &json!("filter_closed")));
    assert_eq!(log[0].get("status"), None);
}

/// The request line and the Host are the guest's to change, within what HTTP allows.
#[test]
fn a_guest_may_rewrite_the_request_line() {
    let origin = Origin::echo();
    let fields = format!(
        r#"(data (i32.const 64) ":path") (data (i32.const 72) "/new?q") (data (i32.const 80) ":method")
        (data (i32.const 88) "PUT") (data (i32.const 96) ":authority") (data (i32.const 112) "new.example")
        (data (i32.const 128) "no slash\r\nx: y")
        {}"#,
        callback(
            "request_headers",
            "(drop (call $set (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 72) (i32.const 6)))
            (drop (call $set (i32.const 0) (i32.const 80) (i32.const 7) (i32.const 88) (i32.const 3)))
            (drop (call $set (i32.const 0) (i32.const 96) (i32.const 10) (i32.const 112) (i32.const 11)))
            (if (call $trigger) (then
              (drop (call $set (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 128) (i32.const 14)))))
            (i32.const 0)"
        )
    );
    let gateway = Gateway::start(&chain(&origin, &[("rewrite", wasm(&with(&fields), ""))]));
    assert_eq!(gateway.ask(post("/old", &[], b"body")).text(), "body");
    let request = origin.request();
    assert_eq!((&*request.start, request.header("host")), ("PUT /new?q HTTP/1.1", Some("new.example")));
    // What HTTP does not allow never reaches the wire: the exchange ends, or goes on without it.
    let answer = gateway.ask(get("/old", &[("x-trigger", "1")]));
    assert!(matches!(answer.status(), 200 | 503), "{answer:?}");
    assert!(origin.requests().iter().all(|request| request.header("x").is_none()));
}

/// Framing is the gateway's: what a guest writes there is dropped.
#[test]
fn a_guest_cannot_forge_the_framing() {
    let origin = Origin::echo();
    let fields = format!(
        r#"(data (i32.const 64) "transfer-encoding") (data (i32.const 96) "chunked")
        (data (i32.const 112) "connection") (data (i32.const 128) "x-forwarded-for")
        {}"#,
        callback(
            "request_headers",
            "(drop (call $add (i32.const 0) (i32.const 64) (i32.const 17) (i32.const 96) (i32.const 7)))
            (drop (call $add (i32.const 0) (i32.const 112) (i32.const 10) (i32.const 128) (i32.const 15)))
            (i32.const 0)"
        )
    );
    let gateway = Gateway::start(&chain(&origin, &[("forge", wasm(&with(&fields), ""))]));
    let mut client = gateway.client();
    for _ in 0..2 {
        assert_eq!(client.ask(post("/", &[], b"body")).text(), "body");
    }
    for request in origin.requests() {
        assert_eq!((request.header("transfer-encoding"), request.header("connection")), (None, None));
        assert_eq!(request.header("content-length"), Some("4"));
    }
}
