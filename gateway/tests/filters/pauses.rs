//! Filters that hold an exchange back, and let it go later.

use crate::guests::{always, callback, trailers_callback, with};
use crate::support::{Gateway, Origin, get, post, response};
use crate::{chain, wasm};

/// Pauses in one callback when `when` holds, and goes on from a timer, in the stream's context.
fn resumed_by_tick(name: &str, when: &str, side: u32) -> String {
    let fields = format!(
        r#"(global $waiting (mut i32) (i32.const 0))
  (data (i32.const 64) "x-resumed") (data (i32.const 80) "yes")
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $tick (i32.const 10))) (i32.const 1))
  (func (export "proxy_on_tick") (param i32)
    (if (global.get $waiting) (then
      (drop (call $effective (global.get $waiting)))
      (drop (call $add (i32.const {map}) (i32.const 64) (i32.const 9) (i32.const 80) (i32.const 3)))
      (drop (call $continue (i32.const {side})))
      (global.set $waiting (i32.const 0)))))
  {callback}"#,
        map = side * 2,
        callback = callback(
            name,
            &format!("(if {when} (then (global.set $waiting (local.get $id)))) (i32.const 1)")
        )
    );
    wasm(&with(&fields), "")
}

#[test]
fn a_timer_lets_paused_headers_go() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let hold = resumed_by_tick("request_headers", "(i32.const 1)", 0);
    let gateway = Gateway::start(&chain(&origin, &[("hold", hold)]));
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.ask(get("/", &[])).text(), "ok");
    }
    assert!(origin.requests().iter().all(|request| request.header("x-resumed") == Some("yes")));

    let hold = resumed_by_tick("response_headers", "(i32.const 1)", 1);
    let gateway = Gateway::start(&chain(&origin, &[("hold", hold)]));
    let mut client = gateway.client();
    for _ in 0..3 {
        let answer = client.ask(get("/", &[]));
        assert_eq!((answer.text(), answer.header("x-resumed")), ("ok", Some("yes")));
    }
}

#[test]
fn a_timer_lets_paused_bodies_go() {
    for (name, side) in [("request_body", 0), ("response_body", 1)] {
        let origin = Origin::echo();
        let hold = resumed_by_tick(name, "(local.get $end)", side);
        let gateway = Gateway::start(&chain(&origin, &[("hold", hold)]));
        let mut client = gateway.client();
        for body in [&b"short"[..], &[b'x'; 200_000]] {
            assert_eq!(client.ask(post("/", &[], body)).body, body, "{name}");
        }
    }
}

/// What is held back ends with the total time, at the latest.
#[test]
fn a_filter_that_never_goes_on_meets_the_total_time() {
    let origin = Origin::echo();
    let hold = wasm(&always("request_headers", "(i32.const 1)"), "");
    let limits = "limits: { total_timeout: 200ms, header_read_timeout: 100ms }\n";
    let gateway = Gateway::start(&format!("{limits}{}", chain(&origin, &[("hold", hold)])));
    assert_eq!(gateway.get("/").status(), 504);
    assert_eq!(origin.requests().len(), 0);
    assert_eq!(gateway.stop().access_log[0]["error"], "total_timeout");
}

/// The client of a held request goes away: nothing of it is left.
#[test]
fn a_held_request_ends_with_its_client() {
    let origin = Origin::echo();
    let hold = wasm(&always("request_headers", "(i32.const 1)"), "");
    let gateway = Gateway::start(&chain(&origin, &[("hold", hold)]));
    for _ in 0..3 {
        let mut client = gateway.client();
        client.send(get("/", &[]));
        // The head has been read when the connection counts as accepted, or soon after: both are fine.
        drop(client);
    }
    gateway.wait_for_metric("tollgate_client_connections_total{outcome=\"accepted\"}", 3.0);
    gateway.wait_for_metric("tollgate_client_connections_active", 0.0);
    assert_eq!(origin.requests().len(), 0);
}

/// A body that is judged as a whole: it begins with `x` or passes.
fn judge(name: &str, buffer: u32) -> String {
    let code = format!(
        "(if (i32.eqz (local.get $end)) (then (return (i32.const 1))))
    (drop (call $read (i32.const {buffer}) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 4)))
    (if (result i32) (i32.eq (i32.load8_u (i32.load (i32.const 0))) (i32.const 120))
      (then (call $deny (i32.const 403)) (i32.const 1))
      (else (i32.const 0)))"
    );
    wasm(&always(name, &code), "")
}

