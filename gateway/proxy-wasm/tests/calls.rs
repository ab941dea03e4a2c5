//! Side calls, by a guest that calls when told and reads what comes.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use std::rc::Rc;
use std::time::Duration;

use support::module::{guest, wat};
use support::reply::Reply;
use support::{Env, Exchange, guarded, pairs, plugin_spec, start};
use tollgate_proxy_wasm::{Action, Failure, MapType, StreamSide, Vm};
use tollgate_wasmedge::Module;

const IMPORTS: &str = r#"
  (import "env" "proxy_http_call"
    (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_status" (func $status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_size" (func $size (param i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $read (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_status" (func $buffer (param i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))"#;

/// The three headers that a request needs, and a trailer.
const HEADERS: &str = r"\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/\00:authority\00h\00";
const TRAILERS: &str = r"\01\00\00\00\01\00\00\00\01\00\00\00t\001\00";

/// `$call` leaves a status and, at address 8, the id; `$say` logs a number as a character and what is at
/// (0, 4) behind it. Requests are held with a call under way; `on_answer` handles what comes.
fn caller(on_answer: &str) -> Module {
    wat(&guest(
        IMPORTS,
        &format!(
            r#"(data (i32.const 64) "known") (data (i32.const 80) "other")
  (data (i32.const 1024) "{HEADERS}") (data (i32.const 2048) "{TRAILERS}")
  (data (i32.const 96) ":status") (data (i32.const 112) "x-answer")
  (global $stream (mut i32) (i32.const 0))
  (func $call (param $name i32) (param $headers i32) (result i32)
    (call $http_call (local.get $name) (i32.const 5) (i32.const 1024) (local.get $headers)
      (i32.const 64) (i32.const 3) (i32.const 2048) (i32.const 16) (i32.const 250) (i32.const 8)))
  (func $say (param $letter i32)
    (i32.store8 (i32.const 128) (local.get $letter))
    (memory.copy (i32.const 129) (i32.load (i32.const 0)) (i32.load (i32.const 4)))
    (drop (call $log (i32.const 2) (i32.const 128) (i32.add (i32.const 1) (i32.load (i32.const 4))))))
  (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
    (global.set $stream (local.get $id))
    (if (result i32) (call $call (i32.const 64) (i32.const 61)) (then unreachable) (else (i32.const 1))))
  (func (export "proxy_on_tick") (param i32)
    (i32.store (i32.const 4) (i32.const 0))
    (call $say (i32.add (i32.const 48) (call $call (i32.const 64) (i32.const 61))))
    (call $say (i32.add (i32.const 48) (call $call (i32.const 80) (i32.const 61))))
    (call $say (i32.add (i32.const 48) (call $call (i32.const 64) (i32.const 0)))))
  (func (export "proxy_on_http_call_response") (param $plugin i32) (param $call i32) (param $headers i32)
    (param $body i32) (param $trailers i32)
    {on_answer})"#
        ),
    ))
}

/// Logs all that a callback may read, and lets the stream go.
const READ: &str = r#"
    (drop (call $effective (global.get $stream)))
    (i32.store (i32.const 4) (i32.const 0))
    (call $say (i32.add (i32.const 48) (local.get $headers)))
    (call $say (i32.add (i32.const 48) (local.get $body)))
    (call $say (i32.add (i32.const 48) (local.get $trailers)))
    (if (i32.eqz (call $get (i32.const 6) (i32.const 96) (i32.const 7) (i32.const 0) (i32.const 4)))
      (then (call $say (i32.const 104))))
    (drop (call $read (i32.const 4) (i32.const 1) (i32.const 100) (i32.const 0) (i32.const 4)))
    (call $say (i32.const 98))
    (drop (call $pairs (i32.const 7) (i32.const 0) (i32.const 4)))
    (call $say (i32.const 116))
    (drop (call $status (i32.const 12) (i32.const 0) (i32.const 4)))
    (call $say (i32.add (i32.const 48) (i32.load (i32.const 12))))
    (drop (call $add (i32.const 0) (i32.const 112) (i32.const 8) (i32.const 64) (i32.const 5)))
    (drop (call $continue (i32.const 0)))"#;

/// A request that is held for a call.
fn held(module: &Module, test: impl FnOnce(&Vm<Env>, &Rc<Env>, &Rc<Exchange>)) {
    let (vm, env) = start(module);
    let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
    let exchange = Exchange::request(&[]);
    let stream = vm.create_stream(plugin, Rc::clone(&exchange)).unwrap();
    assert!(matches!(vm.on_request_headers(stream, 0, true), Ok(Action::Pause(_))));
    test(&vm, &env, &exchange);
}

#[test]
fn a_call_is_sent_as_it_was_asked_for_and_its_answer_can_be_read() {
    let module = caller(READ);
    guarded(|| {
        held(&module, |vm, env, exchange| {
            let sent = env.sent.borrow()[0].clone();
            assert_eq!(sent.headers, pairs(&[(":method", "GET"), (":path", "/"), (":authority", "h")]));
            assert_eq!((sent.body.as_slice(), sent.trailers.len()), (&b"kno"[..], 1));
            assert_eq!((sent.timeout, sent.in_stream), (Some(Duration::from_millis(250)), true));
            vm.on_http_call_response(sent.id, Reply::arrived()).unwrap();
            let trailers = "t\u{1}\0\0\0\u{1}\0\0\0\u{1}\0\0\0t\u{0}1\0";
            assert_eq!(env.take_messages(), ["2", "4", "1", "h200", "body", trailers, "0"]);
            assert_eq!(*exchange.resumed.borrow(), [StreamSide::Request]);
            assert_eq!(exchange.header(MapType::RequestHeaders, "x-answer"), ["known"]);
            assert_eq!(vm.calls(), 0);
            assert_eq!(Rc::strong_count(exchange), 2, "nothing keeps it");
        });
    });
}

#[test]
fn a_failed_call_has_nothing_but_a_status() {
    let module = caller(READ);
    guarded(|| {
        held(&module, |vm, env, _| {
            let id = env.sent.borrow()[0].id;
            vm.on_http_call_response(id, Reply::failed("timeout")).unwrap();
            assert_eq!(env.take_messages(), ["0", "0", "0", "b", "t", ";timeout"]);
        });
    });
}

/// Whoever answers twice, or what was never asked, is not heard.
#[test]
fn an_answer_is_delivered_once() {
    let module = caller(READ);
    guarded(|| {
        held(&module, |vm, env, _| {
            let id = env.sent.borrow()[0].id;
            vm.on_http_call_response(id, Reply::arrived()).unwrap();
            env.take_messages();
            vm.on_http_call_response(id, Reply::arrived()).unwrap();
            assert!(env.take_messages().is_empty());
        });
    });
}

/// A tick calls three times: a server it knows, one it does not, and without headers.
#[test]
fn calls_are_the_plugin_s_and_limited() {
    let module = caller(READ);
    guarded(|| {
        let (vm, env) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let neighbour = vm.add_plugin(plugin_spec("b", b"")).unwrap();
        let told = |expected: [&str; 3]| {
            let said: Vec<_> = env.take_messages().into_iter().filter(|line| line.len() == 1).collect();
            assert_eq!(said, expected);
        };
        // Once four are under way, whatever comes next is INTERNAL_FAILURE.
        for expected in [["0", "2", "2"], ["0", "2", "2"], ["0", "2", "2"], ["0", ":", "2"], [":", ":", "2"]]
        {
            vm.on_tick(plugin).unwrap();
            told(expected);
        }
        vm.on_tick(neighbour).unwrap();
        told(["0", "2", "2"]);
        let sent = env.sent.borrow().clone();
        assert!(sent.iter().all(|call| !call.in_stream));
        let mut ids: Vec<_> = sent.iter().map(|call| call.id).collect();
        ids.dedup();
        assert_eq!((ids.len(), vm.calls()), (5, 5), "ids differ");

        vm.remove_plugin(plugin);
        let mut cancelled = env.cancelled.take();
        cancelled.sort();
        assert_eq!((cancelled.as_slice(), vm.calls()), (&ids[..4], 1));
        vm.on_http_call_response(ids[0], Reply::arrived()).unwrap();
        assert!(env.take_messages().is_empty(), "its plugin has gone");
    });
}

#[test]
fn an_answer_comes_after_its_stream_has_gone() {
    let module = caller(READ);
    guarded(|| {
        let (vm, env) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let stream = vm.create_stream(plugin, Exchange::request(&[])).unwrap();
        assert!(matches!(vm.on_request_headers(stream, 0, true), Ok(Action::Pause(_))));
        vm.finish(stream).unwrap();
        let id = env.sent.borrow()[0].id;
        vm.on_http_call_response(id, Reply::arrived()).unwrap();
        // The write that had no stream to go to is told of; the guest is well.
        assert_eq!(env.take_messages().len(), 8);
        assert_eq!(vm.failed(), None);
    });
}

#[test]
fn a_trap_cuts_all_calls() {
    let module = caller("unreachable");
    guarded(|| {
        held(&module, |vm, env, _| {
            let plugin = env.sent.borrow()[0].plugin;
            vm.on_tick(plugin).unwrap();
            let ids: Vec<_> = env.sent.borrow().iter().map(|call| call.id).collect();
            let failure = vm.on_http_call_response(ids[0], Reply::arrived()).unwrap_err();
            assert!(matches!(failure, Failure::Trap { callback: "proxy_on_http_call_response", .. }));
            assert_eq!((env.cancelled.take(), vm.calls()), (vec![ids[1]], 0));
            assert_eq!(vm.on_http_call_response(ids[1], Reply::arrived()), Err(Failure::Broken));
        });
    });
}

/// Outside the callback there is no reply to read.
#[test]
fn a_reply_is_hidden_outside_its_callback() {
    let module = wat(&guest(
        IMPORTS,
        r#"(data (i32.const 96) ":status")
      (func (export "proxy_on_tick") (param i32)
        (i32.store8 (i32.const 0) (i32.add (i32.const 48)
          (call $get (i32.const 6) (i32.const 96) (i32.const 7) (i32.const 16) (i32.const 20))))
        (i32.store8 (i32.const 1) (i32.add (i32.const 48)
          (call $read (i32.const 4) (i32.const 0) (i32.const 9) (i32.const 16) (i32.const 20))))
        (i32.store8 (i32.const 2) (i32.add (i32.const 48) (call $buffer (i32.const 4) (i32.const 16) (i32.const 20))))
        (drop (call $size (i32.const 6) (i32.const 16)))
        (i32.store8 (i32.const 3) (i32.add (i32.const 48) (i32.load (i32.const 16))))
        (drop (call $log (i32.const 2) (i32.const 0) (i32.const 4))))"#,
    ));
    guarded(|| {
        let (vm, env) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        vm.on_tick(plugin).unwrap();
        assert_eq!(env.take_messages(), ["1110"], "NOT_FOUND, and an empty map");
    });
}
