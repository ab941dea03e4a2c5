//! Limits on what a client may send and wait for, each with its status.
#![allow(clippy::unwrap_used)]

mod support;

use support::{FORWARD_ALL, Gate, Gateway, Next, Options, Origin, get, post, response, upstream};

/// One worker: what its sweep has done to one connection it has done to all.
fn limited(limits: &str, origin: &Origin) -> Gateway {
    let policy = format!("limits: {{ {limits} }}\n{}{FORWARD_ALL}", upstream(origin));
    Gateway::start_with(&policy, &Options { workers: 1, ..Options::default() })
}

fn chunks(sizes: &[usize]) -> Vec<u8> {
    let mut request = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for size in sizes {
        request.extend(format!("{size:x}\r\n{}\r\n", "x".repeat(*size)).bytes());
    }
    request.extend(b"0\r\n\r\n");
    request
}

#[test]
fn bodies_beyond_the_limit_are_refused_with_413() {
    let origin = Origin::echo();
    let gateway = limited("body_bytes: 1000", &origin);
    assert_eq!(gateway.ask(post("/", &[], &[b'x'; 1000])).body.len(), 1000);
    assert_eq!(gateway.ask(chunks(&[500, 500])).body.len(), 1000);
    // By what it says of itself: the upstream hears nothing of it.
    let seen = origin.requests().len();
    assert_eq!(gateway.ask(post("/", &[], &[b'x'; 1001])).status(), 413);
    assert_eq!(origin.requests().len(), seen);
    // By what comes: the upstream must not take the part for the whole.
    assert_eq!(gateway.ask(chunks(&[600, 401])).status(), 413);
    origin.wait_until_unconnected();
    let log = gateway.stop().access_log;
    let words: Vec<_> = log.iter().map(|line| line["error"].as_str()).collect();
    assert_eq!(words, [None, None, Some("body_too_large"), Some("body_too_large")]);
}

#[test]
fn a_client_that_waits_to_continue_is_refused_before_it_sends() {
    let origin = Origin::echo();
    let gateway = limited("body_bytes: 1000", &origin);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1001\r\nexpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status(), 413);
}

#[test]
fn heads_beyond_the_limit_are_refused_with_431() {
    let origin = Origin::echo();
    let gateway = limited("header_bytes: 8KiB, header_count: 10", &origin);
    let padding = |bytes: usize| "x".repeat(bytes);
    assert_eq!(gateway.ask(get("/", &[("x", &padding(7000))])).status(), 200);
    let answer = gateway.ask(get("/", &[("x", &padding(9000))]));
    assert_eq!(answer.status(), 431);
    let fields = |count: usize| vec![("x", "y"); count];
    assert_eq!(gateway.ask(get("/", &fields(9))).status(), 200);
    assert_eq!(gateway.ask(get("/", &fields(10))).status(), 431);
    assert_eq!(origin.requests().len(), 2);
    let refused = r#"tollgate_requests_total{route="-",class="4xx"}"#;
    gateway.wait_for_metric(refused, 2.0);
    assert_eq!(errors(gateway), ["-", "head_too_large", "-", "head_too_large"]);
}

