//! Every failure gets the answer that says whose fault it is, and a word in the access log.

use crate::support::{
    Client, FORWARD_ALL, Gateway, Message, Next, Origin, deaf_address, get, refusing_address, response,
    upstream,
};

/// The answer, and the word in the access log.
fn failed(gateway: Gateway, request: impl AsRef<[u8]>) -> (u16, String) {
    let answer = gateway.ask(request);
    check_error_answer(&answer);
    let log = gateway.stop().access_log;
    assert_eq!(log.len(), 1, "{log:?}");
    assert_eq!(log[0]["status"], answer.status());
    (answer.status(), log[0]["error"].as_str().unwrap_or("-").to_owned())
}

/// It says little, and names itself so that the log can be searched for it.
fn check_error_answer(answer: &Message) {
    assert!(answer.header("x-request-id").is_some(), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(answer.body.len() < 40, "{}", answer.text());
}

fn before(endpoint: &str, more: &str) -> Gateway {
    Gateway::start(&format!(
        "limits: {{ total_timeout: 3s, header_read_timeout: 1s }}\n\
         upstreams: {{ u: {{ endpoints: ['{endpoint}']{more} }} }}\n{FORWARD_ALL}"
    ))
}

#[test]
fn upstreams_that_answer_wrongly() {
    let table = [
        ("", "upstream_closed"),
        ("HTTP/1.1 200", "upstream_closed"),
        ("garbage\r\n\r\n", "upstream_protocol"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            "upstream_protocol",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy", "upstream_protocol"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "bad_response"),
    ];
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let excessive = [(&*many, "upstream_protocol"), (&*long, "upstream_protocol")];
    for (bytes, word) in table.into_iter().chain(excessive) {
        let answer = bytes.to_owned();
        let origin = Origin::start(move |exchange| {
            exchange.wire.send(&answer)?;
            Ok(Next::Close)
        });
        let result = failed(before(&origin.address().to_string(), ""), get("/", &[]));
        assert_eq!(result, (502, word.to_owned()), "{bytes:?}");
    }
}

#[test]
fn upstreams_that_are_not_there() {
    let (refusing, _held) = refusing_address();
    let result = failed(before(&refusing.to_string(), ""), get("/", &[]));
    assert_eq!(result, (502, "upstream_connect".to_owned()));

    let (deaf, _held) = deaf_address();
    let result = failed(before(&deaf.to_string(), ", connect_timeout: 100ms"), get("/", &[]));
    assert_eq!(result, (504, "upstream_connect_timeout".to_owned()));

    let result = failed(before("nowhere.invalid:80", ""), get("/", &[]));
    assert_eq!(result, (502, "upstream_dns".to_owned()));
}

#[test]
fn upstreams_that_are_too_slow() {
    let silent = Origin::start(|exchange| exchange.wait_until_closed());
    let address = silent.address().to_string();
    let result = failed(before(&address, ", response_timeout: 100ms"), get("/", &[]));
    assert_eq!(result, (504, "upstream_timeout".to_owned()));
    silent.wait_until_unconnected();

    let gateway = Gateway::start(&format!(
        "limits: {{ total_timeout: 200ms, header_read_timeout: 100ms }}\n{}{FORWARD_ALL}",
        upstream(&silent)
    ));
    assert_eq!(failed(gateway, get("/", &[])), (504, "total_timeout".to_owned()));
    silent.wait_until_unconnected();
}

/// The head is gone by then: all that is left is to cut the connection.
#[test]
fn a_body_beyond_the_total_time_is_cut() {
    let origin = Origin::start(|exchange| {
        exchange.wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")?;
        exchange.wait_until_closed()
    });
    let gateway = Gateway::start(&format!(
        "limits: {{ total_timeout: 300ms, header_read_timeout: 100ms }}\n{}{FORWARD_ALL}",
        upstream(&origin)
    ));
    let mut client = gateway.client();
    client.send(get("/", &[]));
    assert!(client.try_response().is_err());
    origin.wait_until_unconnected();
    assert_eq!(gateway.stop().access_log[0]["error"], "total_timeout");
}

#[test]
fn requests_that_no_route_takes() {
    let gateway = Gateway::start("routes: [{ match: { path: { exact: /here } }, respond: { status: 200 } }]");
    assert_eq!(failed(gateway, get("/there", &[])), (404, "no_route".to_owned()));
}

/// Refused by the gateway: never forwarded, and logged like any other.
#[test]
fn requests_that_are_wrong() {
    let head = |rest: &str| format!("GET /{rest}").into_bytes();
    let table = [
        (get("/a%2fb", &[]), 400, "bad_path"),
        (get("/a%5Cb", &[]), 400, "bad_path"),
        (get("/%zz", &[]), 400, "bad_path"),
        (get("/a/..;/b", &[]), 400, "bad_path"),
        (get("/%00", &[]), 400, "bad_path"),
        (head(" HTTP/1.1\r\n\r\n"), 400, "bad_host"),
        (head(" HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"), 400, "bad_host"),
        (head(" HTTP/1.1\r\nhost: a b\r\n\r\n"), 400, "bad_host"),
        (head(" HTTP/1.1\r\nhost: user@a\r\n\r\n"), 400, "bad_host"),
        (get("/", &[("expect", "200-maybe")]), 417, "unknown_expectation"),
        (get("/", &[("connection", &["a"; 17].join(","))]), 400, "bad_connection_options"),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n".to_vec(), 501, "connect_method"),
        (
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_vec(),
            501,
            "transfer_coding",
        ),
    ];
    let origin = Origin::answering(response(200, &[], b"reached"));
    let gateway = Gateway::before(&origin);
    for (request, status, _) in &table {
        let answer = gateway.ask(request);
        assert_eq!(answer.status(), *status, "{}", String::from_utf8_lossy(request));
        check_error_answer(&answer);
    }
    assert_eq!(origin.requests().len(), 0);
    let log = gateway.stop().access_log;
    let seen: Vec<_> = log.iter().map(|line| line["error"].as_str().unwrap().to_owned()).collect();
    assert_eq!(seen, table.map(|(_, _, word)| word));
}

/// Bytes that two servers could read differently: one answer, then the end, and the upstream sees
/// nothing of what could be a second request.
#[test]
fn ambiguous_framing_is_refused() {
    const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let table = [
        "content-length: 4\r\ncontent-length: 5\r\n\r\nbody",
        "content-length: 4, 5\r\n\r\nbody",
        "content-length: +4\r\n\r\nbody",
        "content-length: 0x4\r\n\r\nbody",
        "content-length: \r\n\r\nbody",
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nzz\r\nbody\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n-1\r\nbody\r\n0\r\n\r\n",
        "x: 1\r\n folded\r\n\r\n",
        "x: a\rb\r\n\r\n",
        "x: a\0b\r\n\r\n",
    ];
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    for rest in table {
        let mut client = gateway.client();
        client.send(format!("POST /first HTTP/1.1\r\nhost: a\r\n{rest}{SMUGGLED}"));
        let answer = client.response();
        assert!(matches!(answer.status(), 400 | 501), "{rest:?}: {}", answer.start);
        assert_ends(&mut client, rest);
    }
    let seen: Vec<_> = origin.requests().iter().map(|request| request.target().to_owned()).collect();
    assert!(!seen.iter().any(|target| target == "/smuggled"), "{seen:?}");
}

/// RFC 9112, 6.1: chunked counts, the length is not passed on, and the connection ends.
#[test]
fn of_two_framings_one_goes_on() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    for rest in
        ["content-length: 4\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 4"]
    {
        let mut client = gateway.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\n{rest}\r\n\r\n3\r\none\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        ));
        assert_eq!(client.response().text(), "one");
        assert_ends(&mut client, rest);
    }
    for request in origin.requests() {
        assert_eq!((request.target(), request.header("content-length")), ("/", None));
        assert_eq!(request.header("transfer-encoding"), Some("chunked"));
    }
}

fn assert_ends(client: &mut Client, rest: &str) {
    assert!(client.try_response().is_err(), "{rest:?}: a second answer");
}
