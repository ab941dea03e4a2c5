//! The filters that come with the gateway, through the whole of it.

use crate::support::guest::shipped;
use crate::support::{Gateway, Next, Origin, get, post, response};
use crate::{chain, wasm};

#[test]
fn rules_allow_and_deny() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let rules = wasm(
        &shipped("rules"),
        ", config: { default: allow, rules: [\
         { action: deny, paths: [{ prefix: /admin }], denied: { status: 403, body: closed } },\
         { action: deny, methods: [POST], headers: [{ name: authorization, present: false }], denied: { status: 401 } },\
         { action: deny, paths: [{ exact: /local }], clients: [127.0.0.0/8] } ] }",
    );
    let gateway = Gateway::start(&chain(&origin, &[("rules", rules)]));
    let table = [
        (get("/", &[]), 200),
        (get("/admin", &[]), 403),
        (get("/x/../%61dmin/y", &[]), 403),
        (get("//admin", &[]), 403),
        (get("/administrator", &[]), 200),
        (post("/", &[], b"x"), 401),
        (post("/", &[("authorization", "Bearer x")], b"x"), 200),
        (get("/local", &[]), 403),
    ];
    let mut reached = 0;
    for (request, status) in table {
        let answer = gateway.ask(&request);
        assert_eq!(answer.status(), status, "{}", String::from_utf8_lossy(&request));
        reached += usize::from(status == 200);
    }
    assert_eq!(origin.requests().len(), reached);
    assert_eq!(gateway.get("/admin").text(), "closed");
}

#[test]
fn headers_edits_both_sides() {
    let origin = Origin::answering(response(200, &[("server", "origin")], b"ok"));
    let headers = wasm(
        &shipped("headers"),
        ", config: { request: { set: { x-client: '%{client}', x-was: '%{method} %{path}' }, remove: [x-debug] },\
         response: { set: { x-served-for: '%{host}%{path}' }, remove: [server], add: { via: '1.1 edge' } } }",
    );
    let gateway = Gateway::start(&chain(&origin, &[("edge", headers)]));
    let answer = gateway.ask(get("/a/../b?c", &[("x-debug", "1"), ("x-client", "forged")]));
    let request = origin.request();
    assert_eq!((request.header("x-client"), request.header("x-was")), (Some("127.0.0.1"), Some("GET /b")));
    assert_eq!(request.header("x-debug"), None);
    assert_eq!((answer.header("x-served-for"), answer.header("server")), (Some("test.example/b"), None));
    assert_eq!((answer.header("via"), answer.text()), (Some("1.1 edge"), "ok"));
}

const BODY: &str = "card 4111 1111 1111 1111 of ada@example.com, and 4111 1111 1111 1112 is none";
const REDACTED: &str = "card [card] of [mail], and 4111 1111 1111 1112 is none";

fn redact(sides: &str) -> String {
    wasm(
        &shipped("redact"),
        &format!(
            ", config: {{ sides: {sides}, patterns: [\
             {{ class: card_number, replacement: '[card]' }}, {{ class: email, replacement: '[mail]' }} ] }}"
        ),
    )
}

/// The target says where the origin cuts its body into two chunks.
#[test]
fn responses_are_redacted_wherever_they_are_cut() {
    let origin = Origin::start(|exchange| {
        let cut: usize = exchange.request.target()[1..].parse().unwrap();
        let (first, second) = BODY.split_at(cut);
        exchange
            .wire
            .send("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for piece in [first, second].into_iter().filter(|piece| !piece.is_empty()) {
            exchange.wire.send(format!("{:x}\r\n{piece}\r\n", piece.len()))?;
        }
        exchange.wire.send("0\r\n\r\n")?;
        Ok(Next::Keep)
    });
    let gateway = Gateway::start(&chain(&origin, &[("redact", redact("response"))]));
    let mut client = gateway.client();
    for cut in 0..=BODY.len() {
        assert_eq!(client.ask(get(&format!("/{cut}"), &[])).text(), REDACTED, "cut at {cut}");
    }
}

/// Streams of many clients share one instance on each worker, and nothing of one reaches another.
#[test]
fn streams_do_not_mix() {
    let origin = Origin::echo();
    let headers = "{ response: { set: { x-was: '%{header:x-number}' } } }";
    let headers = wasm(&shipped("headers"), &format!(", config: {headers}"));
    let gateway = Gateway::start(&chain(&origin, &[("headers", headers), ("redact", redact("both"))]));
    std::thread::scope(|scope| {
        for number in 0..16 {
            let mut client = gateway.client();
            scope.spawn(move || {
                for round in 0..20 {
                    let name = format!("{number}-{round}");
                    let body = format!("{name} {BODY} ").repeat(1 + number * round);
                    let answer = client.ask(post("/", &[("x-number", &name)], body.as_bytes()));
                    assert_eq!(answer.header("x-was"), Some(&*name));
                    assert!(answer.text() == format!("{name} {REDACTED} ").repeat(1 + number * round));
                }
            });
        }
    });
}

#[test]
fn lengths_follow_redaction() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&chain(&origin, &[("redact", redact("both"))]));
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.ask(post("/", &[("accept-encoding", "gzip")], BODY.as_bytes()));
        assert_eq!(answer.text(), REDACTED);
        assert!(answer.header("content-length").is_none_or(|length| length == REDACTED.len().to_string()));
    }
    for request in origin.requests() {
        assert_eq!(request.text(), REDACTED);
        assert_eq!(request.header("accept-encoding"), Some("identity"));
    }
    // Many times over, in as many pieces as sockets make of it.
    let many = BODY.repeat(5_000);
    assert!(client.ask(post("/", &[], many.as_bytes())).text() == REDACTED.repeat(5_000));
}
