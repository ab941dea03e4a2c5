//! TCP connections: their callbacks, buffers and what host functions of HTTP answer there.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use std::rc::Rc;

use support::module::{guest, wat};
use support::{Exchange, guarded, plugin_spec, start};
use tollgate_proxy_wasm::{Action, Failure, PauseKind, PeerType, RefusalReason, StreamSide};

const IMPORTS: &str = r#"
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $read (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_status" (func $size (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $write (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))"#;

/// Notes each callback as a letter and a digit: its last parameter.
const DIARY: &str = r#"
  (func $note (param $letter i32) (param $number i32)
    (i32.store8 (i32.const 0) (local.get $letter))
    (i32.store8 (i32.const 1) (i32.add (i32.const 48) (local.get $number)))
    (drop (call $log (i32.const 2) (i32.const 0) (i32.const 2))))
  (func (export "proxy_on_new_connection") (param i32) (result i32)
    (call $note (i32.const 110) (local.get 0)) (i32.const 1))
  (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
    (call $note (i32.const 100) (i32.add (local.get 1) (local.get 2))) (i32.const 0))
  (func (export "proxy_on_upstream_data") (param i32 i32 i32) (result i32)
    (call $note (i32.const 117) (i32.add (local.get 1) (local.get 2))) (i32.const 7))
  (func (export "proxy_on_downstream_connection_close") (param i32 i32)
    (call $note (i32.const 68) (local.get 1)))
  (func (export "proxy_on_upstream_connection_close") (param i32 i32)
    (call $note (i32.const 85) (local.get 1)))
  (func (export "proxy_on_done") (param i32) (result i32) (call $note (i32.const 111) (local.get 0)) (i32.const 1))
  (func (export "proxy_on_log") (param i32) (call $note (i32.const 108) (local.get 0)))
  (func (export "proxy_on_delete") (param i32) (call $note (i32.const 120) (local.get 0)))"#;

#[test]
fn callbacks_come_in_order_with_their_parameters() {
    let module = wat(&guest(IMPORTS, DIARY));
    guarded(|| {
        let (vm, env) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let context = vm.create_stream(plugin, Exchange::connection(b"", b"")).unwrap();
        assert_eq!(vm.on_new_connection(context), Ok(Action::Pause(PauseKind::Buffer)));
        assert_eq!(vm.on_downstream_data(context, 3, false), Ok(Action::Continue));
        assert_eq!(vm.on_upstream_data(context, 5, true), Ok(Action::Pause(PauseKind::Buffer)));
        vm.on_downstream_close(context, PeerType::Remote).unwrap();
        vm.on_upstream_close(context, PeerType::Local).unwrap();
        vm.finish(context).unwrap();
        assert_eq!(env.take_messages().join(" "), "n2 d3 u6 D2 U1 o2 l2 x2");
        let handles = vm.handles();
        assert!(handles.new_connection && handles.downstream_data && handles.upstream_data);
        assert!(handles.downstream_close && handles.upstream_close && !handles.request_headers);
    });
}

#[test]
fn callbacks_that_a_module_lacks_let_pass() {
    let module = wat(&guest("", ""));
    guarded(|| {
        let (vm, _) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let context = vm.create_stream(plugin, Exchange::connection(b"", b"")).unwrap();
        assert_eq!(vm.on_new_connection(context), Ok(Action::Continue));
        assert_eq!(vm.on_downstream_data(context, 3, false), Ok(Action::Continue));
        assert_eq!(vm.on_upstream_data(context, 3, false), Ok(Action::Continue));
        vm.on_downstream_close(context, PeerType::Remote).unwrap();
        vm.on_upstream_close(context, PeerType::Remote).unwrap();
    });
}

/// A guest whose callback for data runs `code` and answers with what that leaves.
fn on_data(code: &str) -> String {
    let fields = format!(
        r#"(data (i32.const 16) "<>") (data (i32.const 24) "x-name")
  (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32) {code})"#
    );
    guest(IMPORTS, &fields)
}

#[test]
fn data_is_spliced_anywhere() {
    // Buffer, start, size; then both buffers.
    let table = [
        (2, 0, 0, "<>abcdef", "123"),
        (2, 2, 2, "ab<>ef", "123"),
        (2, 99, 0, "abcdef<>", "123"),
        (2, 0, -1, "<>", "123"),
        (3, 1, 1, "abcdef", "1<>3"),
    ];
    for (buffer, start_at, size, downstream, upstream) in table {
        let code = format!(
            "(call $write (i32.const {buffer}) (i32.const {start_at}) (i32.const {size}) (i32.const 16) (i32.const 2))"
        );
        let module = wat(&on_data(&code));
        guarded(|| {
            let (vm, _) = start(&module);
            let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
            let connection = Exchange::connection(b"abcdef", b"123");
            let context = vm.create_stream(plugin, Rc::clone(&connection)).unwrap();
            assert_eq!(vm.on_downstream_data(context, 6, false), Ok(Action::Continue));
            assert_eq!(*connection.request_body.borrow(), downstream.as_bytes());
            assert_eq!(*connection.response_body.borrow(), upstream.as_bytes());
            assert!(connection.refusals.borrow().is_empty());
        });
    }
}

