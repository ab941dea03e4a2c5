//! Network filters in WAT.

use std::path::PathBuf;

use crate::support::guest::guest;

/// Host functions that guests import.
const IMPORTS: &str = r#"
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $read (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $write (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call"
    (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;

/// A guest with these fields. It has `(call $first BUFFER)`, the first byte of a buffer or 0, and
/// `(call $fresh)`, which gives back all that the allocator has handed out.
pub(crate) fn network(fields: &str) -> PathBuf {
    guest(
        IMPORTS,
        &format!(
            r#"(func $fresh (global.set $heap (i32.const 65536)))
  (func $first (param $buffer i32) (result i32)
    (call $fresh)
    (i32.store (i32.const 4) (i32.const 0))
    (drop (call $read (local.get $buffer) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 4)))
    (if (result i32) (i32.load (i32.const 4))
      (then (i32.load8_u (i32.load (i32.const 0)))) (else (i32.const 0))))
  {fields}"#
        ),
    )
}

/// A guest with one callback, which takes what it takes in the ABI and gives what `code` leaves.
pub(crate) fn on(callback: Callback, code: &str) -> PathBuf {
    network(&export(callback, code))
}

/// A callback of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callback {
    New,
    Downstream,
    Upstream,
    DownstreamClose,
    UpstreamClose,
    Done,
    Log,
}

/// A callback, to stand among the fields of a guest. Its parameters are `$id`, `$size` (or who closed)
/// and `$last`.
pub(crate) fn export(callback: Callback, code: &str) -> String {
    let (name, signature) = match callback {
        Callback::New => ("proxy_on_new_connection", "(param $id i32) (result i32)"),
        Callback::Downstream => {
            ("proxy_on_downstream_data", "(param $id i32) (param $size i32) (param $last i32) (result i32)")
        }
        Callback::Upstream => {
            ("proxy_on_upstream_data", "(param $id i32) (param $size i32) (param $last i32) (result i32)")
        }
        Callback::DownstreamClose => {
            ("proxy_on_downstream_connection_close", "(param $id i32) (param $size i32)")
        }
        Callback::UpstreamClose => {
            ("proxy_on_upstream_connection_close", "(param $id i32) (param $size i32)")
        }
        Callback::Done => ("proxy_on_done", "(param $id i32) (result i32)"),
        Callback::Log => ("proxy_on_log", "(param $id i32)"),
    };
    format!(r#"(func (export "{name}") {signature} {code})"#)
}

/// Changes every byte of the client's to the next one: `HAL` to `IBM`.
pub(crate) fn next_byte() -> PathBuf {
    on(
        Callback::Downstream,
        "(local $at i32) (local $end i32)
    (call $fresh)
    (i32.store (i32.const 4) (i32.const 0))
    (drop (call $read (i32.const 2) (i32.const 0) (local.get $size) (i32.const 0) (i32.const 4)))
    (local.set $at (i32.load (i32.const 0)))
    (local.set $end (i32.add (local.get $at) (i32.load (i32.const 4))))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (i32.store8 (local.get $at) (i32.add (i32.load8_u (local.get $at)) (i32.const 1)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const -1) (i32.load (i32.const 0))
      (i32.load (i32.const 4))))
    (i32.const 0)",
    )
}

/// Adds a letter to the end of what each side has sent.
pub(crate) fn sign(letter: char) -> PathBuf {
    let code = |buffer: u32| {
        format!(
            "(if (local.get $last) (then
      (drop (call $write (i32.const {buffer}) (local.get $size) (i32.const 0) (i32.const 16) (i32.const 1)))))
    (i32.const 0)"
        )
    };
    let (downstream, upstream) = (code(2), code(3));
    network(&format!(
        r#"(data (i32.const 16) "{letter}") {} {}"#,
        export(Callback::Downstream, &downstream),
        export(Callback::Upstream, &upstream)
    ))
}

/// Holds what comes in `callback` until it has so many bytes, or the end.
pub(crate) fn gather(callback: Callback, bytes: u32) -> PathBuf {
    let code =
        format!("(i32.and (i32.lt_u (local.get $size) (i32.const {bytes})) (i32.eqz (local.get $last)))");
    on(callback, &code)
}

/// A property of the connection, written in front of the first bytes of the client.
pub(crate) fn tell(path: &[&str]) -> PathBuf {
    let path = path.join("\\00");
    let length = path.replace("\\00", "0").len();
    network(&format!(
        r#"(data (i32.const 16) "{path}") {}"#,
        export(
            Callback::Downstream,
            &format!(
                "(if (local.get $last) (then (return (i32.const 0))))
    (if (call $property (i32.const 16) (i32.const {length}) (i32.const 0) (i32.const 4)) (then unreachable))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 0) (i32.load (i32.const 0))
      (i32.load (i32.const 4))))
    (i32.const 0)"
            )
        )
    ))
}

