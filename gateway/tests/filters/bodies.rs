//! Guests that change bodies: framing follows what they make of them.

use crate::guests::{always, callback, with};
use crate::support::{Gateway, Origin, get, post, response};
use crate::{chain, wasm};

/// Puts `<` before each piece and takes `content-length` away.
fn prefixing(side: &str, map: u32, buffer: u32) -> String {
    let fields = format!(
        r#"(data (i32.const 64) "content-length") (data (i32.const 96) "<") {} {}"#,
        callback(
            &format!("{side}_headers"),
            &format!("(drop (call $remove (i32.const {map}) (i32.const 64) (i32.const 14))) (i32.const 0)")
        ),
        callback(
            &format!("{side}_body"),
            &format!(
                "(if (local.get $size) (then
      (drop (call $write (i32.const {buffer}) (i32.const 0) (i32.const 0) (i32.const 96) (i32.const 1)))))
    (i32.const 0)"
            )
        )
    );
    wasm(&with(&fields), "")
}

#[test]
fn a_changed_body_gets_fresh_framing() {
    for (side, map, buffer) in [("request", 0, 0), ("response", 2, 1)] {
        let origin = Origin::echo();
        let gateway = Gateway::start(&chain(&origin, &[("prefix", prefixing(side, map, buffer))]));
        let mut client = gateway.client();
        for _ in 0..2 {
            assert_eq!(client.ask(post("/", &[], b"hello")).text(), "<hello", "{side}");
        }
        let head = client.ask("HEAD / HTTP/1.1\r\nhost: h\r\n\r\n");
        assert_eq!(head.status(), 200);
        assert_eq!(client.ask(get("/", &[])).text(), "", "a body that is not there stays so");
    }
}

/// A guest that makes a body longer and leaves `content-length` as it was: nobody may take the rest
/// of the body for another message.
#[test]
fn a_wrong_length_never_desynchronises() {
    for name in ["request_body", "response_body"] {
        let buffer = u32::from(name == "response_body");
        let code = format!(
            "(drop (call $write (i32.const {buffer}) (i32.const 0) (i32.const 0) (i32.const 32) (i32.const 6))) (i32.const 0)"
        );
        let origin = Origin::echo();
        let gateway = Gateway::start(&chain(&origin, &[("longer", wasm(&always(name, &code), ""))]));
        let mut client = gateway.client();
        client.send([post("/1", &[], b"hello"), get("/2", &[])].concat());
        let first = client.try_response();
        assert!(first.as_ref().is_ok_and(|answer| answer.body.len() <= 11) || first.is_err(), "{first:?}");
        if first.is_ok_and(|first| first.status() == 200)
            && let Ok(second) = client.try_response()
        {
            assert_eq!(second.status(), 200);
        }
        for request in origin.requests() {
            assert!(request.start.ends_with("HTTP/1.1") && request.header("host").is_some(), "{request:?}");
        }
    }
}

/// Bodies in many pieces, through several guests that look at them, come out as they went in.
#[test]
fn bodies_pass_guests_that_only_look() {
    let origin = Origin::echo();
    let look = |name| wasm(&always(name, "(i32.const 0)"), "");
    let filters = [
        ("a", look("request_body")),
        ("b", look("response_body")),
        ("c", look("request_body")),
        ("d", look("response_body")),
    ];
    let gateway = Gateway::start(&chain(&origin, &filters));
    let body: Vec<u8> =
        (0..3 << 20_u32).map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.ask(post("/", &[], &body));
        assert!(answer.body == body);
    }
    assert_eq!(gateway.get("/").status(), 200);
}

/// The head says nothing of the length any more, so what an empty answer says must stay right.
#[test]
fn empty_answers_pass_guests_that_look_at_bodies() {
    for answer in [
        &response(200, &[], b"")[..],
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
    ] {
        let origin = Origin::answering(answer);
        let gateway =
            Gateway::start(&chain(&origin, &[("look", wasm(&always("response_body", "(i32.const 0)"), ""))]));
        let mut client = gateway.client();
        for _ in 0..2 {
            assert_eq!(client.ask(get("/", &[])).body, b"");
        }
    }
}
