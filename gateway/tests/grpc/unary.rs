//! One message, one answer.

use std::net::SocketAddr;
use std::sync::mpsc;

use h2::Reason;
use http::Response;

use crate::guests::{Ask, asking};
use crate::server::{Messages, answer, fields, frame, head, reset, well};
use crate::support::{DEADLINE, Http2Exchange, Http2Origin, Origin, get, refusing_address};
use crate::{begin, policy, start};

/// The host's statuses, as the guest turns them into one of HTTP.
const PARSE_FAILURE: u16 = 504;
const INTERNAL_FAILURE: u16 = 510;

#[test]
fn a_request_waits_for_the_answer() {
    let (heads, asked) = mpsc::channel();
    let server = Http2Origin::start(move |mut exchange| {
        let heads = heads.clone();
        async move {
            let (head, messages) = (exchange.request.uri().clone(), exchange.request.headers().clone());
            heads.send((head, messages)).unwrap();
            let message = Messages::new().next(&mut exchange).await.unwrap().unwrap();
            answer(&mut exchange, frame(&[b"re ", &message[..]].concat()), well());
        }
    });
    let origin = Origin::echo();
    let gateway = begin(&asking(&Ask { timeout_ms: 12_000, ..Ask::default() }), &origin, server.address());
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.ask(get("/", &[])).status(), 200);
    }
    assert!(origin.requests().iter().all(|request| request.header("x-answer") == Some("re hello")));
    assert_eq!(server.connections(), 1, "the pool keeps it");
    let series = r#"tollgate_filter_side_calls_total{filter="ask",kind="grpc",outcome="answered"}"#;
    assert_eq!(gateway.metric(series), Some(3.0));
    let (uri, headers) = asked.recv().unwrap();
    assert_eq!(uri.to_string(), format!("http://{}/test.Echo/Say", server.address()));
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "12000m"),
        ("x-key", "one"),
    ] {
        assert_eq!(headers.get(name).unwrap(), value);
    }
    gateway.stop();
}

/// What the access log says about the one request, which a guest denied with `status`.
fn denied(ask: &Ask<'_>, server: SocketAddr, more: &str, status: u16) -> String {
    let origin = Origin::echo();
    let gateway = start(&policy(&asking(ask), &origin, server, more));
    assert_eq!(gateway.get("/").status(), status);
    assert_eq!(origin.requests().len(), 0);
    let log = gateway.stop().access_log;
    log[0]["ended_by"]["reason"].as_str().unwrap_or_default().to_owned()
}

/// What comes of an answer.
fn after(respond: impl Fn(&mut Http2Exchange) + Clone + Send + 'static, status: u16) -> String {
    let server = Http2Origin::start(move |mut exchange| {
        let respond = respond.clone();
        async move {
            exchange.read().await;
            respond(&mut exchange);
        }
    });
    denied(&Ask::default(), server.address(), ", calls: { response_bytes: 16B }", 400 + status)
}

#[test]
fn statuses_of_the_server() {
    let all_in_one = |exchange: &mut Http2Exchange| {
        let mut head = head();
        head.headers_mut().extend(fields(&[("grpc-status", "7"), ("grpc-message", "not%20you")]));
        exchange.respond.send_response(head, true).unwrap();
    };
    assert_eq!(after(all_in_one, 7), "not you");
    let trailers = |exchange: &mut Http2Exchange| {
        answer(exchange, frame(b"x"), fields(&[("grpc-status", "5"), ("grpc-message", "gone")]));
    };
    assert_eq!(after(trailers, 5), "gone");
    let none = |exchange: &mut Http2Exchange| answer(exchange, frame(b"x"), fields(&[("x", "y")]));
    assert_eq!(after(none, 2), "the answer has no status");
    let cut = |exchange: &mut Http2Exchange| exchange.respond(head(), frame(b"x"), None);
    assert_eq!(after(cut, 2), "the answer has no status");
}

#[test]
fn answers_that_are_not_grpc() {
    for (http, grpc) in [(200, 2), (401, 16), (404, 12), (503, 14)] {
        let other = move |exchange: &mut Http2Exchange| {
            let head = Response::builder().status(http).header("content-type", "text/html").body(()).unwrap();
            exchange.respond(head, "<html>", None);
        };
        assert_eq!(after(other, grpc), format!("the server answered with HTTP status {http}"));
    }
    for (reason, grpc) in [(Reason::CANCEL, 1), (Reason::ENHANCE_YOUR_CALM, 8), (Reason::INTERNAL_ERROR, 13)]
    {
        let resets = move |exchange: &mut Http2Exchange| exchange.respond.send_reset(reason);
        assert_eq!(after(resets, grpc), "the server reset the stream");
        let late = move |exchange: &mut Http2Exchange| {
            let mut stream = exchange.respond.send_response(head(), false).unwrap();
            stream.send_reset(reason);
        };
        assert_eq!(after(late, grpc), "the server reset the stream");
    }
}

