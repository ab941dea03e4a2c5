//! How VMs, plugins and streams come and go, by guests that write down what is called.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

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
fn a_refused_configuration_says_why_and_leaves_the_others_alone() {
    let fields = r#"
      (data (i32.const 512) "no rules given")
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (if (i32.eqz (local.get 1)) (then
          (drop (call $log (i32.const 4) (i32.const 512) (i32.const 14)))))
        (local.get 1))"#;
    let module = wat(&guest(LOG, fields));
    guarded(|| {
        let (vm, env) = start(&module);
        env.level.set(LogLevel::Critical);
        let good = vm.add_plugin(plugin_spec("good", b"x")).unwrap();
        let error = vm.add_plugin(plugin_spec("bad", b"")).unwrap_err();
        assert!(matches!(error, StartError::ConfigurationRefused { .. }));
        assert_eq!(error.to_string(), "the filter refused its configuration; it said: \"no rules given\"");
        assert!(env.lines.take().is_empty(), "below the level");
        assert_eq!((vm.contexts(), vm.failed()), (1, None));
        vm.create_stream(good, Exchange::request(&[])).unwrap();
    });
}

#[test]
fn a_refused_vm_configuration_is_an_error() {
    let fields = r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 0))"#;
    let module = wat(&guest("", fields));
    guarded(|| {
        let (vm, _) = start(&module);
        let error = vm.add_plugin(plugin_spec("a", b"")).unwrap_err();
        assert!(matches!(error, StartError::VmRefused { .. }), "{error}");
        assert_eq!((vm.contexts(), vm.failed()), (0, None));
    });
}

#[test]
fn a_plugin_that_traps_at_its_start_fails_the_vm() {
    let fields = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) unreachable)"#;
    let module = wat(&guest("", fields));
    guarded(|| {
        let (vm, env) = start(&module);
        let error = vm.add_plugin(plugin_spec("a", b"")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the filter trapped in proxy_on_configure: the guest executed `unreachable`"
        );
        let error = vm.add_plugin(plugin_spec("b", b"")).unwrap_err();
        assert!(matches!(error, StartError::Failed { failure: Failure::Broken, .. }));
        assert_eq!((vm.contexts(), env.ticks.take().len()), (0, 2), "timers are stopped");
    });
}

#[test]
fn a_trap_fails_the_vm_and_nothing_is_called_any_more() {
    let fields = format!(
        r#"{DIARY} (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) unreachable)"#
    );
    let module = wat(&guest(LOG, &fields));
    guarded(|| {
        let (vm, env) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let exchange = Exchange::request(&[]);
        let stream = vm.create_stream(plugin, Rc::clone(&exchange)).unwrap();
        let other = vm.create_stream(plugin, Exchange::request(&[])).unwrap();
        env.lines.take();
        let failure = Failure::Trap { callback: "proxy_on_response_headers", trap: Trap::Unreachable };
        assert_eq!(vm.on_response_headers(stream, 0, true), Err(failure.clone()));
        assert_eq!(vm.failed(), Some(&failure));
        assert_eq!(vm.on_request_headers(other, 0, true), Err(Failure::Broken));
        assert_eq!(vm.on_request_body(other, 0, true), Err(Failure::Broken), "even if it is not exported");
        assert_eq!(vm.on_tick(plugin), Err(Failure::Broken));
        assert_eq!(vm.create_stream(plugin, Exchange::request(&[])), Err(Failure::Broken));
        assert_eq!(vm.finish(stream), Err(Failure::Broken));
        assert_eq!(Rc::strong_count(&exchange), 1, "the exchange is given back");
        vm.finish(other).unwrap_err();
        vm.remove_plugin(plugin);
        assert_eq!((diary(&env).as_str(), vm.contexts()), ("", 0));
    });
}

#[test]
fn each_callback_has_its_budget() {
    let fields = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (loop $for_ever (br $for_ever)) (i32.const 0))"#;
    let module = wat(&guest("", fields));
    guarded(|| {
        let (vm, _) = start(&module);
        let spec = PluginSpec { budget: Duration::from_millis(5), ..plugin_spec("a", b"") };
        let plugin = vm.add_plugin(spec).unwrap();
        let stream = vm.create_stream(plugin, Exchange::request(&[])).unwrap();
        let failure = Failure::Budget { callback: "proxy_on_request_headers" };
        assert_eq!(vm.on_request_headers(stream, 0, true), Err(failure));
    });
}

