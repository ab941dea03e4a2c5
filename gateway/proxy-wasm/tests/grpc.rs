//! gRPC and Redis calls, by a guest that reports each callback and what it can read there.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use std::rc::Rc;

use support::exchange::pairs;
use support::module::{guest, wat};
use support::reply::Reply;
use support::{Env, guarded, plugin_spec, start};
use tollgate_proxy_wasm::{CallId, Failure, PluginId, Vm};
use tollgate_wasmedge::Module;

const IMPORTS: &str = r#"
  (import "env" "proxy_grpc_call"
    (func $grpc_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_stream"
    (func $grpc_stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_send" (func $send (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_cancel" (func $cancel (param i32) (result i32)))
  (import "env" "proxy_grpc_close" (func $close (param i32) (result i32)))
  (import "env" "proxy_redis_call" (func $redis (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_status" (func $status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $read (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#;

/// Each tick does one thing, by a counter: opens a call (id 1), a stream (2), a call to Redis (3); then
/// `more`. Each callback says its letter and its number, and what it reads: the field `k` of both metadata,
/// the message or reply, the status and its text. `trailing` is what the third callback is called.
fn guest_with(trailing: &str, more: &str) -> Module {
    let report = |letter: char| {
        format!(
            r#"(param $plugin i32) (param $call i32) (param $number i32)
    (call $report (i32.const {}) (local.get $call) (local.get $number))"#,
            u32::from(letter)
        )
    };
    wat(&guest(
        IMPORTS,
        &format!(
            r#"(data (i32.const 64) "known") (data (i32.const 80) "k") (data (i32.const 96) "full")
  (global $turn (mut i32) (i32.const 0))
  (func $say (param $letter i32) (param $status i32)
    (if (local.get $status) (then (i32.store (i32.const 4) (i32.const 0))))
    (i32.store8 (global.get $end) (local.get $letter))
    (memory.copy (i32.add (i32.const 1) (global.get $end)) (i32.load (i32.const 0)) (i32.load (i32.const 4)))
    (global.set $end (i32.add (global.get $end) (i32.add (i32.const 1) (i32.load (i32.const 4))))))
  (global $end (mut i32) (i32.const 1024))
  (func $tell
    (drop (call $log (i32.const 2) (i32.const 1024) (i32.sub (global.get $end) (i32.const 1024))))
    (global.set $end (i32.const 1024)))
  (func $digit (param $number i32)
    (i32.store (i32.const 4) (i32.const 0))
    (call $say (i32.add (i32.const 48) (local.get $number)) (i32.const 0)))
  (func $report (param $letter i32) (param $call i32) (param $number i32)
    (i32.store (i32.const 4) (i32.const 0))
    (call $say (local.get $letter) (i32.const 0))
    (call $digit (local.get $call))
    (call $digit (local.get $number))
    (call $say (i32.const 73) (call $get (i32.const 4) (i32.const 80) (i32.const 1) (i32.const 0) (i32.const 4)))
    (call $say (i32.const 84) (call $get (i32.const 5) (i32.const 80) (i32.const 1) (i32.const 0) (i32.const 4)))
    (call $say (i32.const 77) (call $read (i32.const 5) (i32.const 0) (i32.const 99) (i32.const 0) (i32.const 4)))
    (call $say (i32.const 82) (call $read (i32.const 9) (i32.const 0) (i32.const 99) (i32.const 0) (i32.const 4)))
    (call $say (i32.const 83) (call $status (i32.const 12) (i32.const 0) (i32.const 4)))
    (call $digit (i32.load (i32.const 12)))
    (call $tell))
  (func (export "proxy_on_tick") (param i32) (local $turn i32)
    (local.set $turn (global.get $turn))
    (global.set $turn (i32.add (local.get $turn) (i32.const 1)))
    (if (i32.eq (local.get $turn) (i32.const 0)) (then (call $digit
      (call $grpc_call (i32.const 64) (i32.const 5) (i32.const 80) (i32.const 1) (i32.const 80) (i32.const 1)
        (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 0) (i32.const 8)))))
    (if (i32.eq (local.get $turn) (i32.const 1)) (then (call $digit
      (call $grpc_stream (i32.const 64) (i32.const 5) (i32.const 80) (i32.const 1) (i32.const 80) (i32.const 1)
        (i32.const 0) (i32.const 0) (i32.const 8)))))
    (if (i32.eq (local.get $turn) (i32.const 2)) (then (call $digit
      (call $redis (i32.const 64) (i32.const 5) (i32.const 64) (i32.const 5) (i32.const 8)))))
    {more}
    (call $tell))
  (func (export "proxy_on_grpc_receive_initial_metadata") {})
  (func (export "proxy_on_grpc_receive") {})
  (func (export "{trailing}") {})
  (func (export "proxy_on_grpc_close") {})
  (func (export "proxy_on_redis_call_response") (param i32 i32 i32 i32)
    (call $report (i32.const 114) (local.get 1) (local.get 2))
    (call $digit (local.get 3)) (call $tell))"#,
            report('i'),
            report('m'),
            report('t'),
            report('c'),
        ),
    ))
}

const TRAILING: &str = "proxy_on_grpc_receive_trailing_metadata";

fn message(body: &'static str) -> Rc<Reply> {
    Rc::new(Reply { body: body.as_bytes().to_vec(), ..Reply::default() })
}

fn end(code: u32, text: &'static str) -> Rc<Reply> {
    Rc::new(Reply { status: Some((code, text)), ..Reply::default() })
}

/// A VM with one plugin, in which so many ticks have opened a call each.
struct Session {
    vm: Vm<Env>,
    env: Rc<Env>,
    plugin: PluginId,
}

impl Session {
    fn begin(module: &Module, calls: usize) -> Self {
        let (vm, env) = start(module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let session = Self { vm, env, plugin };
        for _ in 0..calls {
            assert_eq!(session.tick(), ["0"]);
        }
        session
    }

    fn tick(&self) -> Vec<String> {
        self.vm.on_tick(self.plugin).unwrap();
        self.env.take_messages()
    }

    fn id(&self, number: usize) -> CallId {
        self.env.opened.borrow()[number - 1].0
    }
}

#[test]
fn a_call_is_told_its_message_and_nothing_more() {
    let module = guest_with(TRAILING, "");
    guarded(|| {
        let session = Session::begin(&module, 1);
        let (vm, id) = (&session.vm, session.id(1));
        // What a call does not tell of.
        vm.on_grpc_initial_metadata(id, message("")).unwrap();
        vm.on_grpc_trailing_metadata(id, message("")).unwrap();
        vm.on_redis_call_response(id, message("")).unwrap();
        vm.on_http_call_response(id, message("")).unwrap();
        assert_eq!((session.env.take_messages(), vm.calls()), (vec![], 1));
        vm.on_grpc_message(id, message("hello")).unwrap();
        assert_eq!((session.env.take_messages(), vm.calls()), (vec!["m15ITMhelloRS0".to_owned()], 0));
        vm.on_grpc_message(id, message("again")).unwrap();
        vm.on_grpc_close(id, end(0, "")).unwrap();
        assert!(session.env.take_messages().is_empty(), "it is over");
    });
}

#[test]
fn a_call_that_fails_is_told_its_status() {
    let module = guest_with(TRAILING, "");
    guarded(|| {
        let session = Session::begin(&module, 1);
        session.vm.on_grpc_close(session.id(1), end(5, "not here")).unwrap();
        assert_eq!(session.env.take_messages(), ["c15ITMRSnot here5"]);
        assert_eq!(session.vm.calls(), 0);
    });
}

/// The C++ SDK has another name for one callback.
#[test]
fn a_stream_is_told_all() {
    for trailing in [TRAILING, "proxy_on_grpc_trailing_metadata"] {
        let module = guest_with(trailing, "");
        guarded(|| {
            let session = Session::begin(&module, 2);
            let (vm, id) = (&session.vm, session.id(2));
            let metadata = Reply { initial: pairs(&[("k", "v"), ("x", "")]), ..Reply::default() };
            vm.on_grpc_initial_metadata(id, Rc::new(metadata)).unwrap();
            vm.on_grpc_message(id, message("one")).unwrap();
            vm.on_grpc_message(id, message("")).unwrap();
            let metadata = Reply { trailing: pairs(&[("k", "w")]), ..Reply::default() };
            vm.on_grpc_trailing_metadata(id, Rc::new(metadata)).unwrap();
            assert_eq!(vm.calls(), 2);
            vm.on_grpc_close(id, end(7, "no")).unwrap();
            let expected = ["i22IvTMRS0", "m23ITMoneRS0", "m20ITMRS0", "t21ITwMRS0", "c27ITMRSno7"];
            assert_eq!(session.env.take_messages(), expected);
            assert_eq!(vm.calls(), 1);
        });
    }
}

#[test]
fn a_reply_of_redis_is_buffer_nine() {
    let module = guest_with(TRAILING, "");
    guarded(|| {
        let session = Session::begin(&module, 3);
        session.vm.on_redis_call_response(session.id(3), message("+OK")).unwrap();
        assert_eq!(session.env.take_messages(), ["r30ITMR+OKS0", "3"]);
        assert_eq!(session.vm.calls(), 2);
        let session = Session::begin(&module, 3);
        session.vm.on_redis_call_response(session.id(3), end(1, "timeout")).unwrap();
        assert_eq!(session.env.take_messages(), ["r31ITMRStimeout1", "0"]);
    });
}

#[test]
fn a_guest_sends_closes_and_cancels_its_own() {
    // Send to each kind and to nobody, too much, the last; close and cancel each.
    let more = r#"(if (i32.eq (local.get $turn) (i32.const 3)) (then
      (call $digit (call $send (i32.const 1) (i32.const 64) (i32.const 5) (i32.const 0)))
      (call $digit (call $send (i32.const 2) (i32.const 64) (i32.const 5) (i32.const 0)))
      (call $digit (call $send (i32.const 2) (i32.const 96) (i32.const 4) (i32.const 0)))
      (call $digit (call $send (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 1)))
      (call $digit (call $send (i32.const 3) (i32.const 64) (i32.const 5) (i32.const 0)))
      (call $digit (call $close (i32.const 2)))
      (call $digit (call $close (i32.const 1)))
      (call $digit (call $close (i32.const 1)))
      (call $digit (call $close (i32.const 3)))
      (call $digit (call $cancel (i32.const 2)))
      (call $digit (call $cancel (i32.const 2)))
      (call $digit (call $cancel (i32.const 3)))))"#;
    let module = guest_with(TRAILING, more);
    guarded(|| {
        let session = Session::begin(&module, 3);
        session.env.asked.take();
        let said = session.tick();
        let refused = "proxy_grpc_send refused: too much waits to be sent on the stream";
        assert_eq!(said, [refused, "202010011011"]);
        assert_eq!(session.env.asked.take(), ["known More", " Last", "close"]);
        assert_eq!(session.env.cancelled.take(), [session.id(1), session.id(2)]);
        assert_eq!(session.vm.calls(), 1);
        session.vm.on_grpc_close(session.id(2), end(1, "")).unwrap();
        assert!(session.env.take_messages().is_empty(), "a guest that cancels is told nothing more");
    });
}

/// Ids are easily guessed, and neighbours in a VM have nothing to do with each other.
#[test]
fn a_neighbour_s_calls_are_not_found() {
    let more = r#"(if (i32.eq (local.get $turn) (i32.const 3)) (then
      (call $digit (call $send (i32.const 2) (i32.const 64) (i32.const 5) (i32.const 0)))
      (call $digit (call $close (i32.const 2)))
      (call $digit (call $cancel (i32.const 1)))))"#;
    let module = guest_with(TRAILING, more);
    guarded(|| {
        let session = Session::begin(&module, 3);
        let neighbour = session.vm.add_plugin(plugin_spec("b", b"")).unwrap();
        session.vm.on_tick(neighbour).unwrap();
        assert_eq!(session.env.take_messages(), ["111"]);
        assert_eq!(session.vm.calls(), 3);
    });
}

#[test]
fn calls_end_with_their_plugin_and_their_vm() {
    let module = guest_with(TRAILING, "");
    guarded(|| {
        let session = Session::begin(&module, 3);
        session.vm.remove_plugin(session.plugin);
        let mut cancelled = session.env.cancelled.take();
        cancelled.sort();
        assert_eq!(cancelled, [session.id(1), session.id(2), session.id(3)]);
        session.vm.on_grpc_message(session.id(2), message("late")).unwrap();
        assert!(session.env.take_messages().is_empty());
    });
    let trap = "(if (i32.eq (local.get $turn) (i32.const 2)) (then unreachable))";
    let module = guest_with(TRAILING, trap);
    guarded(|| {
        let session = Session::begin(&module, 2);
        session.vm.on_tick(session.plugin).unwrap_err();
        assert_eq!(session.env.cancelled.take().len(), 3);
        assert_eq!(session.vm.on_grpc_close(session.id(2), end(0, "")), Err(Failure::Broken));
        assert_eq!(session.vm.on_redis_call_response(session.id(3), end(0, "")), Err(Failure::Broken));
    });
}
