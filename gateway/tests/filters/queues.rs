//! Queues between filters in VMs of their own, on all workers.

use std::path::PathBuf;

use crate::chain;
use crate::support::guest::guest;
use crate::support::{Gateway, Options, Origin, get, response, wait_for};
use crate::wasm;

/// Puts the request's field `x-item` into the queue `jobs` of the VM `reader`, and answers nothing.
fn writer() -> PathBuf {
    let imports = r#"
      (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_resolve_shared_queue" (func $resolve (param i32 i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))"#;
    let fields = r#"
      (data (i32.const 16) "x-item") (data (i32.const 32) "reader") (data (i32.const 48) "jobs")
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.eqz (call $get (i32.const 0) (i32.const 16) (i32.const 6) (i32.const 0) (i32.const 4)))
          (then
            (if (call $resolve (i32.const 32) (i32.const 6) (i32.const 48) (i32.const 4) (i32.const 8))
              (then unreachable))
            (if (call $enqueue (i32.load (i32.const 8)) (i32.load (i32.const 0)) (i32.load (i32.const 4)))
              (then unreachable))))
        (i32.const 0))"#;
    guest(imports, fields)
}

/// Logs one item a notice. An item `!` makes it trap after it has been taken out.
fn reader() -> PathBuf {
    let imports = r#"
      (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
      (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
      (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))"#;
    let fields = r#"
      (data (i32.const 48) "jobs")
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $register (i32.const 48) (i32.const 4) (i32.const 8))) (i32.const 1))
      (func (export "proxy_on_queue_ready") (param i32) (param $queue i32)
        (global.set $heap (i32.const 65536))
        (if (call $dequeue (local.get $queue) (i32.const 0) (i32.const 4)) (then return))
        (if (i32.eq (i32.load8_u (i32.load (i32.const 0))) (i32.const 33)) (then unreachable))
        (drop (call $log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4)))))"#;
    guest(imports, fields)
}

fn start(origin: &Origin) -> Gateway {
    let filters = [("writer", wasm(&writer(), "")), ("reader", wasm(&reader(), ", vm_id: reader"))];
    Gateway::start_with(&chain(origin, &filters), &Options { workers: 2, log: "info" })
}

/// How often the reader logged an item.
fn count(gateway: &Gateway, item: &str) -> usize {
    let text = format!("\"text\":\"{item}\"");
    gateway.log().iter().filter(|line| line.contains(&text)).count()
}

fn put(gateway: &Gateway, item: &str) {
    assert_eq!(gateway.ask(get("/", &[("x-item", item)])).status(), 200);
}

#[test]
fn items_cross_workers_and_are_read_once() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = start(&origin);
    let items: Vec<String> = (0..40).map(|number| format!("item-{number}-")).collect();
    items.iter().for_each(|item| put(&gateway, item));
    for item in &items {
        wait_for(item, || (count(&gateway, item) == 1).then_some(()));
    }
}

#[test]
fn a_reader_that_traps_comes_back_for_the_rest() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = start(&origin);
    for item in ["before", "!", "!", "after"] {
        put(&gateway, item);
    }
    for item in ["before", "after"] {
        wait_for(item, || (count(&gateway, item) == 1).then_some(()));
    }
    let failures = gateway.log().iter().filter(|line| line.contains("\"phase\":\"queue_ready\"")).count();
    assert_eq!(failures, 2);
}

#[test]
fn a_queue_survives_a_reload_that_changes_its_reader() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = start(&origin);
    put(&gateway, "first");
    wait_for("the first item", || (count(&gateway, "first") == 1).then_some(()));
    let reader_again = wasm(&reader(), ", vm_id: reader, config: changed");
    gateway.write_policy(&chain(&origin, &[("writer", wasm(&writer(), "")), ("reader", reader_again)]));
    assert_eq!(gateway.reload().status(), 200);
    put(&gateway, "second");
    wait_for("the second item", || (count(&gateway, "second") == 1).then_some(()));
}
