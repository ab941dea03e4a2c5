//! How VMs, plugins and streams come and go, by guests that write down what is called.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod faults;
mod starts;
#[path = "../support/mod.rs"]
mod support;
mod versions;

use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::module::{guest, wat};
use support::{Env, Exchange, guarded, plugin_spec, start, start_with, vm_spec};
use tollgate_proxy_wasm::{
    Action, Failure, Handles, LogLevel, PauseKind, PluginSpec, QueueId, QueueReader, QueueTurn, StartError,
    StreamSide,
};
use tollgate_wasmedge::Trap;

const LOG: &str = r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#;

/// Fields of a guest that logs each callback as a letter and its context as a digit.
const DIARY: &str = r#"
  (func $note (param $letter i32) (param $context i32)
    (i32.store8 (i32.const 0) (local.get $letter))
    (i32.store8 (i32.const 1) (i32.add (i32.const 48) (local.get $context)))
    (drop (call $log (i32.const 2) (i32.const 0) (i32.const 2))))
  (func (export "proxy_on_context_create") (param i32 i32) (call $note (i32.const 99) (local.get 0)))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
    (call $note (i32.const 118) (local.get 0)) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (call $note (i32.const 102) (local.get 0)) (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $note (i32.const 104) (local.get 0)) (i32.const 0))
  (func (export "proxy_on_tick") (param i32) (call $note (i32.const 116) (local.get 0)))
  (func (export "proxy_on_log") (param i32) (call $note (i32.const 108) (local.get 0)))
  (func (export "proxy_on_delete") (param i32) (call $note (i32.const 120) (local.get 0)))
"#;

fn diary(env: &Env) -> String {
    env.take_messages().join(" ")
}

#[test]
fn the_order_is_the_specification_s() {
    let module = wat(&guest(LOG, DIARY));
    guarded(|| {
        let (vm, env) = start(&module);
        assert_eq!(
            vm.handles(),
            Handles { request_headers: true, log: true, tick: true, ..Handles::default() }
        );
        let first = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let second = vm.add_plugin(plugin_spec("b", b"")).unwrap();
        assert_eq!(diary(&env), "c1 v1 f1 c2 v2 f2");
        let stream = vm.create_stream(second, Exchange::request(&[])).unwrap();
        assert_eq!(vm.on_request_headers(stream, 0, true), Ok(Action::Continue));
        assert_eq!(vm.on_request_body(stream, 0, true), Ok(Action::Continue), "not exported");
        vm.on_tick(first).unwrap();
        assert_eq!(vm.contexts(), 3);
        vm.finish(stream).unwrap();
        assert_eq!(diary(&env), "c3 h3 t1 l3 x3");
        assert_eq!(vm.finish(stream), Err(Failure::UnknownContext));
        assert_eq!(vm.on_request_headers(stream, 0, true), Err(Failure::UnknownContext));
        vm.remove_plugin(second);
        vm.remove_plugin(first);
        assert_eq!(diary(&env), "l2 x2 l1 x1");
        assert_eq!(env.ticks.take(), [(second, None), (first, None)]);
        assert_eq!((vm.contexts(), vm.failed()), (0, None));
        assert_eq!(vm.create_stream(first, Exchange::request(&[])), Err(Failure::UnknownContext));
        assert!(vm.fuel_used() > 0 && vm.memory_bytes() == 2 << 16);
    });
}

#[test]
fn a_context_that_is_not_done_waits_for_proxy_done() {
    let imports = format!(
        r#"{LOG} (import "env" "proxy_done" (func $done (result i32)))
        (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))"#
    );
    // The tick of the plugin ends the context whose number the last request had.
    let fields = r#"
      (global $last (mut i32) (i32.const 0))
      (func (export "proxy_on_context_create") (param i32 i32) (global.set $last (local.get 0)))
      (func (export "proxy_on_done") (param i32) (result i32) (i32.const 0))
      (func (export "proxy_on_log") (param i32)
        (drop (call $log (i32.const 2) (i32.const 512) (i32.const 3))))
      (data (i32.const 512) "log")
      (func (export "proxy_on_tick") (param i32)
        (drop (call $effective (global.get $last)))
        (drop (call $done)))"#;
    let module = wat(&guest(&imports, fields));
    guarded(|| {
        let (vm, env) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let exchange = Exchange::request(&[]);
        let stream = vm.create_stream(plugin, Rc::clone(&exchange)).unwrap();
        vm.finish(stream).unwrap();
        assert_eq!((vm.contexts(), Rc::strong_count(&exchange)), (2, 2), "it waits");
        assert_eq!(vm.finish(stream), Err(Failure::UnknownContext), "its end has begun");
        vm.on_tick(plugin).unwrap();
        assert_eq!((vm.contexts(), Rc::strong_count(&exchange)), (1, 1));
        assert_eq!(
            env.lines.take().iter().filter(|line| line.message == b"log" && line.in_stream).count(),
            1
        );
        vm.on_tick(plugin).unwrap();
        assert_eq!(vm.contexts(), 1, "done twice is done once");
    });
}