#[test]
fn a_trap_in_the_allocator_ends_the_callback() {
    let imports = r#"(import "env" "proxy_get_property"
      (func $get (param i32 i32 i32 i32) (result i32)))"#;
    let source = format!(
        r#"(module {imports} (memory (export "memory") 1)
        (data (i32.const 64) "plugin_name")
        (func (export "proxy_abi_version_0_2_0"))
        (func (export "malloc") (param i32) (result i32) unreachable)
        (func (export "proxy_on_tick") (param i32)
          (drop (call $get (i32.const 64) (i32.const 11) (i32.const 0) (i32.const 4)))))"#
    );
    let module = wat(&source);
    guarded(|| {
        let (vm, _) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let failure = Failure::Trap { callback: "proxy_on_tick", trap: Trap::Unreachable };
        assert_eq!(vm.on_tick(plugin), Err(failure));
    });
}

#[test]
fn the_allocator_may_log_and_nothing_else() {
    let imports = format!(
        r#"{LOG} (import "env" "proxy_done" (func $done (result i32)))
        (import "env" "proxy_get_property" (func $get (param i32 i32 i32 i32) (result i32)))"#
    );
    let source = |what: &str| {
        format!(
            r#"(module {imports} (memory (export "memory") 1)
            (data (i32.const 64) "plugin_name")
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (drop {what}) (i32.const 1024))
            (func (export "proxy_on_tick") (param i32)
              (drop (call $get (i32.const 64) (i32.const 11) (i32.const 0) (i32.const 4)))
              (drop (call $done))))"#
        )
    };
    let logs = wat(&source("(call $log (i32.const 2) (i32.const 64) (i32.const 6))"));
    let acts = wat(&source("(call $done)"));
    guarded(|| {
        let (vm, env) = start(&logs);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        vm.on_tick(plugin).unwrap();
        assert_eq!(diary(&env), "plugin");
        let (vm, _) = start(&acts);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let Err(Failure::Trap { trap: Trap::Host(why), .. }) = vm.on_tick(plugin) else { panic!() };
        assert!(why.starts_with("proxy_done called from the allocator"), "{why}");
    });
}

#[test]
fn modules_that_do_not_start_say_why() {
    let marker = r#"(func (export "proxy_abi_version_0_2_1"))"#;
    let malloc = r#"(func (export "malloc") (param i32) (result i32) (i32.const 0))"#;
    let exit = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
    let say = r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
      (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 0) "starting")"#;
    let table = [
        (String::new(), "not a Proxy-Wasm module: it exports no proxy_abi_version_*"),
        (
            r#"(func (export "proxy_abi_version_0_3_0"))"#.to_owned(),
            "the module wants ABI 0_3_0; this gateway speaks 0.2.1, 0.2.0, 0.1.0 and 0.2.100",
        ),
        (marker.to_owned(), "the module exports no allocator (proxy_on_memory_allocate or malloc)"),
        (
            format!(
                r#"{marker} {malloc} (func (export "proxy_on_request_headers") (param i32 i32) (result i32) (i32.const 0))"#
            ),
            "the export proxy_on_request_headers has the type (i32, i32) -> (i32), which is not the ABI's",
        ),
        (
            format!(r#"(import "env" "no_such_thing" (func)) {marker} {malloc}"#),
            "import `env`.`no_such_thing` (function () -> ()) is not provided",
        ),
        (
            format!(r#"{marker} {malloc} (memory 300)"#),
            "the module needs 300 pages of memory from the start, but may have 256",
        ),
        (
            format!(r#"{exit} {marker} {malloc} (func (export "_start") (call $exit (i32.const 3)))"#),
            "the filter trapped in _start: the guest exited with status 3",
        ),
        (
            format!(
                r#"{say} {marker} {malloc} (func (export "_initialize")
              (drop (call $log (i32.const 2) (i32.const 0) (i32.const 8)))
              (drop (call $tick (i32.const 9))))"#
            ),
            "the filter trapped in _initialize: host function: proxy_set_tick_period_milliseconds called \
             from the allocator or during initialisation; it said: \"starting\"",
        ),
    ];
    let modules: Vec<_> =
        table.iter().map(|(fields, expected)| (wat(&format!("(module {fields})")), *expected)).collect();
    guarded(|| {
        for (module, expected) in &modules {
            let error = start_with(module, vm_spec(), &Env::new()).err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), Some(*expected));
        }
    });
}

