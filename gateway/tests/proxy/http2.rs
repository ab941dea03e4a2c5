//! Upstreams that speak HTTP/2.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::support::{FORWARD_ALL, Gateway, Http2Origin, get, post, refusing_address};

fn before(origin: &Http2Origin, more: &str) -> Gateway {
    let endpoint = origin.address();
    Gateway::start(&format!(
        "upstreams: {{ u: {{ protocol: http2, endpoints: ['{endpoint}']{more} }} }}\n{FORWARD_ALL}"
    ))
}

fn echo() -> Http2Origin {
    Http2Origin::start(async |mut exchange| {
        let (body, _) = exchange.read().await;
        exchange.respond(Response::new(()), body, None);
    })
}

#[test]
fn requests_and_answers_pass() {
    let origin = echo();
    let gateway = before(&origin, "");
    let mut client = gateway.client();
    let large = vec![b'x'; 3_000_000];
    for body in [&b""[..], b"hello", &large] {
        let answer = client.ask(post("/a?b=1", &[], body));
        assert_eq!(answer.status(), 200);
        assert!(answer.body == body);
    }
    assert_eq!(client.ask(get("/", &[])).status(), 200);
    assert_eq!(client.ask("HEAD / HTTP/1.1\r\nhost: h\r\n\r\n").status(), 200);
    // One client's requests run on one worker.
    assert_eq!(origin.connections(), 1);
    gateway.wait_for_metric("tollgate_upstream_requests_total{upstream=\"u\"}", 5.0);
    gateway.wait_for_metric("tollgate_upstream_connections_opened_total{upstream=\"u\"}", 1.0);
    gateway.wait_for_metric("tollgate_upstream_connections_reused_total{upstream=\"u\"}", 4.0);
    gateway.wait_for_metric("tollgate_upstream_connections{upstream=\"u\",state=\"idle\"}", 1.0);
}

#[test]
fn heads_and_trailers_are_translated() {
    let seen = Arc::new(Mutex::new(None));
    let record = Arc::clone(&seen);
    let origin = Http2Origin::start(move |mut exchange| {
        let record = Arc::clone(&record);
        async move {
            let (body, trailers) = exchange.read().await;
            let uri = exchange.request.uri().to_string();
            *record.lock().unwrap() = Some((uri, exchange.request.headers().clone(), trailers));
            let head = Response::builder().header("trailer", "x-sum").body(()).unwrap();
            let sum = (HeaderName::from_static("x-sum"), HeaderValue::from_static("down"));
            exchange.respond(head, body, Some(HeaderMap::from_iter([sum])));
        }
    });
    let gateway = before(&origin, "");
    let answer = gateway.ask(
        "POST /a?b=1 HTTP/1.1\r\nhost: h.test\r\nte: trailers\r\nconnection: te, x-hop\r\nx-hop: 1\r\n\
         trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: up\r\n\r\n",
    );
    assert_eq!((answer.status(), answer.text(), answer.trailer("x-sum")), (200, "hi", Some("down")));
    let (uri, headers, trailers) = seen.lock().unwrap().take().unwrap();
    assert_eq!(uri, "http://h.test/a?b=1");
    assert_eq!(headers.get("te").unwrap(), "trailers");
    for gone in ["host", "connection", "x-hop", "transfer-encoding"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    assert_eq!(trailers.unwrap()["x-sum"], "up");
}

#[test]
fn what_goes_wrong_is_told() {
    let origin = Http2Origin::start(async |mut exchange| match exchange.request.uri().path() {
        "/reset" => exchange.respond.send_reset(h2::Reason::INTERNAL_ERROR),
        // Held until the gateway gives up.
        "/hold" => drop(std::future::poll_fn(|cx| exchange.respond.poll_reset(cx)).await),
        _ => exchange.respond(Response::new(()), "ok", None),
    });
    let gateway = before(&origin, ", response_timeout: 100ms");
    assert_eq!(gateway.get("/reset").status(), 502);
    assert_eq!(gateway.get("/hold").status(), 504);
    assert_eq!(gateway.get("/").status(), 200);
    let words: Vec<String> =
        gateway.stop().access_log.iter().map(|line| line["error"].as_str().unwrap_or("-").into()).collect();
    assert_eq!(words, ["upstream_reset", "upstream_timeout", "-"]);
}

#[test]
fn an_upstream_that_is_not_there_is_a_502() {
    let (address, _held) = refusing_address();
    let gateway = Gateway::start(&format!(
        "upstreams: {{ u: {{ protocol: http2, endpoints: ['{address}'] }} }}\n{FORWARD_ALL}"
    ));
    assert_eq!(gateway.get("/").status(), 502);
}
