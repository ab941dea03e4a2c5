//! Guests in WAT that ask a server before they let something pass.

use std::path::PathBuf;

use crate::support::guest::guest;

/// Host functions that guests import.
const IMPORTS: &str = r#"
  (import "env" "proxy_http_call"
    (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_status" (func $status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $read (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))"#;

/// What a guest asks.
pub(crate) struct Ask<'a> {
    /// How it calls the server.
    pub(crate) upstream: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// Bytes of the body, all zero.
    pub(crate) body: usize,
    pub(crate) timeout_ms: u32,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self { upstream: "auth", headers: &PLAIN, body: 0, timeout_ms: 0 }
    }
}

pub(crate) const PLAIN: [(&str, &str); 3] =
    [(":method", "GET"), (":path", "/check?x=1"), (":authority", "auth.example")];

/// A guest with these fields. It has
/// * `(call $ask CONTEXT)`, which calls out on behalf of a context and gives the status;
/// * `(call $asker CALL)`, the context that a call was for;
/// * `(call $deny STATUS)`, which answers, for the reason that `proxy_get_status` tells.
///
/// Addresses: 0 and 4 a returned slice, 8 the id of a call.
pub(crate) fn with(ask: &Ask<'_>, fields: &str) -> PathBuf {
    let headers = pairs(ask.headers);
    guest(
        IMPORTS,
        &format!(
            r#"(data (i32.const 64) ":status") (data (i32.const 80) "x-answer") (data (i32.const 96) "bad name")
  (data (i32.const 512) "{upstream}")
  (data (i32.const 1024) "{blob}")
  (func $slot (param $call i32) (result i32)
    (i32.add (i32.const 8192) (i32.mul (i32.const 4) (i32.and (local.get $call) (i32.const 1023)))))
  (func $ask (param $context i32) (result i32) (local $status i32)
    (local.set $status
      (call $http_call (i32.const 512) (i32.const {upstream_len}) (i32.const 1024) (i32.const {blob_len})
        (i32.const 16384) (i32.const {body}) (i32.const 0) (i32.const 0) (i32.const {timeout})
        (i32.const 8)))
    (i32.store (call $slot (i32.load (i32.const 8))) (local.get $context))
    (local.get $status))
  (func $asker (param $call i32) (result i32) (i32.load (call $slot (local.get $call))))
  (func $deny (param $code i32)
    (drop (call $status (i32.const 12) (i32.const 0) (i32.const 4)))
    (drop (call $respond (local.get $code) (i32.load (i32.const 0)) (i32.load (i32.const 4))
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1))))
  {fields}"#,
            upstream = ask.upstream,
            upstream_len = ask.upstream.len(),
            blob = headers.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>(),
            blob_len = headers.len(),
            body = ask.body,
            timeout = ask.timeout_ms,
        ),
    )
}

/// Holds a request (side 0) or response (side 1) until the answer has come, and puts the answer's body
/// into a field `x-answer`. An answer that is not 2xx denies with 401, a failed call with 403, a call
/// that is not made with 500 and its status.
pub(crate) fn asking(ask: &Ask<'_>, side: usize) -> PathBuf {
    let callback = ["proxy_on_request_headers", "proxy_on_response_headers"][side];
    let map = side * 2;
    with(
        ask,
        &format!(
            r#"(func (export "{callback}") (param $id i32) (param i32 i32) (result i32) (local $status i32)
    (local.set $status (call $ask (local.get $id)))
    (if (local.get $status) (then (call $deny (i32.add (i32.const 500) (local.get $status)))))
    (i32.const 1))
  (func (export "proxy_on_http_call_response") (param $plugin i32) (param $call i32) (param $headers i32)
    (param $body i32) (param i32)
    (if (call $effective (call $asker (local.get $call))) (then (return)))
    (if (i32.eqz (local.get $headers)) (then (call $deny (i32.const 403)) (return)))
    (drop (call $get (i32.const 6) (i32.const 64) (i32.const 7) (i32.const 0) (i32.const 4)))
    (if (i32.ne (i32.load8_u (i32.load (i32.const 0))) (i32.const 50))
      (then (call $deny (i32.const 401)) (return)))
    (drop (call $read (i32.const 4) (i32.const 0) (i32.const 64) (i32.const 0) (i32.const 4)))
    (drop (call $add (i32.const {map}) (i32.const 80) (i32.const 8)
      (i32.load (i32.const 0)) (i32.load (i32.const 4))))
    (drop (call $continue (i32.const {side}))))"#
        ),
    )
}

/// Holds a request and asks; runs `code` in the effective context of the stream when the answer comes.
pub(crate) fn answered(code: &str) -> PathBuf {
    with(
        &Ask::default(),
        &format!(
            r#"(func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
    (drop (call $ask (local.get $id)))
    (i32.const 1))
  (func (export "proxy_on_http_call_response") (param $plugin i32) (param $call i32) (param i32 i32 i32)
    (drop (call $effective (call $asker (local.get $call))))
    {code})"#
        ),
    )
}

/// Asks once, in a callback that is no exchange's; puts the answer into each request from then on.
pub(crate) fn background(callback: &str) -> PathBuf {
    with(
        &Ask::default(),
        &format!(
            r#"(global $len (mut i32) (i32.const 0)) (global $asked (mut i32) (i32.const 0))
  {callback}
  (func $once
    (if (i32.eqz (global.get $asked)) (then
      (global.set $asked (i32.const 1))
      (if (call $ask (i32.const 0)) (then unreachable)))))
  (func (export "proxy_on_http_call_response") (param $plugin i32) (param $call i32) (param i32)
    (param $body i32) (param i32)
    (drop (call $read (i32.const 4) (i32.const 0) (i32.const 64) (i32.const 0) (i32.const 4)))
    (memory.copy (i32.const 32768) (i32.load (i32.const 0)) (i32.load (i32.const 4)))
    (global.set $len (local.get $body)))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $add (i32.const 0) (i32.const 80) (i32.const 8) (i32.const 32768) (global.get $len)))
    (i32.const 0))"#
        ),
    )
}

/// The wire form of a map.
fn pairs(headers: &[(&str, &str)]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let mut blob = number(headers.len()).to_vec();
    for (name, value) in headers {
        blob.extend([number(name.len()), number(value.len())].concat());
    }
    for (name, value) in headers {
        blob.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    blob
}
