//! Calls that fail, and callbacks that do.

use crate::guests::{Ask, answered, asking, with};
use crate::support::{Origin, refusing_address, response, wait_for};
use crate::{begin, policy, start};

/// What the access log says about the one request, which a guest denied with `status`.
fn denied(ask: &Ask<'_>, server: &str, more: &str, status: u16) -> String {
    let origin = Origin::echo();
    let gateway = start(&policy(&asking(ask, 0), &origin, server, more));
    assert_eq!(gateway.get("/").status(), status);
    assert_eq!(gateway.get("/plain").status(), 200);
    let log = gateway.stop().access_log;
    let line = log.iter().find(|line| line["path"] == "/").unwrap();
    line["ended_by"]["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_answer_that_does_not_come() {
    let auth = Origin::start(|exchange| exchange.wait_until_closed());
    let address = auth.address().to_string();
    let ask = Ask { timeout_ms: 50, ..Ask::default() };
    assert_eq!(denied(&ask, &address, "", 403), "timeout", "by the guest's limit");
    assert_eq!(
        denied(&Ask::default(), &address, ", calls: { timeout: 50ms }", 403),
        "timeout",
        "by the policy's"
    );
    let ask = Ask { timeout_ms: u32::MAX, ..Ask::default() };
    assert_eq!(
        denied(&ask, &address, ", calls: { timeout: 50ms }", 403),
        "timeout",
        "the policy's is shorter"
    );
    auth.wait_until_unconnected();
}

#[test]
fn a_server_that_is_not_there() {
    let (address, _held) = refusing_address();
    assert_eq!(denied(&Ask::default(), &address.to_string(), "", 403), "connect");
}

#[test]
fn an_answer_that_breaks_off() {
    let auth = Origin::answering("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    let gone = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")?;
        Ok(crate::support::Next::Close)
    });
    assert_eq!(denied(&Ask::default(), &gone.address().to_string(), "", 403), "reset");
    let nonsense = Origin::answering("SSH-2.0-nothing\r\n");
    assert_eq!(denied(&Ask::default(), &nonsense.address().to_string(), "", 403), "reset");
    drop(auth);
}

#[test]
fn an_answer_that_is_too_large() {
    let limit = ", calls: { response_bytes: 16B }";
    let known = Origin::answering(response(200, &[], &[b'x'; 17]));
    assert_eq!(denied(&Ask::default(), &known.address().to_string(), limit, 403), "too_large");
    let chunks = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n11\r\n{}\r\n", "x".repeat(17));
    let unknown = Origin::answering(chunks);
    assert_eq!(denied(&Ask::default(), &unknown.address().to_string(), limit, 403), "too_large");
    known.wait_until_unconnected();
    unknown.wait_until_unconnected();
}

#[test]
fn a_question_that_is_too_large() {
    let auth = Origin::echo();
    let ask = Ask { body: 17, ..Ask::default() };
    let status = 500 + 10; // INTERNAL_FAILURE
    denied(&ask, &auth.address().to_string(), ", calls: { request_bytes: 16B }", status);
    assert_eq!(auth.requests().len(), 0);
}

#[test]
fn more_calls_than_allowed() {
    let auth = Origin::start(|exchange| exchange.wait_until_closed());
    let origin = Origin::echo();
    let module = asking(&Ask::default(), 0);
    let limit = ", calls: { at_once: 1 }";
    let gateway = start(&policy(&module, &origin, &auth.address().to_string(), limit));
    let mut first = gateway.client();
    first.send(crate::support::get("/", &[]));
    auth.wait_for_requests(1);
    assert_eq!(gateway.get("/").status(), 510);
    assert_eq!(auth.requests().len(), 1);
}

/// However many calls are allowed, their requests together take 16 MiB at most. What has ended makes room.
#[test]
fn more_bytes_than_a_filter_may_have_under_way() {
    let (origin, (server, _held)) = (Origin::echo(), refusing_address());
    // Answers with 200 and the number of calls that were made.
    let count = with(
        &Ask { body: 100_000, ..Ask::default() },
        r#"(func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32) (local $made i32)
    (block $full (loop $again
      (br_if $full (call $ask (local.get $id)))
      (local.set $made (i32.add (local.get $made) (i32.const 1)))
      (br $again)))
    (drop (call $respond (i32.add (i32.const 200) (local.get $made)) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1)))
    (i32.const 1))"#,
    );
    let gateway = start(&policy(&count, &origin, &server.to_string(), ", budget: 1s"));
    assert_eq!(gateway.get("/").status(), 200 + 167);
    wait_for("room for as many", || (gateway.get("/").status() == 200 + 167).then_some(()));
    gateway.stop();
}

#[test]
fn a_trap_in_the_answer_ends_the_exchange_at_once() {
    let auth = Origin::answering(response(200, &[], b"ok"));
    let origin = Origin::echo();
    let gateway = begin(&answered("unreachable"), &origin, &auth);
    assert_eq!(gateway.get("/").status(), 503);
    let log = gateway.stop().access_log;
    assert_eq!((&log[0]["error"], &log[0]["ended_by"]["filter"]), (&"filter_failed".into(), &"ask".into()));

    let auth = Origin::answering(response(200, &[], b"ok"));
    let module = answered("unreachable");
    let gateway = start(&policy(&module, &origin, &auth.address().to_string(), ", on_failure: open"));
    assert_eq!(gateway.get("/").status(), 200);
    gateway.stop();
}

/// A write that cannot be done fails the exchange that waits, whatever else the guest asked for.
#[test]
fn a_refused_write_in_the_answer_ends_the_exchange() {
    let code = "(drop (call $add (i32.const 0) (i32.const 96) (i32.const 8) (i32.const 80) (i32.const 8)))
      (drop (call $continue (i32.const 0)))";
    let auth = Origin::answering(response(200, &[], b"ok"));
    let origin = Origin::echo();
    let gateway = begin(&answered(code), &origin, &auth);
    assert_eq!(gateway.get("/").status(), 503);
    assert_eq!(origin.requests().len(), 0);
    let log = gateway.stop().access_log;
    assert_eq!(log[0]["ended_by"]["reason"], "proxy_add_header_map_value: the name is not valid");
}
