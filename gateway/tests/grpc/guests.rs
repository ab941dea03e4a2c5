//! Guests in WAT that make gRPC calls for requests that wait meanwhile.

use std::path::PathBuf;

use crate::support::guest::guest;

/// Host functions that guests import.
const IMPORTS: &str = r#"
  (import "env" "proxy_grpc_call"
    (func $grpc_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_stream"
    (func $grpc_stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_send" (func $grpc_send (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_cancel" (func $cancel (param i32) (result i32)))
  (import "env" "proxy_grpc_close" (func $close (param i32) (result i32)))
  (import "env" "proxy_get_status" (func $status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $read (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))"#;

/// What a guest asks.
pub(crate) struct Ask<'a> {
    /// How it calls the server.
    pub(crate) upstream: &'a [u8],
    /// Bytes of the message; it begins with `hello`.
    pub(crate) message: usize,
    pub(crate) timeout_ms: u32,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self { upstream: b"auth", message: 5, timeout_ms: 0 }
    }
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// A guest with these fields. It has `(call $asker CALL)`, the context that a call was for, and `(call
/// $deny STATUS)`, which answers, for the reason that `proxy_get_status` tells. Addresses: 0 and 4 a
/// returned slice, 8 the id of a call.
fn with(ask: &Ask<'_>, fields: &str) -> PathBuf {
    guest(
        IMPORTS,
        &format!(
            r#"(data (i32.const 64) "x-init") (data (i32.const 72) "x-trail") (data (i32.const 80) "x-answer")
  (data (i32.const 96) "one") (data (i32.const 100) "two")
  (data (i32.const 128) "test.Echo") (data (i32.const 144) "Say")
  (data (i32.const 160) "\01\00\00\00\05\00\00\00\03\00\00\00x-key\00one\00")
  (data (i32.const 512) "{upstream}")
  (data (i32.const 16384) "hello")
  (func $slot (param $call i32) (result i32)
    (i32.add (i32.const 8192) (i32.mul (i32.const 4) (i32.and (local.get $call) (i32.const 1023)))))
  (func $remember (param $context i32)
    (i32.store (call $slot (i32.load (i32.const 8))) (local.get $context)))
  (func $asker (param $call i32) (result i32) (i32.load (call $slot (local.get $call))))
  (func $deny (param $code i32)
    (drop (call $status (i32.const 12) (i32.const 0) (i32.const 4)))
    (drop (call $respond (local.get $code) (i32.load (i32.const 0)) (i32.load (i32.const 4))
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1))))
  {fields}"#,
            upstream = escaped(ask.upstream),
        ),
    )
}

/// Holds a request until the call is answered, and puts the message into a field `x-answer`. A call that
/// fails denies with 400 and its status, one that is not made with 500 and the host's.
pub(crate) fn asking(ask: &Ask<'_>) -> PathBuf {
    with(
        ask,
        &format!(
            r#"(func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
    (local $status i32)
    (local.set $status (call $grpc_call (i32.const 512) (i32.const {upstream}) (i32.const 128) (i32.const 9)
      (i32.const 144) (i32.const 3) (i32.const 160) (i32.const 22) (i32.const 16384) (i32.const {message})
      (i32.const {timeout}) (i32.const 8)))
    (call $remember (local.get $id))
    (if (local.get $status) (then (call $deny (i32.add (i32.const 500) (local.get $status)))))
    (i32.const 1))
  (func (export "proxy_on_grpc_receive") (param $plugin i32) (param $call i32) (param $size i32)
    (if (call $effective (call $asker (local.get $call))) (then (return)))
    (drop (call $read (i32.const 5) (i32.const 0) (local.get $size) (i32.const 0) (i32.const 4)))
    (drop (call $add (i32.const 0) (i32.const 80) (i32.const 8) (i32.load (i32.const 0)) (i32.load (i32.const 4))))
    (drop (call $continue (i32.const 0))))
  (func (export "proxy_on_grpc_close") (param $plugin i32) (param $call i32) (param $status i32)
    (if (call $effective (call $asker (local.get $call))) (then (return)))
    (call $deny (i32.add (i32.const 400) (local.get $status))))"#,
            upstream = ask.upstream.len(),
            message = ask.message,
            timeout = ask.timeout_ms,
        ),
    )
}