/// Runs `code`, which leaves a status, on a connection; the status, by way of the action.
fn status(code: &str) -> (Rc<Exchange>, u32) {
    let module = wat(&on_data(&format!(
        "(i32.store8 (i32.const 0) (i32.add (i32.const 48) {code})) (drop (call $log (i32.const 2) (i32.const 0) (i32.const 1))) (i32.const 0)"
    )));
    let connection = Exchange::connection(b"abcdef", b"123");
    let (vm, env) = start(&module);
    let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
    let context = vm.create_stream(plugin, Rc::clone(&connection)).unwrap();
    assert_eq!(vm.on_downstream_data(context, 6, false), Ok(Action::Continue));
    let message = env.take_messages().remove(0);
    (connection, u32::from(message.as_bytes()[0] - b'0'))
}

#[test]
fn what_belongs_to_http_is_not_there() {
    guarded(|| {
        for buffer in [0, 1] {
            let (_, answer) = status(&format!(
                "(call $read (i32.const {buffer}) (i32.const 0) (i32.const 9) (i32.const 32) (i32.const 36))"
            ));
            assert_eq!(answer, 1, "buffer {buffer}");
        }
        for buffer in [2, 3] {
            let (_, answer) =
                status(&format!("(call $size (i32.const {buffer}) (i32.const 32) (i32.const 36))"));
            assert_eq!(answer, 0, "buffer {buffer}");
        }
        let header =
            "(call $header (i32.const 0) (i32.const 24) (i32.const 6) (i32.const 32) (i32.const 36))";
        assert_eq!(status(header).1, 1);
        let add = "(call $add (i32.const 0) (i32.const 24) (i32.const 6) (i32.const 16) (i32.const 2))";
        let (connection, answer) = status(add);
        assert_eq!((answer, connection.refusals.borrow()[0].reason), (0, RefusalReason::Unavailable));
        let write = "(call $write (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 2))";
        let (connection, answer) = status(write);
        assert_eq!((answer, connection.refusals.borrow()[0].reason), (0, RefusalReason::Unavailable));
    });
}

#[test]
fn streams_are_resumed_and_closed_by_their_own_names() {
    guarded(|| {
        // 0 and 1 are the two directions of an exchange, which a connection has not.
        let table: [(u32, &[StreamSide]); 4] =
            [(0, &[]), (1, &[]), (2, &[StreamSide::Request]), (3, &[StreamSide::Response])];
        for (stream, resumed) in table {
            let (connection, answer) = status(&format!("(call $continue (i32.const {stream}))"));
            assert_eq!((answer, &**connection.resumed.borrow()), (0, resumed), "stream {stream}");
        }
        assert_eq!(status("(call $continue (i32.const 4))").1, 2);
        assert_eq!(status("(call $close (i32.const 4))").1, 2);
    });
}

#[test]
fn closing_stops_the_data_whatever_is_returned() {
    let module = wat(&on_data("(call $close (i32.const 3))"));
    guarded(|| {
        let (vm, _) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let connection = Exchange::connection(b"a", b"");
        let context = vm.create_stream(plugin, Rc::clone(&connection)).unwrap();
        assert!(matches!(vm.on_downstream_data(context, 1, false), Ok(Action::Pause(_))));
        assert_eq!(*connection.closed.borrow(), [StreamSide::Response]);
    });
}

#[test]
fn a_trap_in_any_callback_fails_the_vm() {
    let trap = |name: &str, parameters: &str, result: &str| {
        wat(&guest(
            "",
            &format!(r#"(func (export "proxy_on_{name}") (param {parameters}) {result} unreachable)"#),
        ))
    };
    let table = [
        ("new_connection", "i32", "(result i32)"),
        ("downstream_data", "i32 i32 i32", "(result i32)"),
        ("upstream_data", "i32 i32 i32", "(result i32)"),
        ("downstream_connection_close", "i32 i32", ""),
        ("upstream_connection_close", "i32 i32", ""),
    ];
    for (name, parameters, result) in table {
        let module = trap(name, parameters, result);
        guarded(|| {
            let (vm, _) = start(&module);
            let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
            let context = vm.create_stream(plugin, Exchange::connection(b"", b"")).unwrap();
            let failures = [
                vm.on_new_connection(context).err(),
                vm.on_downstream_data(context, 0, false).err(),
                vm.on_upstream_data(context, 0, false).err(),
                vm.on_downstream_close(context, PeerType::Remote).err(),
                vm.on_upstream_close(context, PeerType::Remote).err(),
            ];
            let traps = failures.iter().flatten().filter(|failure| matches!(failure, Failure::Trap { .. }));
            assert_eq!(traps.count(), 1, "{name}");
            assert!(vm.failed().is_some(), "{name}");
        });
    }
}
