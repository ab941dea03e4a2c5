//! What a guest reads of an exchange when it is over.

use std::path::PathBuf;

use crate::support::guest::guest;
use crate::support::{Gateway, Origin, post, response, wait_for};
use crate::{chain, wasm};

/// In `proxy_on_log`, logs each property as `path=value`.
fn teller(paths: &[&str]) -> PathBuf {
    let imports = r#"
      (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#;
    let (mut data, mut calls, mut at) = (String::new(), String::new(), 64);
    for path in paths {
        let (length, text) = (path.len(), path.replace('.', "\\00"));
        data +=
            &format!("(data (i32.const {at}) \"{text}\") (data (i32.const {}) \"{path}\")\n", at + length);
        calls += &format!("(call $tell (i32.const {at}) (i32.const {length}))\n");
        at += 2 * length;
    }
    let fields = format!(
        r#"{data}
      (func $tell (param $path i32) (param $length i32) (local $line i32)
        (if (call $property (local.get $path) (local.get $length) (i32.const 0) (i32.const 4)) (then unreachable))
        (local.set $line (i32.const 32768))
        (memory.copy (local.get $line) (i32.add (local.get $path) (local.get $length)) (local.get $length))
        (local.set $line (i32.add (local.get $line) (local.get $length)))
        (i32.store8 (local.get $line) (i32.const 61))
        (local.set $line (i32.add (local.get $line) (i32.const 1)))
        (memory.copy (local.get $line) (i32.load (i32.const 0)) (i32.load (i32.const 4)))
        (drop (call $log (i32.const 2) (i32.const 32768)
          (i32.sub (i32.add (local.get $line) (i32.load (i32.const 4))) (i32.const 32768)))))
      (func (export "proxy_on_log") (param i32) {calls})"#
    );
    guest(imports, &fields)
}

#[test]
fn sums_and_names_are_known_in_the_log() {
    let paths = [
        "request.method",
        "request.size",
        "response.size",
        "response.code_details",
        "response.headers.x-origin",
        "upstream.address",
        "upstream.num_endpoints",
        "cluster_name",
        "xds.route_name",
    ];
    let origin = Origin::answering(response(200, &[("x-origin", "yes")], b"seven77"));
    let gateway = Gateway::start(&chain(&origin, &[("teller", wasm(&teller(&paths), ""))]));
    let answer = gateway.ask(post("/", &[], b"abc"));
    assert_eq!(answer.status(), 200);
    let address = format!("upstream.address={}", origin.address());
    let number = |name: &str, number: u8| format!("{name}=\\u{number:04x}{}", "\\u0000".repeat(7));
    let expected = [
        "request.method=POST".to_owned(),
        number("request.size", 3),
        number("response.size", 7),
        "response.code_details=via_upstream".to_owned(),
        "response.headers.x-origin=yes".to_owned(),
        address,
        number("upstream.num_endpoints", 1),
        "cluster_name=u".to_owned(),
        "xds.route_name=all".to_owned(),
    ];
    for text in expected {
        let line = format!("\"text\":\"{text}\"");
        wait_for(&text, || gateway.log().iter().any(|logged| logged.contains(&line)).then_some(()));
    }
}