/// What a guest does on its stream.
pub(crate) struct Talk<'a> {
    pub(crate) upstream: &'a [u8],
    /// When the stream is open; its id is `$stream`.
    pub(crate) opened: &'a str,
    /// When a message has come.
    pub(crate) message: &'a str,
}

pub(crate) const ONE: &str =
    "(drop (call $grpc_send (local.get $stream) (i32.const 96) (i32.const 3) (i32.const 0)))";
pub(crate) const TWO: &str =
    "(drop (call $grpc_send (local.get $stream) (i32.const 100) (i32.const 3) (i32.const 0)))";

impl Default for Talk<'_> {
    fn default() -> Self {
        Self { upstream: b"auth", opened: ONE, message: "" }
    }
}

/// Holds a request until `(call $go)`, which the close of the stream calls, and puts a report of what came
/// into a field `x-answer`: a letter for each thing (`i`, `m`, `t`, `c`) and what it brought, `c` with the
/// status as a letter from `A` on and its message. `(call $note LETTER)` adds what is at (0, 4).
pub(crate) fn talking(talk: &Talk<'_>) -> PathBuf {
    let callback = |name: &str, body: &str| {
        format!(
            r#"(func (export "{name}") (param $plugin i32) (param $stream i32) (param $number i32) {body})"#
        )
    };
    let callbacks = [
        callback(
            "proxy_on_grpc_receive_initial_metadata",
            "(drop (call $get (i32.const 4) (i32.const 64) (i32.const 6) (i32.const 0) (i32.const 4)))
            (call $note (i32.const 105))",
        ),
        callback(
            "proxy_on_grpc_receive",
            &format!(
                "(drop (call $read (i32.const 5) (i32.const 0) (local.get $number) (i32.const 0) (i32.const 4)))
            (call $note (i32.const 109)) {}",
                talk.message
            ),
        ),
        callback(
            "proxy_on_grpc_receive_trailing_metadata",
            "(drop (call $get (i32.const 5) (i32.const 72) (i32.const 7) (i32.const 0) (i32.const 4)))
            (call $note (i32.const 116))",
        ),
        callback(
            "proxy_on_grpc_close",
            "(i32.store (i32.const 4) (i32.const 0))
            (call $note (i32.const 99))
            (drop (call $status (i32.const 12) (i32.const 0) (i32.const 4)))
            (call $note (i32.add (i32.const 65) (i32.load (i32.const 12))))
            (call $go)",
        ),
    ];
    with(
        &Ask { upstream: talk.upstream, ..Ask::default() },
        &format!(
            r#"(global $end (mut i32) (i32.const 32768))
  (global $waiting (mut i32) (i32.const 0))
  (func $note (param $letter i32)
    (i32.store8 (global.get $end) (local.get $letter))
    (memory.copy (i32.add (i32.const 1) (global.get $end)) (i32.load (i32.const 0)) (i32.load (i32.const 4)))
    (global.set $end (i32.add (global.get $end) (i32.add (i32.const 1) (i32.load (i32.const 4)))))
    (i32.store (i32.const 4) (i32.const 0)))
  (func $go
    (if (call $effective (global.get $waiting)) (then (return)))
    (drop (call $add (i32.const 0) (i32.const 80) (i32.const 8) (i32.const 32768)
      (i32.sub (global.get $end) (i32.const 32768))))
    (drop (call $continue (i32.const 0))))
  (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
    (local $status i32) (local $stream i32)
    (global.set $end (i32.const 32768))
    (global.set $waiting (local.get $id))
    (local.set $status (call $grpc_stream (i32.const 512) (i32.const {upstream}) (i32.const 128) (i32.const 9)
      (i32.const 144) (i32.const 3) (i32.const 160) (i32.const 22) (i32.const 8)))
    (if (local.get $status) (then (call $deny (i32.add (i32.const 500) (local.get $status)))))
    (local.set $stream (i32.load (i32.const 8)))
    {opened}
    (i32.const 1))
  {callbacks}"#,
            upstream = talk.upstream.len(),
            opened = talk.opened,
            callbacks = callbacks.join("\n  "),
        ),
    )
}
