//! The generated guest: an interpreter of programs that imports every host function.
//!
//! Its memory: words for results, the program and its data (both come as
//! the plugin configuration), then the heap.

use std::fmt::Write;

use tollgate_wasmedge::{FuncType, ValType};

pub(super) const SLOTS: usize = 0x100;
pub(super) const PROGRAM: usize = 0x1000;
pub(super) const OPERATIONS: usize = PROGRAM + 16;
pub(super) const OPERATION_BYTES: usize = 8 + 8 * ARGUMENTS;
pub(super) const ARGUMENTS: usize = 12;
pub(super) const DATA: usize = 0x3000;
pub(super) const DATA_BYTES: usize = 0x1000;
/// A server that may be called and the headers of a request: where they are, and their bytes.
pub(super) const SERVER: (usize, &[u8]) = (0x4000, b"known");
pub(super) const REQUEST: (usize, &[u8]) = (
    0x4010,
    b"\x03\0\0\0\x07\0\0\0\x03\0\0\0\x05\0\0\0\x01\0\0\0\x0a\0\0\0\x01\0\0\0\
      :method\0GET\0:path\0/\0:authority\0h\0",
);
const HEAP: usize = 0x8000;

/// Callbacks with the number of their parameters and results.
pub(super) const CALLBACKS: [(&str, usize, usize); 30] = [
    ("proxy_on_vm_start", 2, 1),
    ("proxy_on_configure", 2, 1),
    ("proxy_on_context_create", 2, 0),
    ("proxy_on_request_headers", 3, 1),
    ("proxy_on_request_body", 3, 1),
    ("proxy_on_request_trailers", 2, 1),
    ("proxy_on_response_headers", 3, 1),
    ("proxy_on_response_body", 3, 1),
    ("proxy_on_response_trailers", 2, 1),
    ("proxy_on_request_metadata", 2, 1),
    ("proxy_on_response_metadata", 2, 1),
    ("proxy_on_done", 1, 1),
    ("proxy_on_log", 1, 0),
    ("proxy_on_delete", 1, 0),
    ("proxy_on_tick", 1, 0),
    ("proxy_on_http_call_response", 5, 0),
    ("proxy_on_grpc_receive_initial_metadata", 3, 0),
    ("proxy_on_grpc_receive", 3, 0),
    ("proxy_on_grpc_receive_trailing_metadata", 3, 0),
    ("proxy_on_grpc_close", 3, 0),
    ("proxy_on_queue_ready", 2, 0),
    ("proxy_on_foreign_function", 3, 0),
    ("proxy_on_new_connection", 1, 1),
    ("proxy_on_downstream_data", 3, 1),
    ("proxy_on_upstream_data", 3, 1),
    ("proxy_on_downstream_connection_close", 2, 0),
    ("proxy_on_upstream_connection_close", 2, 0),
    ("proxy_on_redis_call_response", 4, 0),
    // Not callbacks: what runs in the allocator, and in none.
    ("allocator", 0, 0),
    ("nowhere", 0, 0),
];
pub(super) const REQUEST_HEADERS: u8 = 3;
const DONE: usize = 11;
const ALLOCATOR: usize = 28;

