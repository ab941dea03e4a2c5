//! What filters leave for each other and for the gateway: filter state and the route.

use std::path::PathBuf;

use crate::chain;
use crate::support::guest::guest;
use crate::support::{Gateway, Origin, get, response};
use crate::wasm;

const FOREIGN: &str = r#"(import "env" "proxy_call_foreign_function" (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))"#;

/// Sets `request\0name` of its own by `proxy_set_property` and `wasm.by_state` by the foreign function.
fn setter() -> PathBuf {
    let imports = format!(
        r#"{FOREIGN} (import "env" "proxy_set_property" (func $set (param i32 i32 i32 i32) (result i32)))"#
    );
    let fields = r#"
      (data (i32.const 16) "mine\00of\00two") (data (i32.const 32) "one")
      (data (i32.const 48) "set_envoy_filter_state") (data (i32.const 80) "\0a\0dwasm.by_state\12\03two")
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $set (i32.const 16) (i32.const 11) (i32.const 32) (i32.const 3)))
        (if (call $foreign (i32.const 48) (i32.const 22) (i32.const 80) (i32.const 20) (i32.const 0) (i32.const 4))
          (then unreachable))
        (i32.const 0))"#;
    guest(&imports, fields)
}

/// Adds a request field `x-seen` with the value of a property; none if it is not there.
fn teller(path: &str) -> PathBuf {
    let imports = r#"
      (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))"#;
    let wat_path = path.replace('\0', "\\00");
    let fields = format!(
        r#"(data (i32.const 16) "x-seen") (data (i32.const 32) "{wat_path}")
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.eqz (call $property (i32.const 32) (i32.const {}) (i32.const 0) (i32.const 4)))
          (then (drop (call $add (i32.const 0) (i32.const 16) (i32.const 6)
            (i32.load (i32.const 0)) (i32.load (i32.const 4))))))
        (i32.const 0))"#,
        path.len()
    );
    guest(imports, &fields)
}

#[test]
fn what_one_filter_sets_the_next_ones_read() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let paths = [
        "mine\0of\0two",
        "filter_state\0wasm.mine\0of\0two",
        "by_state",
        "filter_state\0wasm.by_state",
        "mine",
    ];
    let mut filters = vec![("set".to_owned(), wasm(&setter(), ""))];
    filters.extend(paths.iter().enumerate().map(|(n, path)| (format!("tell{n}"), wasm(&teller(path), ""))));
    let filters: Vec<_> = filters.iter().map(|(name, filter)| (&**name, filter.clone())).collect();
    let gateway = Gateway::start(&chain(&origin, &filters));
    assert_eq!(gateway.get("/").status(), 200);
    assert_eq!(origin.request().headers_named("x-seen"), ["one", "one", "two", "two"]);
}

/// Sends a request with the field `x-path` there, and has the route looked up again if `x-clear` is set.
fn rerouter() -> PathBuf {
    let imports = format!(
        r#"{FOREIGN}
      (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))"#
    );
    let fields = r#"
      (data (i32.const 16) "x-path") (data (i32.const 32) ":path") (data (i32.const 48) "x-clear")
      (data (i32.const 64) "clear_route_cache")
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.eqz (call $get (i32.const 0) (i32.const 16) (i32.const 6) (i32.const 0) (i32.const 4)))
          (then (drop (call $set (i32.const 0) (i32.const 32) (i32.const 5)
            (i32.load (i32.const 0)) (i32.load (i32.const 4))))))
        (if (i32.eqz (call $get (i32.const 0) (i32.const 48) (i32.const 7) (i32.const 0) (i32.const 4)))
          (then (drop (call $foreign (i32.const 64) (i32.const 17) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))))
        (i32.const 0))"#;
    guest(&imports, fields)
}

#[test]
fn a_cleared_route_is_looked_up_again() {
    let (first, second) =
        (Origin::answering(response(200, &[], b"first")), Origin::answering(response(200, &[], b"second")));
    let gateway = Gateway::start(&format!(
        "upstreams: {{ first: {{ endpoints: ['{}'] }}, second: {{ endpoints: ['{}'] }} }}\n\
         filters: {{ reroute: {} }}\n\
         routes:\n\
         - {{ name: first, match: {{ path: {{ exact: /first }} }}, filters: [reroute], forward: {{ upstream: first }} }}\n\
         - {{ name: second, match: {{ path: {{ exact: /second }} }}, forward: {{ upstream: second }} }}\n",
        first.address(),
        second.address(),
        wasm(&rerouter(), "")
    ));
    let ask = |fields: &[(&str, &str)]| {
        let answer = gateway.ask(get("/first", fields));
        (answer.status(), answer.text().to_owned())
    };
    assert_eq!(
        ask(&[("x-path", "/second")]),
        (200, "first".to_owned()),
        "the route stays until it is cleared"
    );
    assert_eq!(first.request().target(), "/second");
    assert_eq!(ask(&[("x-path", "/second"), ("x-clear", "1")]), (200, "second".to_owned()));
    assert_eq!(ask(&[("x-clear", "1")]), (200, "first".to_owned()));
    assert_eq!(ask(&[("x-path", "/nowhere"), ("x-clear", "1")]).0, 404);
    let log = gateway.stop().access_log;
    let routes: Vec<_> = log.iter().map(|line| line["route"].as_str().unwrap_or("-")).collect();
    assert_eq!(routes, ["first", "second", "first", "first"], "the last was refused on its first route");
}
