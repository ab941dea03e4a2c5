//! The end of a filter's part: done, log, delete, and one that is not done yet.

use std::path::PathBuf;

use crate::support::guest::guest;
use crate::support::{Gateway, Options, Origin, get, response, wait_for};
use crate::{chain, wasm};

/// Is not done when the exchange is over: its timer says so, for the exchange of that moment. Logs each
/// step, and in `proxy_on_log` the path of the request.
fn late() -> PathBuf {
    let imports = r#"
      (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
      (import "env" "proxy_done" (func $finish (result i32)))
      (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
      (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))"#;
    let fields = r#"
      (global $waiting (mut i32) (i32.const 0))
      (data (i32.const 16) "request\00path") (data (i32.const 32) "was done") (data (i32.const 48) "was deleted")
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $tick (i32.const 10))) (i32.const 1))
      (func (export "proxy_on_done") (param $id i32) (result i32)
        (global.set $waiting (local.get $id)) (i32.const 0))
      (func (export "proxy_on_tick") (param i32)
        (if (global.get $waiting) (then
          (drop (call $effective (global.get $waiting)))
          (global.set $waiting (i32.const 0))
          (drop (call $log (i32.const 2) (i32.const 32) (i32.const 8)))
          (drop (call $finish)))))
      (func (export "proxy_on_log") (param i32)
        (if (call $property (i32.const 16) (i32.const 12) (i32.const 0) (i32.const 4)) (then unreachable))
        (drop (call $log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4)))))
      (func (export "proxy_on_delete") (param i32)
        (drop (call $log (i32.const 2) (i32.const 48) (i32.const 11))))"#;
    guest(imports, fields)
}

#[test]
fn what_is_not_done_is_logged_and_deleted_when_it_is() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let policy = chain(&origin, &[("late", wasm(&late(), ""))]);
    let gateway = Gateway::start_with(&policy, &Options { workers: 1, log: "info" });
    for path in ["/first", "/second"] {
        assert_eq!(gateway.ask(get(path, &[])).text(), "ok", "nobody waits for it");
        let logged = format!("\"text\":\"{path}\"");
        let steps = ["was done", &logged, "was deleted"];
        wait_for("the end of the filter's part", || {
            let lines = gateway.log();
            let mut rest = lines.iter().skip_while(|line| !line.contains(&logged));
            rest.any(|line| line.contains("was deleted")).then_some(())
        });
        let lines = gateway.log();
        let order: Vec<_> =
            lines.iter().filter_map(|line| steps.iter().position(|step| line.contains(step))).collect();
        assert_eq!(order[order.len() - 3..], [0, 1, 2], "done, log, delete:\n{}", lines.join("\n"));
    }
}
