//! A guest that chooses the endpoint, in Higress's dialect.

use std::path::PathBuf;

use crate::support::guest::guest;
use crate::support::{Gateway, Options, Origin, get, refusing_address, response, wait_for};
use crate::wasm;

/// Logs the endpoints, and has the one in the request's field `x-to` tried first; answers 404 itself if
/// there is no such endpoint.
fn chooser() -> PathBuf {
    let imports = r#"
      (import "env" "proxy_get_upstream_hosts" (func $hosts (param i32 i32) (result i32)))
      (import "env" "proxy_set_upstream_override_host" (func $choose (param i32 i32) (result i32)))
      (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
      (import "env" "proxy_send_local_response"
        (func $answer (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;
    let fields = r#"
      (data (i32.const 16) "x-to")
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (call $hosts (i32.const 0) (i32.const 4)) (then unreachable))
        (drop (call $log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4))))
        (if (call $get (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 4))
          (then (return (i32.const 0))))
        (if (call $choose (i32.load (i32.const 0)) (i32.load (i32.const 4)))
          (then (drop (call $answer (i32.const 404) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const -1)))))
        (i32.const 0))"#;
    guest(imports, fields)
}

fn start(endpoints: &[&str]) -> Gateway {
    let policy = format!(
        "upstreams: {{ u: {{ endpoints: ['{}'], refused_pause: 1m }} }}\nfilters: {{ choose: {} }}\n\
         routes: [{{ filters: [choose], forward: {{ upstream: u }} }}]\n",
        endpoints.join("', '"),
        wasm(&chooser(), "")
    );
    Gateway::start_with(&policy, &Options { workers: 1, log: "info" })
}

#[test]
fn the_chosen_endpoint_comes_first() {
    let origins = ["a", "b", "c"].map(|name| Origin::answering(response(200, &[], name.as_bytes())));
    let addresses = origins.each_ref().map(|origin| origin.address().to_string());
    let gateway = start(&addresses.each_ref().map(String::as_str));
    for (index, name) in [(2, "c"), (2, "c"), (0, "a"), (1, "b"), (1, "b")] {
        let answer = gateway.ask(get("/", &[("x-to", &addresses[index])]));
        assert_eq!((answer.status(), answer.text()), (200, name));
    }
    assert_eq!(gateway.ask(get("/", &[("x-to", "192.0.2.1:80")])).status(), 404);
    assert_eq!(gateway.get("/").status(), 200);
}

#[test]
fn one_that_refuses_is_passed_over_and_told() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let (refusing, _socket) = refusing_address();
    let (refusing, address) = (refusing.to_string(), origin.address().to_string());
    let gateway = start(&[&refusing, &address]);
    for _ in 0..2 {
        assert_eq!(gateway.ask(get("/", &[("x-to", &refusing)])).text(), "ok");
    }
    wait_for("the endpoint's state", || {
        gateway
            .log()
            .iter()
            .any(|line| line.contains("Unhealthy") && line.contains("\\\"Healthy"))
            .then_some(())
    });
}