/// The module in WAT; `functions` are what the host links.
pub(super) fn source(functions: &[(&str, &str, &FuncType)]) -> String {
    let mut imports = String::new();
    let mut calls = String::new();
    for (number, (module, name, ty)) in functions.iter().enumerate() {
        let types = |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        writeln!(
            imports,
            r#"(import "{module}" "{name}" (func $import{number} (param {}) (result {})))"#,
            types(&ty.params),
            types(&ty.results)
        )
        .unwrap();
        writeln!(calls, "(func $call{number} (param $op i32) {})", call(number, ty, bearable(module, name)))
            .unwrap();
    }
    let elements: String = (0..functions.len()).map(|number| format!(" $call{number}")).collect();
    format!(
        r#"(module
  {imports}
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  {samples}
  (type $call (func (param i32)))
  (table {count} funcref)
  (elem (i32.const 0) {elements})
  (global $heap (mut i32) (i32.const {HEAP}))
  (global $loaded (mut i32) (i32.const 0))
  (global $never_done (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  {ALLOCATE}
  {CHECK}
  {RUN}
  {calls}
  {callbacks})"#,
        count = functions.len(),
        samples = [SERVER, REQUEST].map(data).concat(),
        callbacks = callbacks(functions),
    )
}

fn data((address, bytes): (usize, &[u8])) -> String {
    let text: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!("(data (i32.const {address}) \"{text}\")\n")
}

/// Calls a function with an operation's arguments, keeps its result in a word and checks a status.
fn call(number: usize, ty: &FuncType, bearable: u32) -> String {
    let argument = |index: usize| format!("(call $argument (local.get $op) (i32.const {index}))");
    let arguments = ty.params.iter().enumerate().map(|(index, ty)| match ty {
        ValType::I64 => format!(
            "(i64.or (i64.extend_i32_u {}) (i64.shl (i64.extend_i32_u {}) (i64.const 32)))",
            argument(index),
            argument(ARGUMENTS - 1 - index)
        ),
        _ => argument(index),
    });
    let call = format!("(call $import{number} {})", arguments.collect::<String>());
    match ty.results.as_slice() {
        [] => call,
        _ => format!("(call $check (i32.const {number}) (i32.const {bearable}) {call})"),
    }
}

/// Statuses that SDKs bear, as bits; 0 for functions that answer something else. Status 6 says that an
/// address is not the guest's: no SDK passes such a one.
fn bearable(module: &str, name: &str) -> u32 {
    const OK: u32 = 1 | 1 << 6;
    const NOT_FOUND: u32 = 1 << 1;
    const BAD_ARGUMENT: u32 = 1 << 2;
    const SERIALIZATION: u32 = 1 << 3;
    const PARSE: u32 = 1 << 4;
    const EMPTY: u32 = 1 << 7;
    const CAS: u32 = 1 << 8;
    const INTERNAL: u32 = 1 << 10;
    const ANY: u32 = OK | NOT_FOUND | BAD_ARGUMENT | SERIALIZATION | PARSE | EMPTY | CAS | INTERNAL;
    if module != "env" || !name.starts_with("proxy_") {
        return 0;
    }
    match name {
        "proxy_set_effective_context" | "proxy_continue_stream" | "proxy_close_stream" => OK | BAD_ARGUMENT,
        "proxy_log" | "proxy_get_buffer_status" | "proxy_get_header_map_size" => {
            OK | BAD_ARGUMENT | NOT_FOUND
        }
        "proxy_get_buffer_bytes" | "proxy_get_header_map_value" => OK | NOT_FOUND | BAD_ARGUMENT,
        "proxy_set_buffer_bytes" | "proxy_get_header_map_pairs" | "proxy_set_header_map_pairs" => {
            OK | BAD_ARGUMENT
        }
        "proxy_add_header_map_value" | "proxy_replace_header_map_value" | "proxy_remove_header_map_value" => {
            OK | BAD_ARGUMENT
        }
        "proxy_set_shared_data" => OK | CAS,
        "proxy_get_shared_data" | "proxy_resolve_shared_queue" | "proxy_enqueue_shared_queue" => {
            OK | NOT_FOUND
        }
        "proxy_dequeue_shared_queue" => OK | NOT_FOUND | EMPTY,
        "proxy_http_call" => OK | BAD_ARGUMENT | INTERNAL,
        "proxy_grpc_call" | "proxy_grpc_stream" => OK | PARSE | INTERNAL,
        "proxy_grpc_send" => OK | BAD_ARGUMENT | NOT_FOUND,
        "proxy_grpc_cancel" | "proxy_grpc_close" => OK | NOT_FOUND | BAD_ARGUMENT,
        "proxy_define_metric" => OK | BAD_ARGUMENT,
        "proxy_record_metric" | "proxy_increment_metric" | "proxy_get_metric" => {
            OK | NOT_FOUND | BAD_ARGUMENT
        }
        "proxy_get_property" => OK | NOT_FOUND | SERIALIZATION | INTERNAL,
        "proxy_call_foreign_function" => OK | NOT_FOUND | BAD_ARGUMENT | SERIALIZATION | INTERNAL,
        "proxy_set_property" | "proxy_send_local_response" | "proxy_done" => OK,
        _ => ANY,
    }
}

/// Before the program is there, memory for it. Then by the program's second byte: 0 and beyond 6 from a
/// heap that starts anew when it is full; 1 null; 2 an address outside; 3 a trap; 4 calls of its own
/// first; 5 memory that grows each time; 6 the program's own place.
const ALLOCATE: &str = r#"
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $mode i32)
    (if (i32.eqz (global.get $loaded)) (then (global.set $loaded (i32.const 1)) (return (i32.const 0x1000))))
    (local.set $mode (i32.load8_u (i32.const 0x1001)))
    (if (i32.eq (local.get $mode) (i32.const 1)) (then (return (i32.const 0))))
    (if (i32.eq (local.get $mode) (i32.const 2)) (then (return (i32.const -16))))
    (if (i32.eq (local.get $mode) (i32.const 3)) (then (drop (i32.load (i32.const -4)))))
    (if (i32.eq (local.get $mode) (i32.const 4)) (then (call $run (i32.const 28))))
    (if (i32.eq (local.get $mode) (i32.const 5)) (then
      (return (i32.shl (memory.grow (i32.const 1)) (i32.const 16)))))
    (if (i32.eq (local.get $mode) (i32.const 6)) (then (return (i32.const 0x1000))))
    (if (i32.gt_u (local.get $size) (i32.sub (i32.const 0x20000) (global.get $heap)))
      (then (global.set $heap (i32.const 0x8000))))
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (i32.and (local.get $size) (i32.const 0xffff)))))"#;

