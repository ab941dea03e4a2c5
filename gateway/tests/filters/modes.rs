//! How much of a body a filter is shown: none, each piece, the whole, the beginning.

use serde_json::json;

use crate::guests::{BODIES, always, callback, trailers_callback, with};
use crate::support::{Gateway, Message, Next, Origin, get, post, response};
use crate::{chain, wasm};

/// Appends to what it is shown: `.` at the end of the body, else `!`.
fn marking(name: &str) -> String {
    let buffer = u32::from(name == "response_body");
    always_wasm(
        name,
        &format!(
            "(i32.store8 (i32.const 64) (select (i32.const 46) (i32.const 33) (local.get $end)))
    (drop (call $write (i32.const {buffer}) (i32.const 0x7fffffff) (i32.const 0) (i32.const 64) (i32.const 1)))
    (i32.const 0)"
        ),
    )
}

fn always_wasm(name: &str, code: &str) -> String {
    always(name, code).display().to_string()
}

fn filter(module: &str, more: &str) -> String {
    format!("{{ wasm: {{ module: '{module}', {more} }} }}")
}

/// `body` in chunks of these sizes, to POST.
fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for piece in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
        bytes.extend([piece, b"\r\n"].concat());
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

/// Answers with the body of the request, in chunks of three bytes.
fn chunked_echo() -> Origin {
    Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for piece in exchange.request.body.clone().chunks(3) {
            exchange.wire.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())?;
        }
        exchange.wire.send("0\r\n\r\n")?;
        Ok(Next::Keep)
    })
}

#[test]
fn each_mode_shows_what_it_says() {
    let modes = [
        ("none", "abcdefgh"),
        ("{ buffer: 8 }", "abcdefgh."),
        ("{ buffer: 8KiB }", "abcdefgh."),
        ("{ peek: 1 }", "a!bcdefgh"),
        ("{ peek: 3 }", "abc!defgh"),
        ("{ peek: 7 }", "abcdefg!h"),
        ("{ peek: 9 }", "abcdefgh."),
    ];
    for name in BODIES {
        for (mode, expected) in modes {
            for (origin, of_nothing) in [(Origin::echo(), ""), (chunked_echo(), ".")] {
                let mark = filter(&marking(name), &format!("{name}: {mode}"));
                let gateway = Gateway::start(&chain(&origin, &[("mark", mark)]));
                let mut client = gateway.client();
                for request in [post("/", &[], b"abcdefgh"), in_chunks(b"abcdefgh", 2)] {
                    assert_eq!(client.ask(request).text(), expected, "{name}: {mode}");
                }
                // No body is not shown; one that turns out to be empty is.
                let of_nothing = if name == "response_body" && mode != "none" { of_nothing } else { "" };
                assert_eq!(client.ask(get("/", &[])).text(), of_nothing, "{name}: {mode}");
            }
        }
    }
}

/// `body` stands for both sides, and each side may differ.
#[test]
fn a_mode_for_both_sides_gives_way_to_that_of_one() {
    let origin = Origin::echo();
    let both = with(&format!(
        "{}{}",
        callback("request_body", "unreachable"),
        callback("response_body", "(call $deny (i32.const 599)) (i32.const 1)")
    ));
    let filter = wasm(&both, ", body: none, response_body: { buffer: 10 }");
    let gateway = Gateway::start(&chain(&origin, &[("both", filter)]));
    assert_eq!(gateway.ask(post("/", &[], b"body")).status(), 599);
}

/// The head waits until the guest has seen the body, however long that takes to come.
#[test]
fn the_head_may_be_changed_when_the_body_was_seen() {
    for (name, map) in [("request_body", 0), ("response_body", 2)] {
        for mode in ["{ buffer: 1MiB }", "{ peek: 5 }"] {
            let code = format!(
                "(drop (call $add (i32.const {map}) (i32.const 64) (i32.const 6) (i32.const 80) (i32.const 3)))
    (i32.const 0)"
            );
            let fields = format!(
                r#"(data (i32.const 64) "x-seen") (data (i32.const 80) "yes") {}"#,
                callback(name, &code)
            );
            let origin = chunked_echo();
            let seen = wasm(&with(&fields), &format!(", {name}: {mode}"));
            let gateway = Gateway::start(&chain(&origin, &[("see", seen)]));
            let mut client = gateway.client();
            client.send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
            client.send("3\r\ntwo\r\n0\r\n\r\n");
            let answer = client.response();
            assert_eq!(answer.text(), "onetwo", "{name}: {mode}");
            let on: Message = if map == 0 { origin.request() } else { answer };
            assert_eq!(on.header("x-seen"), Some("yes"), "{name}: {mode}");
        }
    }
}