/// A plugin takes along what it has kept waiting.
#[test]
fn streams_that_are_not_done_end_with_their_plugin() {
    let done =
        r#"(func (export "proxy_on_done") (param i32) (result i32) (i32.eq (local.get 0) (i32.const 1)))"#;
    let module = wat(&guest(LOG, &format!("{DIARY} {done}")));
    guarded(|| {
        let (vm, env) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let exchange = Exchange::request(&[]);
        let stream = vm.create_stream(plugin, Rc::clone(&exchange)).unwrap();
        vm.finish(stream).unwrap();
        assert_eq!((diary(&env).as_str(), vm.contexts()), ("c1 v1 f1 c2", 2));
        vm.remove_plugin(plugin);
        assert_eq!((diary(&env).as_str(), vm.contexts()), ("l2 x2 l1 x1", 0));
        assert_eq!(Rc::strong_count(&exchange), 1, "nothing keeps it");
    });
}

/// A timer that is set while its plugin goes would never be stopped.
#[test]
fn a_plugin_that_goes_gets_no_timer() {
    let tick = r#"(import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))"#;
    let module = wat(&guest(
        tick,
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.eqz (call $tick (i32.const 50))))
        (func (export "proxy_on_done") (param i32) (result i32) (i32.eqz (call $tick (i32.const 60))))
        (func (export "proxy_on_log") (param i32) (drop (call $tick (i32.const 70))))
        (func (export "proxy_on_delete") (param i32) (drop (call $tick (i32.const 80))))"#,
    ));
    guarded(|| {
        let (vm, env) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        vm.remove_plugin(plugin);
        assert_eq!(env.ticks.take(), [(plugin, Some(Duration::from_millis(50))), (plugin, None)]);
    });
}

#[test]
fn a_tick_reaches_a_paused_stream() {
    let imports = r#"
      (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
      (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))"#;
    let fields = r#"
      (global $waiting (mut i32) (i32.const 0))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (global.set $waiting (local.get 0)) (i32.const 1))
      (func (export "proxy_on_tick") (param i32)
        (drop (call $effective (global.get $waiting)))
        (drop (call $continue (i32.const 0))))"#;
    let module = wat(&guest(imports, fields));
    guarded(|| {
        let (vm, _) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let exchange = Exchange::request(&[]);
        let stream = vm.create_stream(plugin, Rc::clone(&exchange)).unwrap();
        assert_eq!(vm.on_request_headers(stream, 0, true), Ok(Action::Pause(PauseKind::Watermark)));
        vm.on_tick(plugin).unwrap();
        assert_eq!(*exchange.resumed.borrow(), [StreamSide::Request]);
    });
}

#[test]
fn an_answer_stops_the_stream_whatever_the_guest_returns() {
    let imports = r#"(import "env" "proxy_send_local_response"
      (func $answer (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;
    let fields = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (drop (call $answer (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const -1)))
      (i32.const 0))"#;
    let module = wat(&guest(imports, fields));
    guarded(|| {
        let (vm, _) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let exchange = Exchange::request(&[]);
        let stream = vm.create_stream(plugin, Rc::clone(&exchange)).unwrap();
        assert_eq!(vm.on_request_headers(stream, 0, true), Ok(Action::Pause(PauseKind::Watermark)));
        assert_eq!(exchange.answer.borrow().as_ref().unwrap().status, 403);
    });
}

#[test]
fn a_queue_tells_its_reader_until_it_is_empty() {
    let imports = r#"
      (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
      (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
      (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
      (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))"#;
    let fields = r#"
      (data (i32.const 16) "queue") (data (i32.const 32) "onetwo")
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $register (i32.const 16) (i32.const 5) (i32.const 8))) (i32.const 1))
      (func (export "proxy_on_tick") (param i32)
        (drop (call $enqueue (i32.load (i32.const 8)) (i32.const 32) (i32.const 3)))
        (drop (call $enqueue (i32.load (i32.const 8)) (i32.const 35) (i32.const 3))))
      (func (export "proxy_on_queue_ready") (param $plugin i32) (param $queue i32)
        (if (i32.eqz (call $dequeue (local.get $queue) (i32.const 0) (i32.const 4)))
          (then (drop (call $log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4)))))))"#;
    let module = wat(&guest(imports, fields));
    guarded(|| {
        let reader = Arc::new(Reader::default());
        let (vm, env) = start(&module);
        let spec = PluginSpec { queue_reader: Some(Arc::clone(&reader) as _), ..plugin_spec("a", b"") };
        let plugin = vm.add_plugin(spec).unwrap();
        assert!(reader.0.lock().unwrap().is_empty());
        vm.on_tick(plugin).unwrap();
        let notices = std::mem::take(&mut *reader.0.lock().unwrap());
        let [queue, again] = notices[..] else { panic!("{notices:?}") };
        assert_eq!(queue, again);
        assert_eq!(vm.on_queue_ready(plugin, queue), Ok(QueueTurn::Again));
        assert_eq!(vm.on_queue_ready(plugin, queue), Ok(QueueTurn::Over));
        assert_eq!(vm.on_queue_ready(plugin, queue), Ok(QueueTurn::Over), "there is nothing left");
        assert_eq!(env.take_messages(), ["one", "two"]);
        drop(reader);
        vm.remove_plugin(plugin);
        env.queues.sweep();
        assert!(env.queues.is_empty());
        assert_eq!(vm.on_queue_ready(plugin, queue), Ok(QueueTurn::Over), "the queue is gone");
    });
}

#[derive(Debug, Default)]
struct Reader(Mutex<Vec<QueueId>>);

impl QueueReader for Reader {
    fn notify(&self, queue: QueueId) {
        self.0.lock().unwrap().push(queue);
    }
}