/// Keeps a result in the last word for results. A status that may not be is logged, function and status
/// in two words, and then `unreachable`.
const CHECK: &str = r#"
  (func $check (param $function i32) (param $allowed i32) (param $status i32)
    (i32.store (i32.const 0x1fc) (local.get $status))
    (if (local.get $allowed) (then
      (if (i32.or (i32.gt_u (local.get $status) (i32.const 31))
            (i32.eqz (i32.and (local.get $allowed) (i32.shl (i32.const 1) (local.get $status)))))
        (then
          (i32.store (i32.const 0x3f0) (local.get $function))
          (i32.store (i32.const 0x3f4) (local.get $status))
          (drop (call $log (i32.const 5) (i32.const 0x3f0) (i32.const 8)))
          (unreachable))))))
  (func $argument (param $op i32) (param $index i32) (result i32)
    (local $at i32)
    (local.set $at (i32.add (i32.add (local.get $op) (i32.const 8)) (i32.shl (local.get $index) (i32.const 3))))
    (if (result i32) (i32.load (local.get $at))
      (then (i32.load (i32.and (i32.load offset=4 (local.get $at)) (i32.const 0x1fffc))))
      (else (i32.load offset=4 (local.get $at)))))"#;

/// Runs the operations of one callback. A program that has been written over may hold anything: at
/// most 64 operations, and numbers of functions that exist or a trap.
const RUN: &str = r#"
  (func $run (param $callback i32)
    (local $op i32) (local $left i32)
    (if (i32.eqz (global.get $loaded)) (then (return)))
    (local.set $op (i32.const 0x1010))
    (local.set $left (i32.and (i32.load8_u (i32.const 0x1000)) (i32.const 0x7f)))
    (block $end (loop $next
      (br_if $end (i32.eqz (local.get $left)))
      (if (i32.eq (i32.load (local.get $op)) (local.get $callback))
        (then (call_indirect (type $call) (local.get $op) (i32.load offset=4 (local.get $op)))))
      (local.set $op (i32.add (local.get $op) (i32.const 104)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br $next))))"#;

/// Every callback runs its operations; `proxy_on_configure` fetches the program first.
fn callbacks(functions: &[(&str, &str, &FuncType)]) -> String {
    let read = functions.iter().position(|(_, name, _)| *name == "proxy_get_buffer_bytes").unwrap();
    let mut text = String::new();
    for (number, (name, params, results)) in CALLBACKS[..ALLOCATOR].iter().enumerate() {
        let fetch = match *name {
            "proxy_on_configure" => format!(
                "(drop (call $import{read} (i32.const 7) (i32.const 0) (local.get 1)
                   (i32.const {SLOTS}) (i32.const {})))
                 (global.set $never_done (i32.load8_u (i32.const 0x1002)))",
                SLOTS + 4
            ),
            _ => String::new(),
        };
        let returned = match (number, results) {
            (_, 0) => "",
            (0 | 1, _) => "(i32.const 1)",
            (DONE, _) => "(i32.eqz (global.get $never_done))",
            _ => "(i32.load8_u (i32.const 0x1003))",
        };
        let params = "i32 ".repeat(*params);
        let results = "i32 ".repeat(*results);
        writeln!(
            text,
            r#"(func (export "{name}") (param {params}) (result {results}) {fetch} (call $run (i32.const {number})) {returned})"#
        )
        .unwrap();
    }
    text
}