#[test]
fn reactors_and_commands_start() {
    let exit = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
    let print = r#"(func $note (param $letter i32)
      (i32.store8 (i32.const 0) (local.get $letter))
      (drop (call $log (i32.const 2) (i32.const 0) (i32.const 1))))"#;
    let reactor = r#"
      (func (export "_initialize") (call $note (i32.const 105)))
      (func (export "main") (param i32 i32) (result i32) (call $note (i32.const 109)) (i32.const 1))
      (func (export "_start") (call $note (i32.const 115)))"#;
    let void = r#"
      (func (export "_initialize") (call $note (i32.const 105)))
      (func (export "main"))
      (func (export "__main_void") (result i32) (call $note (i32.const 118)) (i32.const 0))"#;
    let command = r#"(func (export "_start") (call $note (i32.const 115)) (call $exit (i32.const 0)))
      (func (export "main") (param i32 i32) (result i32) unreachable)"#;
    let table = [(reactor, "i m"), (void, "i v"), (command, "s")];
    let modules = table.map(|(fields, expected)| {
        (wat(&guest(&format!("{LOG}{exit}"), &format!("{print}{fields}"))), expected)
    });
    guarded(|| {
        for (module, expected) in &modules {
            let (vm, env) = start(module);
            assert_eq!(diary(&env), *expected);
            vm.add_plugin(plugin_spec("a", b"")).unwrap();
        }
    });
}

/// The module of a version, in place of 0.2.1's.
fn of_version(version: &str, source: &str) -> tollgate_wasmedge::Module {
    wat(&source.replace("proxy_abi_version_0_2_1", &format!("proxy_abi_version_{version}")))
}

#[test]
fn abi_0_1_0_has_calls_of_its_own() {
    let imports = r#"
      (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
      (import "env" "proxy_get_configuration" (func $configuration (param i32 i32) (result i32)))
      (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_continue_request" (func $continue_request (result i32)))
      (import "env" "proxy_continue_response" (func $continue_response (result i32)))
      (import "env" "proxy_clear_route_cache" (func $clear (result i32)))"#;
    // Logs the bytes that were returned last, or "-" for none.
    let fields = r#"
      (data (i32.const 16) "x-absent") (data (i32.const 32) "-")
      (func $say (param $status i32)
        (if (local.get $status) (then unreachable))
        (if (i32.load (i32.const 4))
          (then (drop (call $log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4)))))
          (else (drop (call $log (i32.const 2) (i32.const 32) (i32.const 1))))))
      (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (call $say (call $configuration (i32.const 0) (i32.const 4))) (i32.const 1))
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $say (call $configuration (i32.const 0) (i32.const 4))) (i32.const 1))
      (func (export "proxy_on_request_headers") (param $context i32) (param $count i32) (result i32)
        (call $say (call $get (i32.const 0) (i32.const 16) (i32.const 8) (i32.const 0) (i32.const 4)))
        (call $say (call $get (i32.const 2) (i32.const 16) (i32.const 8) (i32.const 0) (i32.const 4)))
        (drop (call $clear))
        (drop (call $continue_request))
        (i32.sub (local.get $count) (i32.const 6)))
      (func (export "proxy_on_response_headers") (param i32 i32) (result i32)
        (drop (call $continue_response)) (i32.const 0))"#;
    let module = of_version("0_1_0", &guest(imports, fields));
    guarded(|| {
        let (vm, env) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"plugin configuration")).unwrap();
        assert_eq!(env.take_messages(), ["vm configuration", "plugin configuration"]);
        let exchange = Exchange::request(&[]);
        let stream = vm.create_stream(plugin, Rc::clone(&exchange)).unwrap();
        assert_eq!(vm.on_request_headers(stream, 7, true), Ok(Action::Pause(PauseKind::Watermark)));
        assert_eq!(env.take_messages(), ["-", "-"], "a missing header is an empty one");
        assert_eq!(vm.on_response_headers(stream, 1, true), Ok(Action::Continue));
        assert_eq!(*exchange.resumed.borrow(), [StreamSide::Request, StreamSide::Response]);
        assert_eq!(exchange.route_clearings.get(), 1);
        vm.finish(stream).unwrap();
    });
}

#[test]
fn the_version_says_how_headers_callbacks_look() {
    let callback = |params: &str| {
        guest(
            "",
            &format!(
                r#"(func (export "proxy_on_request_headers") (param {params}) (result i32) (i32.const 0))"#
            ),
        )
    };
    guarded(|| {
        let start =
            |version, params| start_with(&of_version(version, &callback(params)), vm_spec(), &Env::new());
        for (version, good, bad) in [
            ("0_1_0", "i32 i32", "i32 i32 i32"),
            ("0_2_0", "i32 i32 i32", "i32 i32"),
            ("0_2_100", "i32 i32 i32", "i32 i32"),
        ] {
            assert!(start(version, good).is_ok(), "{version}");
            let error = start(version, bad).err().unwrap();
            assert!(matches!(error, StartError::Signature { .. }), "{version}: {error}");
        }
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