/// Notes each callback of a connection in the log as a word, with its last parameter behind it.
pub(crate) fn diary() -> PathBuf {
    let words = [
        (Callback::New, "new ", "(local.get $id)", "(i32.const 0)"),
        (Callback::Downstream, "down", "(local.get $last)", "(i32.const 0)"),
        (Callback::Upstream, "up  ", "(local.get $last)", "(i32.const 0)"),
        (Callback::DownstreamClose, "dclo", "(local.get $size)", ""),
        (Callback::UpstreamClose, "uclo", "(local.get $size)", ""),
        (Callback::Done, "done", "(i32.const 0)", "(i32.const 1)"),
        (Callback::Log, "log ", "(i32.const 0)", ""),
    ];
    let mut fields = r#"(func $note (param $word i32) (param $number i32)
    (i32.store8 (i32.add (local.get $word) (i32.const 4)) (i32.add (i32.const 48) (local.get $number)))
    (drop (call $log (i32.const 2) (local.get $word) (i32.const 5))))"#
        .to_owned();
    for (index, (callback, word, number, result)) in words.into_iter().enumerate() {
        let at = 16 + index * 8;
        let code = format!("(call $note (i32.const {at}) {number}) {result}");
        fields += &format!("\n  (data (i32.const {at}) \"{word}\")\n  {}", export(callback, &code));
    }
    network(&fields)
}

/// Holds each new connection until its timer, which goes off every 10 ms, has gone off so often.
pub(crate) fn delayed(ticks: u32) -> PathBuf {
    network(&format!(
        r#"(global $held (mut i32) (i32.const 0)) (global $ticks (mut i32) (i32.const 0))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $tick (i32.const 10))) (i32.const 1))
  {}
  (func (export "proxy_on_tick") (param i32)
    (if (global.get $held) (then
      (global.set $ticks (i32.add (global.get $ticks) (i32.const 1)))
      (if (i32.ge_u (global.get $ticks) (i32.const {ticks})) (then
        (if (call $effective (global.get $held)) (then unreachable))
        (global.set $held (i32.const 0))
        (if (call $continue (i32.const 2)) (then unreachable)))))))"#,
        export(Callback::New, "(global.set $held (local.get $id)) (i32.const 1)")
    ))
}

/// Holds what the client sends; its timer then runs `code` in the stream's context, once.
pub(crate) fn later(code: &str) -> PathBuf {
    network(&format!(
        r#"(global $held (mut i32) (i32.const 0))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $tick (i32.const 10))) (i32.const 1))
  {}
  (func (export "proxy_on_tick") (param i32)
    (if (global.get $held) (then
      (if (call $effective (global.get $held)) (then unreachable))
      (global.set $held (i32.const 0))
      {code})))"#,
        export(Callback::Downstream, "(global.set $held (local.get $id)) (i32.const 1)")
    ))
}

/// Holds each new connection until the upstream `auth` has answered: with 2xx it goes on, else it is
/// closed.
pub(crate) fn asking() -> PathBuf {
    let headers = [(":method", "GET"), (":path", "/check"), (":authority", "auth.example")];
    let blob = pairs(&headers);
    network(&format!(
        r#"(data (i32.const 16) "auth") (data (i32.const 1024) "{}") (data (i32.const 64) ":status")
  (global $held (mut i32) (i32.const 0))
  {}
  (func (export "proxy_on_http_call_response") (param i32 i32) (param $headers i32) (param i32 i32)
    (if (call $effective (global.get $held)) (then (return)))
    (if (i32.eqz (local.get $headers)) (then (drop (call $close (i32.const 2))) (return)))
    (drop (call $get (i32.const 6) (i32.const 64) (i32.const 7) (i32.const 0) (i32.const 4)))
    (if (i32.eq (i32.load8_u (i32.load (i32.const 0))) (i32.const 50))
      (then (drop (call $continue (i32.const 2))))
      (else (drop (call $close (i32.const 2))))))"#,
        blob.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>(),
        export(
            Callback::New,
            &format!(
                "(global.set $held (local.get $id))
    (if (call $http_call (i32.const 16) (i32.const 4) (i32.const 1024) (i32.const {}) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8)) (then unreachable))
    (i32.const 1)",
                blob.len()
            )
        ),
    ))
}

/// Pairs as the ABI has them: the count, the sizes, then each name and value with a NUL behind it.
fn pairs(all: &[(&str, &str)]) -> Vec<u8> {
    let word = |size: usize| u32::try_from(size).unwrap().to_le_bytes();
    let mut bytes = word(all.len()).to_vec();
    bytes.extend(all.iter().flat_map(|(name, value)| [word(name.len()), word(value.len())]).flatten());
    for text in all.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    bytes
}
