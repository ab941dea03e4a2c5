//! Guests in WAT. Map types: 0 and 2 are the headers of request and response, 1 and 3 their trailers.

use std::path::PathBuf;

use crate::support::guest::guest;

/// Host functions that guests import.
const IMPORTS: &str = r#"
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $read (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $write (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $share (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_shared_data" (func $shared (param i32 i32 i32 i32 i32) (result i32)))"#;

/// Callbacks of a stream, by their names without `proxy_on_`.
pub(crate) const HEADERS: [&str; 2] = ["request_headers", "response_headers"];
pub(crate) const BODIES: [&str; 2] = ["request_body", "response_body"];

/// A guest with these fields. `$trigger` says whether the request has a field `x-trigger`;
/// `(call $deny STATUS)` answers with `no` for the reason `denied`.
pub(crate) fn with(fields: &str) -> PathBuf {
    guest(
        IMPORTS,
        &format!(
            r#"(data (i32.const 16) "x-trigger") (data (i32.const 32) "denied") (data (i32.const 48) "no")
  (func $trigger (result i32)
    (i32.eqz (call $get (i32.const 0) (i32.const 16) (i32.const 9) (i32.const 0) (i32.const 4))))
  (func $deny (param i32)
    (drop (call $respond (local.get 0) (i32.const 32) (i32.const 6) (i32.const 48) (i32.const 2)
      (i32.const 0) (i32.const 0) (i32.const -1))))
  {fields}"#
        ),
    )
}

/// A callback; `$id`, `$size`, `$end` are its parameters.
pub(crate) fn callback(name: &str, code: &str) -> String {
    format!(
        r#"(func (export "proxy_on_{name}") (param $id i32) (param $size i32) (param $end i32) (result i32)
    {code})
  "#
    )
}

/// A callback for trailers; `$id` and `$size` are its parameters.
pub(crate) fn trailers_callback(name: &str, code: &str) -> String {
    format!(r#"(func (export "proxy_on_{name}") (param $id i32) (param $size i32) (result i32) {code})"#)
}

/// Adds the field `x-order: NAME` on both sides.
pub(crate) fn tag(name: &str) -> PathBuf {
    let add = |map: u32| {
        let length = name.len();
        format!(
            "(drop (call $add (i32.const {map}) (i32.const 64) (i32.const 7) (i32.const 80) (i32.const {length})))
    (i32.const 0)"
        )
    };
    with(&format!(
        r#"(data (i32.const 64) "x-order") (data (i32.const 80) "{name}")
  {}{}"#,
        callback("request_headers", &add(0)),
        callback("response_headers", &add(2))
    ))
}

/// Runs `code`, which leaves an action, in one callback, if the request has a field `x-trigger`.
pub(crate) fn triggered(callback_name: &str, code: &str) -> PathBuf {
    let code = format!("(if (result i32) (call $trigger) (then {code}) (else (i32.const 0)))");
    with(&callback(callback_name, &code))
}

/// Runs `code`, which leaves an action, in one callback.
pub(crate) fn always(callback_name: &str, code: &str) -> PathBuf {
    with(&callback(callback_name, code))
}