#[test]
fn a_body_is_held_until_its_end_and_judged() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&chain(&origin, &[("judge", judge("request_body", 0))]));
    let large = vec![b'a'; 300_000];
    for (body, status) in [(&b"all right"[..], 200), (b"xxx", 403), (&large, 200)] {
        let answer = gateway.ask(post("/", &[], body));
        assert_eq!(answer.status(), status);
        assert!(status != 200 || answer.body == body);
    }
    // In pieces: the first is held until the last has come.
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
    client.send("3\r\ntwo\r\n");
    client.send("0\r\n\r\n");
    assert_eq!(client.response().text(), "onetwo");
}

#[test]
fn what_is_held_back_is_limited() {
    let origin = Origin::echo();
    let policy = |name, buffer| {
        format!("limits: {{ buffer_bytes: 1000 }}\n{}", chain(&origin, &[("judge", judge(name, buffer))]))
    };
    let gateway = Gateway::start(&policy("request_body", 0));
    for (more, status) in [("0\r\n\r\n", 200), ("1\r\na\r\n", 413)] {
        let mut client = gateway.client();
        let held = "a".repeat(1000);
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n{held}\r\n"
        ));
        client.send(more);
        assert_eq!(client.response().status(), status);
    }
    let log = gateway.stop().access_log;
    assert_eq!((&log[0]["status"], &log[1]["error"]), (&200.into(), &"body_too_large".into()));

    let gateway = Gateway::start(&policy("response_body", 1));
    let mut client = gateway.client();
    assert_eq!(client.ask(post("/", &[], &[b'a'; 1000])).body.len(), 1000);
    // It comes in more than one piece, as no buffer on the way is as large.
    client.send(post("/", &[], &[b'a'; 500_000]));
    assert_eq!(client.response().status(), 502);
    assert_eq!(gateway.stop().access_log[1]["error"], "response_too_large");
}

/// With back-pressure instead of a limit: reading stops, and goes on when the guest lets go.
#[test]
fn a_watermark_stops_reading_instead() {
    let origin = Origin::echo();
    // Holds pieces as long as less than 4000 bytes are there, then lets them go.
    let code = "(if (result i32) (i32.or (local.get $end) (i32.ge_u (local.get $size) (i32.const 4000)))
      (then (i32.const 0)) (else (i32.const 2)))";
    let limits = "limits: { buffer_bytes: 4000 }\n";
    let gateway = Gateway::start(&format!(
        "{limits}{}",
        chain(&origin, &[("pace", wasm(&always("request_body", code), ""))])
    ));
    let body = vec![b'a'; 300_000];
    assert!(gateway.ask(post("/", &[], &body)).body == body);
}

#[test]
fn trailers_pass_the_filters_too() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.wire.send(
            "HTTP/1.1 200 OK\r\ntrailer: x-sum, x-seen\r\ntransfer-encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\nx-sum: down\r\n\r\n",
        )?;
        Ok(crate::support::Next::Keep)
    });
    let add = |map: u32| {
        format!(
            "(drop (call $add (i32.const {map}) (i32.const 64) (i32.const 6) (i32.const 80) (i32.const 1))) (i32.const 0)"
        )
    };
    let fields = format!(
        r#"(data (i32.const 64) "x-seen") (data (i32.const 80) "1") {} {}"#,
        trailers_callback("request_trailers", &add(1)),
        trailers_callback("response_trailers", &add(3))
    );
    let gateway = Gateway::start(&chain(&origin, &[("see", wasm(&with(&fields), ""))]));
    let answer = gateway.ask(
        "POST / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\ntrailer: x-sum, x-seen\r\n\
         transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: up\r\n\r\n",
    );
    let request = origin.request();
    assert_eq!(
        (request.text(), request.trailer("x-sum"), request.trailer("x-seen")),
        ("hi", Some("up"), Some("1"))
    );
    assert_eq!(
        (answer.text(), answer.trailer("x-sum"), answer.trailer("x-seen")),
        ("ok", Some("down"), Some("1"))
    );
}
