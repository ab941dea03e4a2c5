//! Guests in WAT. Map types: 0 and 2 are the headers of request and response.

use std::path::PathBuf;

use crate::support::guest::guest;

/// Host functions that guests import.
const IMPORTS: &str = r#"
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $share (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_record_metric" (func $record (param i32 i64) (result i32)))"#;

/// A guest with these fields. It has
/// * `$stream`, the context of the last stream;
/// * `(call $deny)`, which answers 403 for the reason `denied`;
/// * `(call $forge)`, a write that is refused.
///
/// Addresses up to 256 are taken.
pub(crate) fn with(fields: &str) -> PathBuf {
    guest(
        IMPORTS,
        &format!(
            r#"(data (i32.const 32) "denied") (data (i32.const 48) "bad name") (data (i32.const 64) "x-seen")
  (global $stream (mut i32) (i32.const 0))
  (func $deny
    (drop (call $respond (i32.const 403) (i32.const 32) (i32.const 6) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const -1))))
  (func $forge
    (drop (call $add (i32.const 0) (i32.const 48) (i32.const 8) (i32.const 48) (i32.const 3))))
  {fields}"#
        ),
    )
}

/// A callback of a stream with headers or a body; `$id` is its context. `code` leaves an action.
pub(crate) fn callback(name: &str, code: &str) -> String {
    format!(
        r#"(func (export "proxy_on_{name}") (param $id i32) (param i32 i32) (result i32)
    (global.set $stream (local.get $id)) {code})"#
    )
}

/// Runs `code`, which leaves an action, in one callback.
pub(crate) fn always(name: &str, code: &str) -> PathBuf {
    with(&callback(name, code))
}

/// Answers `action` in one callback; its timer then runs `code`, which leaves nothing, in that stream.
pub(crate) fn later(name: &str, action: u32, code: &str) -> PathBuf {
    with(&format!(
        r#"{}
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $tick (i32.const 10))) (i32.const 1))
  (func (export "proxy_on_tick") (param i32)
    (if (global.get $stream) (then
      (if (call $effective (global.get $stream)) (then (return)))
      {code})))"#,
        callback(name, &format!("(i32.const {action})"))
    ))
}
