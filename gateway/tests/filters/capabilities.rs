//! What a policy lets a filter do.

use std::path::PathBuf;

use crate::support::guest::guest;
use crate::support::{Gateway, Options, Origin, get, response};
use crate::{chain, wasm};

/// Adds the field `x-guest`, and answers 403 itself if the request has a field `x-deny`.
fn judge() -> PathBuf {
    let imports = r#"
      (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_send_local_response"
        (func $answer (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;
    let fields = r#"
      (data (i32.const 16) "x-deny") (data (i32.const 32) "x-guest")
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $add (i32.const 0) (i32.const 32) (i32.const 7) (i32.const 34) (i32.const 5)))
        (if (i32.eqz (call $get (i32.const 0) (i32.const 16) (i32.const 6) (i32.const 0) (i32.const 4)))
          (then (drop (call $answer (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const -1)))))
        (i32.const 0))"#;
    guest(imports, fields)
}

fn start(allow: &str) -> (Gateway, Origin) {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let judge = wasm(&judge(), &format!(", allow: {{ functions: [{allow}] }}"));
    let options = Options { workers: 1, log: "info" };
    (Gateway::start_with(&chain(&origin, &[("judge", judge)]), &options), origin)
}

#[test]
fn what_is_allowed_works() {
    for allow in ["headers, local_response", "headers, proxy_send_local_response"] {
        let (gateway, origin) = start(allow);
        assert_eq!(gateway.ask(get("/", &[("x-deny", "1")])).status(), 403);
        assert_eq!(gateway.get("/").status(), 200);
        assert_eq!(origin.request().header("x-guest"), Some("guest"));
    }
}

/// A denial that is not allowed does not become a pass.
#[test]
fn an_answer_or_a_change_that_is_refused_fails_the_request() {
    let (gateway, origin) = start("headers");
    for _ in 0..2 {
        assert_eq!(gateway.ask(get("/", &[("x-deny", "1")])).status(), 503);
    }
    assert_eq!(gateway.get("/").status(), 200);
    assert_eq!(origin.requests().len(), 1);
    let lines = gateway.stop().log;
    let told =
        lines.iter().filter(|line| line.contains("does not allow this filter proxy_send_local_response"));
    assert_eq!(told.count(), 1, "told once:\n{}", lines.join("\n"));
    let (gateway, origin) = start("local_response");
    assert_eq!(gateway.get("/").status(), 503);
    assert!(origin.requests().is_empty());
}