#[test]
fn targets_beyond_the_limit_are_refused() {
    let origin = Origin::echo();
    let gateway = limited("header_bytes: 8KiB", &origin);
    let answer = gateway.get(&format!("/{}", "x".repeat(9000)));
    assert!(matches!(answer.status(), 414 | 431), "{}", answer.start);
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn a_head_that_does_not_end_is_answered_with_408() {
    let origin = Origin::echo();
    let gateway = limited("header_read_timeout: 100ms", &origin);
    for begun in [false, true] {
        let mut client = gateway.client();
        if begun {
            assert_eq!(client.ask(get("/", &[])).status(), 200);
        }
        client.send("GET / HTTP/1.1\r\nhost:");
        let answer = client.response();
        assert_eq!((answer.status(), answer.header("connection")), (408, Some("close")));
        client.assert_closed();
    }
    assert_eq!(errors(gateway), ["head_timeout", "-", "head_timeout"]);
}

/// The words of the access log, one a request.
fn errors(gateway: Gateway) -> Vec<String> {
    let log = gateway.stop().access_log;
    log.iter().map(|line| line["error"].as_str().unwrap_or("-").to_owned()).collect()
}

#[test]
fn what_is_no_http_is_told_too() {
    let gateway = limited("connections: 10", &Origin::echo());
    assert_eq!(gateway.ask("\x16\x03\x01 hello\r\n\r\n").status(), 400);
    assert_eq!(gateway.ask("GET / HTTP/1.1\r\nhost : a\r\n\r\n").status(), 400);
    assert_eq!(gateway.ask("GET / HTTP/9.9\r\nhost: a\r\n\r\n").status(), 400);
    let log = gateway.stop().access_log;
    assert_eq!(log.len(), 3);
    for line in log {
        assert_eq!((&line["status"], &line["error"]), (&400.into(), &"malformed_head".into()));
        assert_eq!((&line["client"], line.get("path")), (&"127.0.0.1".into(), None));
    }
}

/// The limit on the head is none on the body, which has the total time.
#[test]
fn a_slow_body_is_no_slow_head() {
    let origin = Origin::echo();
    let gateway = limited("header_read_timeout: 100ms", &origin);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 8\r\n\r\nhalf");
    origin.wait_for_requests(1);
    // A head that does not end has met its limit meanwhile.
    let mut other = gateway.client();
    other.send("GET");
    assert_eq!(other.response().status(), 408);
    client.send("half");
    assert_eq!(client.response().text(), "halfhalf");
}

/// While a response runs, the rest of the upload and requests behind it are no slow heads.
#[test]
fn a_long_exchange_is_no_slow_head() {
    let (answer, origin_read) = (Gate::new(), Gate::new());
    let origin = Origin::start({
        let (answer, origin_read) = (answer.clone(), origin_read.clone());
        move |exchange| {
            exchange.wire.until(b"first")?;
            exchange.wire.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha")?;
            exchange.wire.until(b"last")?;
            origin_read.open();
            answer.pass();
            exchange.wire.send("lf")?;
            Ok(Next::Keep)
        }
    });
    let gateway = limited("header_read_timeout: 100ms", &origin);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nfirst");
    assert_eq!(client.head().status(), 200);
    // The rest of the body, and half of another head.
    client.send("lastGET ");
    origin_read.pass();
    let mut other = gateway.client();
    other.send("GET");
    assert_eq!(other.response().status(), 408);
    answer.open();
    assert_eq!(client.wire.exact(4).unwrap(), b"half");
}

/// The answer is larger than every buffer on the way, and nobody reads it.
#[test]
fn a_client_that_does_not_read_its_answer_is_cut() {
    const SIZE: usize = 64 << 20;
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |exchange| {
            if exchange.request.target() == "/small" {
                exchange.wire.send(response(200, &[], b"small"))?;
                return Ok(Next::Keep);
            }
            exchange.wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n"))?;
            gate.open();
            exchange.wire.send(vec![b'x'; SIZE])?;
            Ok(Next::Keep)
        }
    });
    let gateway = limited("total_timeout: 500ms, header_read_timeout: 400ms", &origin);
    let mut client = gateway.client();
    client.send(get("/", &[]));
    gate.pass();
    // Its end is not waited for: it would read on if the gateway did not cut it.
    gateway.wait_for_metric("tollgate_client_connections_active", 0.0);
    origin.wait_until_unconnected();
    let log = gateway.wait_for_access_log(1);
    assert!(log[0]["bytes_out"].as_u64().unwrap() < SIZE as u64, "{}", log[0]);
    drop(client);
    // The others go on.
    assert_eq!(gateway.get("/small").text(), "small");
}