#[test]
fn messages_that_are_not_taken() {
    let two = |exchange: &mut Http2Exchange| answer(exchange, [frame(b"a"), frame(b"b")].concat(), well());
    assert_eq!(after(two, 13), "the answer has more than one message");
    let none = |exchange: &mut Http2Exchange| answer(exchange, "", well());
    assert_eq!(after(none, 13), "the answer has no message");
    let large = |exchange: &mut Http2Exchange| answer(exchange, frame(&[b'x'; 17]), well());
    assert_eq!(after(large, 8), "the message is too large");
    let compressed = |exchange: &mut Http2Exchange| answer(exchange, &b"\x01\0\0\0\x01x"[..], well());
    assert_eq!(after(compressed, 13), "the message is compressed");
    let half = |exchange: &mut Http2Exchange| answer(exchange, &b"\0\0\0\0\x05he"[..], well());
    assert_eq!(after(half, 13), "the answer ended within a message");
}

/// A server that goes on after the one message is not waited for.
#[test]
fn a_second_message_ends_the_call() {
    let (resets, reset_by) = mpsc::channel();
    let server = Http2Origin::start(move |mut exchange| {
        let resets = resets.clone();
        async move {
            let mut stream = exchange.respond.send_response(head(), false).unwrap();
            stream.send_data([frame(b"a"), frame(b"b")].concat().into(), false).unwrap();
            resets.send(reset(&mut stream).await).unwrap();
        }
    });
    // Longer than the test waits: only the second message can end it.
    let ask = Ask { timeout_ms: 60_000, ..Ask::default() };
    let limit = ", calls: { timeout: 60s }";
    assert_eq!(denied(&ask, server.address(), limit, 413), "the answer has more than one message");
    assert_eq!(reset_by.recv_timeout(DEADLINE).unwrap(), Reason::CANCEL);
}

#[test]
fn an_answer_that_does_not_come() {
    let (resets, reset_by) = mpsc::channel();
    let server = Http2Origin::start(move |mut exchange| {
        let resets = resets.clone();
        async move {
            let timeout = exchange.request.headers()["grpc-timeout"].to_str().unwrap().to_owned();
            let mut stream = exchange.respond.send_response(head(), false).unwrap();
            resets.send((timeout, reset(&mut stream).await)).unwrap();
        }
    });
    let ask = Ask { timeout_ms: 50, ..Ask::default() };
    assert_eq!(denied(&ask, server.address(), "", 404), "no answer in time");
    let ask = Ask { timeout_ms: u32::MAX, ..Ask::default() };
    assert_eq!(denied(&ask, server.address(), ", calls: { timeout: 60ms }", 404), "no answer in time");
    for told in ["50m", "60m"] {
        let reset = reset_by.recv_timeout(DEADLINE).unwrap();
        assert_eq!(reset, (told.to_owned(), Reason::CANCEL), "the server is told");
    }
}

#[test]
fn a_server_that_is_not_there() {
    let (address, _held) = refusing_address();
    assert_eq!(denied(&Ask::default(), address, "", 414), "no connection to the server");
    let http1 = Origin::echo();
    denied(&Ask::default(), http1.address(), ", calls: { timeout: 10s }", 414);
}

/// By its name, inside Envoy's message, by host and port; not if it speaks HTTP/1.1 or is not listed.
#[test]
fn how_a_server_is_named() {
    let server = Http2Origin::start(|mut exchange| async move {
        let authority = exchange.request.uri().authority().unwrap().to_string();
        exchange.read().await;
        answer(&mut exchange, frame(authority.as_bytes()), well());
    });
    let address = server.address().to_string();
    // envoy_grpc { cluster_name, authority }
    let envoy = [&b"\x0a\x17\x0a\x04auth\x12\x0f"[..], b"grpc.test:50051"].concat();
    let cases: [(&[u8], &str); 3] =
        [(b"auth", &address), (&envoy, "grpc.test:50051"), (address.as_bytes(), &address)];
    for (upstream, authority) in cases {
        let origin = Origin::echo();
        let gateway = begin(&asking(&Ask { upstream, ..Ask::default() }), &origin, server.address());
        assert_eq!(gateway.get("/").status(), 200, "{}", upstream.escape_ascii());
        assert_eq!(origin.requests()[0].header("x-answer"), Some(authority));
        gateway.stop();
    }
    for (upstream, help) in [
        ("old", "Grpc calls need an upstream of `protocol: http2`"),
        ("u", "add it to `allow.upstreams` of filters.ask"),
    ] {
        let origin = Origin::echo();
        let ask = Ask { upstream: upstream.as_bytes(), ..Ask::default() };
        let gateway = begin(&asking(&ask), &origin, server.address());
        for _ in 0..2 {
            assert_eq!(gateway.get("/").status(), PARSE_FAILURE, "{upstream}");
        }
        let log = gateway.stop().log;
        assert_eq!(log.iter().filter(|line| line.contains(help)).count(), 1, "{}", log.join("\n"));
    }
}

#[test]
fn calls_beyond_the_limits_are_not_made() {
    let server = Http2Origin::start(|exchange| async move {
        let _kept = exchange;
        std::future::pending::<()>().await;
    });
    let ask = Ask { message: 17, ..Ask::default() };
    denied(&ask, server.address(), ", calls: { request_bytes: 16B }", INTERNAL_FAILURE);
    assert_eq!(server.connections(), 0);

    let origin = Origin::echo();
    let gateway =
        start(&policy(&asking(&Ask::default()), &origin, server.address(), ", calls: { at_once: 1 }"));
    let mut first = gateway.client();
    first.send(get("/", &[]));
    crate::support::wait_for("the first call", || (server.connections() == 1).then_some(()));
    assert_eq!(gateway.get("/").status(), INTERNAL_FAILURE);
}