/// More than a filter may be shown is refused before the guest is called at all.
#[test]
fn a_body_beyond_the_buffer_is_refused() {
    for (name, status, word) in
        [("request_body", 413, "body_too_large"), ("response_body", 502, "response_too_large")]
    {
        let origin = Origin::echo();
        let code = "(if (i32.ne (local.get $size) (i32.const 1000)) (then unreachable)) (i32.const 0)";
        let whole = filter(&always_wasm(name, code), &format!("{name}: {{ buffer: 1000 }}"));
        let gateway = Gateway::start(&chain(&origin, &[("whole", whole)]));
        let (fits, long) = (vec![b'a'; 1000], vec![b'a'; 1001]);
        assert_eq!(gateway.ask(post("/", &[], &fits)).body, fits);
        assert_eq!(gateway.ask(in_chunks(&fits, 100)).body, fits);
        assert_eq!(gateway.ask(post("/", &[], &long)).status(), status);
        assert_eq!(gateway.ask(in_chunks(&long, 100)).status(), status);
        let calls =
            format!(r#"tollgate_filter_calls_total{{filter="whole",phase="{name}",outcome="continue"}}"#);
        gateway.wait_for_metric(&calls, 2.0);
        assert_eq!(gateway.metric(&calls.replace("continue", "fail")), None);
        let log = gateway.stop().access_log;
        let ended = json!({ "filter": "whole", "phase": name, "reason": "the body is too large for it" });
        for line in &log[2..] {
            assert_eq!((&line["error"], &line["ended_by"]), (&json!(word), &ended), "{line}");
        }
    }
}

/// Nothing of a request that is denied for its body reaches the upstream.
#[test]
fn a_denial_for_the_body_is_all_that_happens() {
    let origin = Origin::echo();
    for mode in ["{ buffer: 1MiB }", "{ peek: 10 }"] {
        let deny = always_wasm("request_body", "(call $deny (i32.const 403)) (i32.const 1)");
        let gateway = Gateway::start(&chain(&origin, &[("deny", filter(&deny, &format!("body: {mode}")))]));
        let mut client = gateway.client();
        let answer = client.ask(post("/", &[], &[b'x'; 100_000]));
        assert_eq!((answer.status(), answer.text()), (403, "no"));
    }
    assert_eq!((origin.requests().len(), origin.connections()), (0, 0));
}

/// The guest sees the trailers behind a body that it saw whole, and no others.
#[test]
fn trailers_follow_what_was_shown() {
    for (mode, shown, seen) in [
        ("none", "onetwo", None),
        ("{ buffer: 6 }", "onetwo.", Some("1")),
        ("{ peek: 7 }", "onetwo.", Some("1")),
        ("{ peek: 3 }", "one!two", None),
    ] {
        let fields = format!(
            r#"(data (i32.const 72) "x-seen") (data (i32.const 80) "1") {} {}"#,
            callback(
                "request_body",
                "(i32.store8 (i32.const 64) (select (i32.const 46) (i32.const 33) (local.get $end)))
    (drop (call $write (i32.const 0) (i32.const 0x7fffffff) (i32.const 0) (i32.const 64) (i32.const 1)))
    (i32.const 0)"
            ),
            trailers_callback(
                "request_trailers",
                "(drop (call $add (i32.const 1) (i32.const 72) (i32.const 6) (i32.const 80) (i32.const 1)))
    (i32.const 0)"
            )
        );
        let origin = Origin::echo();
        let see = wasm(&with(&fields), &format!(", body: {mode}"));
        let gateway = Gateway::start(&chain(&origin, &[("see", see)]));
        let answer = gateway.ask(
            "POST / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\ntrailer: x-sum, x-seen\r\n\
             transfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\nx-sum: up\r\n\r\n",
        );
        let request = origin.request();
        assert_eq!(answer.text(), shown, "{mode}");
        assert_eq!((request.trailer("x-sum"), request.trailer("x-seen")), (Some("up"), seen), "{mode}");
    }
}

/// Pauses in its one body callback, and goes on from a timer. Trailers before that are a trap.
fn resumed_by_tick(name: &str) -> String {
    let side = u32::from(name == "response_body");
    let trailers = name.replace("body", "trailers");
    let fields = format!(
        r#"(global $waiting (mut i32) (i32.const 0))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $tick (i32.const 10))) (i32.const 1))
  (func (export "proxy_on_tick") (param i32)
    (if (global.get $waiting) (then
      (drop (call $effective (global.get $waiting)))
      (drop (call $continue (i32.const {side})))
      (global.set $waiting (i32.const 0)))))
  {}{}"#,
        callback(name, "(global.set $waiting (local.get $id)) (i32.const 1)"),
        trailers_callback(&trailers, "(if (global.get $waiting) (then unreachable)) (i32.const 0)")
    );
    with(&fields).display().to_string()
}

#[test]
fn a_filter_may_think_about_what_it_saw() {
    for name in BODIES {
        for mode in ["{ buffer: 1MiB }", "{ peek: 100 }"] {
            let origin = Origin::start(|exchange| {
                exchange.read_body()?;
                let body = &exchange.request.body;
                let head = "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n";
                let chunk = [format!("{head}{:x}\r\n", body.len()).as_bytes(), body].concat();
                exchange.wire.send([&chunk, &b"\r\n0\r\nx-sum: down\r\n\r\n"[..]].concat())?;
                Ok(Next::Keep)
            });
            let think = filter(&resumed_by_tick(name), &format!("{name}: {mode}"));
            let gateway = Gateway::start(&chain(&origin, &[("think", think)]));
            let body: Vec<u8> = (0..200_000_u32).map(|index| (index % 251) as u8).collect();
            let mut request = b"POST / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\n".to_vec();
            request.extend(b"trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n30d40\r\n");
            request.extend([&body, &b"\r\n0\r\nx-sum: up\r\n\r\n"[..]].concat());
            let answer = gateway.ask(request);
            let upstream = origin.request();
            assert!(answer.body == body && upstream.body == body, "{name}: {mode}");
            assert_eq!((answer.trailer("x-sum"), upstream.trailer("x-sum")), (Some("down"), Some("up")));
        }
    }
}

/// Filters that wait, gather and look, in any order: nothing is lost, and the order of bytes stays.
#[test]
fn filters_of_all_kinds_in_one_chain() {
    for name in BODIES {
        let wait = || filter(&resumed_by_tick(name), "body: stream");
        let think = || filter(&resumed_by_tick(name), "body: { buffer: 1MiB }");
        let peek = || filter(&resumed_by_tick(name), "body: { peek: 1000 }");
        let mark = || filter(&marking(name), "body: { buffer: 1MiB }");
        let chains = [
            vec![("wait", wait()), ("gather", mark())],
            vec![("gather", mark()), ("wait", wait())],
            vec![("peek", peek()), ("gather", mark()), ("think", think())],
            vec![("think", think()), ("peek", peek()), ("gather", mark())],
        ];
        for filters in chains {
            let origin = chunked_echo();
            let gateway = Gateway::start(&chain(&origin, &filters));
            let body: Vec<u8> = (0..150_000_u32).map(|index| (index % 241) as u8).collect();
            let mut client = gateway.client();
            for request in [post("/", &[], &body), in_chunks(&body, 4096)] {
                let answer = client.ask(request);
                let (last, rest) = answer.body.split_last().unwrap();
                assert!(
                    rest == body && *last == b'.',
                    "{name}: {:?}",
                    filters.iter().map(|f| f.0).collect::<Vec<_>>()
                );
            }
        }
    }
}

/// What a filter makes of a body that it sees whole is what its length says.
#[test]
fn the_length_follows_a_body_that_was_changed_whole() {
    let origin = Origin::echo();
    let both = with(&format!(
        "{}{}",
        callback(
            "request_body",
            "(drop (call $write (i32.const 0) (i32.const 0) (i32.const 3) (i32.const 48) (i32.const 2))) (i32.const 0)"
        ),
        callback(
            "response_body",
            "(drop (call $write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 48) (i32.const 0))) (i32.const 0)"
        )
    ));
    let gateway = Gateway::start(&chain(&origin, &[("both", wasm(&both, ", body: { buffer: 1KiB }"))]));
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.ask(post("/", &[], b"hello"));
        assert_eq!((answer.header("content-length"), answer.text()), (Some("0"), ""));
    }
    for request in origin.requests() {
        assert_eq!((request.header("content-length"), request.text()), (Some("4"), "nolo"));
    }
}

/// A client that waits to be told gets told, as the filter must see the body.
#[test]
fn a_body_that_is_gathered_is_asked_for() {
    let origin = Origin::echo();
    let mark = filter(&marking("request_body"), "body: { buffer: 1KiB }");
    let gateway = Gateway::start(&chain(&origin, &[("mark", mark)]));
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.head().status(), 100);
    client.send("hello");
    assert_eq!(client.response().text(), "hello.");
}

#[test]
fn answers_without_a_body_are_not_waited_for() {
    let mark = || filter(&marking("response_body"), "body: { buffer: 1KiB }");
    for answer in [&b"HTTP/1.1 204 No Content\r\n\r\n"[..], b"HTTP/1.1 304 Not Modified\r\n\r\n"] {
        let origin = Origin::answering(answer);
        let gateway = Gateway::start(&chain(&origin, &[("mark", mark())]));
        let mut client = gateway.client();
        for _ in 0..2 {
            assert_eq!(client.ask(get("/", &[])).body, b"");
        }
    }
    let origin = Origin::start(|exchange| {
        exchange.wire.send("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n")?;
        Ok(Next::Keep)
    });
    let gateway = Gateway::start(&chain(&origin, &[("mark", mark())]));
    let mut client = gateway.client();
    for _ in 0..2 {
        let head = client.ask("HEAD / HTTP/1.1\r\nhost: h\r\n\r\n");
        assert_eq!((head.status(), head.header("content-length")), (200, Some("7")));
    }
}

/// An upstream that answers before it has read the request: its answer is the client's.
#[test]
fn an_early_answer_ends_a_request_that_is_held() {
    let origin = Origin::start(|exchange| {
        exchange.wire.send(response(401, &[], b"early"))?;
        exchange.wait_until_closed()
    });
    // Lets the first piece go, and holds the others for ever.
    let fields = format!(
        "(global $calls (mut i32) (i32.const 0)) {}",
        callback(
            "request_body",
            "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i32.gt_u (global.get $calls) (i32.const 1))"
        )
    );
    let gateway = Gateway::start(&chain(&origin, &[("hold", wasm(&with(&fields), ""))]));
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
    origin.wait_for_requests(1);
    assert_eq!(client.response().text(), "early");
}

/// A timer closes an exchange wherever it is, though no filter looks at its bodies.
#[test]
fn a_timer_may_close_a_stream_at_any_time() {
    let close = format!(
        r#"(global $open (mut i32) (i32.const 0))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $tick (i32.const 10))) (i32.const 1))
  (func (export "proxy_on_tick") (param i32)
    (if (global.get $open) (then
      (drop (call $effective (global.get $open)))
      (drop (call $close (i32.const 0))))))
  {}"#,
        callback("request_headers", "(global.set $open (local.get $id)) (i32.const 0)")
    );
    let module = with(&close);
    let silent = Origin::start(|exchange| exchange.wait_until_closed());
    let stalling = Origin::start(|exchange| {
        exchange.wire.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")?;
        exchange.wait_until_closed()
    });
    for (origin, request) in [
        (&silent, get("/", &[])),
        (&stalling, get("/", &[])),
        (&silent, b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nhalf".to_vec()),
    ] {
        let gateway = Gateway::start(&chain(origin, &[("close", wasm(&module, ""))]));
        let mut client = gateway.client();
        client.send(request);
        assert!(client.try_response().is_err());
        let log = gateway.stop().access_log;
        assert_eq!((log.len(), &log[0]["error"]), (1, &json!("filter_closed")), "{log:?}");
    }
}
