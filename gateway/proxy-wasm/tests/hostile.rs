//! Guests that misbehave: each is contained, and what it did to the exchange is known.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use std::rc::Rc;
use std::time::Duration;

use support::module::{guest, wat};
use support::{Env, Exchange, guarded, plugin_spec, start, start_with, vm_spec};
use tollgate_proxy_wasm::{Action, Failure, PauseKind, PluginSpec, StreamSide};
use tollgate_wasmedge::{Module, Trap};

const LOG: &str = r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#;

/// Runs request headers of a fresh VM once.
fn request(module: &Module, budget: Duration) -> (Result<Action, Failure>, Rc<Env>) {
    let (vm, env) = start(module);
    let plugin = vm.add_plugin(PluginSpec { budget, ..plugin_spec("a", b"") }).unwrap();
    let context = vm.create_stream(plugin, Exchange::request(&[(":path", "/")])).unwrap();
    (vm.on_request_headers(context, 1, true), env)
}

#[test]
fn every_trap_is_a_failure_with_its_name() {
    // The remainder keeps the compiler from turning the recursion into a loop.
    let body = |code: &str| {
        wat(&guest(
            "",
            &format!(
                r#"(table 1 funcref) (type $none (func))
                (func $recurse (param i64) (result i64)
                  (i64.rem_u (call $recurse (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
                (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                  {code} (i32.const 0))"#
            ),
        ))
    };
    let traps = [
        (body("unreachable"), Trap::Unreachable),
        (body("(drop (i32.load (i32.const -4)))"), Trap::OutOfBounds),
        (
            body("(drop (i32.div_s (i32.const 0x80000000) (i32.sub (i32.const 0) (local.get 2))))"),
            Trap::IntegerOverflow,
        ),
        (body("(drop (i32.rem_u (i32.const 1) (i32.sub (local.get 2) (i32.const 1))))"), Trap::DivideByZero),
        (body("(call_indirect (type $none) (i32.const 0))"), Trap::IndirectCall),
        (body("(drop (call $recurse (i64.const 1)))"), Trap::StackOverflow),
    ];
    let loops = [
        body("(loop $l (br $l))"),
        body("(loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 131072)) (br $l))"),
    ];
    guarded(|| {
        let callback = "proxy_on_request_headers";
        for (module, trap) in &traps {
            let (result, _) = request(module, Duration::from_secs(5));
            assert_eq!(result, Err(Failure::Trap { callback, trap: *trap }));
        }
        for module in &loops {
            let (result, _) = request(module, Duration::from_millis(5));
            assert_eq!(result, Err(Failure::Budget { callback }));
        }
    });
}

/// A guest whose allocator is `allocator` and which logs the status of a property read as a digit.
fn with_allocator(allocator: &str) -> Module {
    wat(&format!(
        r#"(module {LOG}
        (import "env" "proxy_get_property" (func $get (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 64) "plugin_name")
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) {allocator})
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (i32.store8 (i32.const 32)
            (i32.add (i32.const 48) (call $get (i32.const 64) (i32.const 11) (i32.const 0) (i32.const 4))))
          (drop (call $log (i32.const 2) (i32.const 32) (i32.const 1)))
          (drop (call $log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4))))
          (i32.const 0)))"#
    ))
}

#[test]
fn allocators_that_fail_or_lie_are_an_error_of_the_read() {
    let none = with_allocator("(i32.const 0)");
    let wild = with_allocator("(i32.const -1)");
    let grows = with_allocator(
        "(drop (memory.grow (i32.const 1))) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1))",
    );
    guarded(|| {
        let said = |module| {
            let (result, env) = request(module, Duration::from_secs(5));
            assert_eq!(result, Ok(Action::Continue));
            env.take_messages()
        };
        assert_eq!(said(&none), ["6", ""]);
        assert_eq!(said(&wild), ["6", ""]);
        assert_eq!(said(&grows), ["0", "a"], "one byte fits at the end of the memory that grew");
    });
}

#[test]
fn growing_stops_at_the_limit() {
    let module = wat(&guest(
        LOG,
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (i32.const 0))"#,
    ));
    guarded(|| {
        let env = Env::new();
        let spec = tollgate_proxy_wasm::VmSpec { memory_pages_max: 20, ..vm_spec() };
        let vm = start_with(&module, spec, &env).unwrap();
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let context = vm.create_stream(plugin, Exchange::request(&[])).unwrap();
        assert_eq!(vm.on_request_headers(context, 0, true), Ok(Action::Continue));
        assert_eq!(vm.memory_bytes(), 20 << 16);
    });
}

#[test]
fn an_answer_for_another_exchange_does_not_stop_this_one() {
    let imports = r#"
      (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
      (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
      (import "env" "proxy_send_local_response"
        (func $answer (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;
    // A request that says it has n headers answers the context n, twice, and closes it.
    let fields = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (drop (call $effective (local.get 1)))
      (drop (call $answer (i32.const 401) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const -1)))
      (drop (call $answer (i32.const 402) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const -1)))
      (drop (call $close (i32.const 1)))
      (i32.const 0))"#;
    let module = wat(&guest(imports, fields));
    guarded(|| {
        let (vm, _) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        let (one, two) = (Exchange::request(&[]), Exchange::request(&[]));
        let first = vm.create_stream(plugin, Rc::clone(&one)).unwrap();
        let second = vm.create_stream(plugin, Rc::clone(&two)).unwrap();
        assert_eq!(vm.on_request_headers(first, second.get(), true), Ok(Action::Continue));
        assert!(one.answer.borrow().is_none() && one.closed.borrow().is_empty());
        assert_eq!(two.answer.borrow().as_ref().unwrap().status, 401, "the first answer counts");
        assert_eq!(*two.closed.borrow(), [StreamSide::Response]);
        vm.finish(second).unwrap();
        // The other one is gone: the answer is this one's own.
        let stopped = Ok(Action::Pause(PauseKind::Watermark));
        assert_eq!(vm.on_request_headers(first, second.get(), true), stopped);
        assert_eq!(one.answer.borrow().as_ref().unwrap().status, 401);
    });
}

#[test]
fn writes_outside_an_exchange_are_logged() {
    let imports = r#"(import "env" "proxy_add_header_map_value"
      (func $add (param i32 i32 i32 i32 i32) (result i32)))"#;
    let fields = r#"(data (i32.const 64) "x-id") (func (export "proxy_on_tick") (param i32)
      (if (call $add (i32.const 0) (i32.const 64) (i32.const 4) (i32.const 64) (i32.const 4))
        (then unreachable)))"#;
    let module = wat(&guest(imports, fields));
    guarded(|| {
        let (vm, env) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        vm.on_tick(plugin).unwrap();
        let expected = "refused by the host: proxy_add_header_map_value: not available now";
        assert_eq!(env.take_messages(), [expected]);
    });
}

#[test]
fn shared_data_and_metrics_stay_within_their_limits() {
    let imports = r#"
      (import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))"#;
    let fields = r#"(func (export "proxy_on_tick") (param i32) (local $n i32)
      (loop $l
        (i32.store (i32.const 64) (i32.or (local.get $n) (i32.const 0x01010101)))
        (i32.store (i32.const 68) (local.get $n))
        (if (call $set (i32.const 68) (i32.const 4) (i32.const 64) (i32.const 4) (i32.const 0))
          (then unreachable))
        (if (call $define (i32.const 0) (i32.const 64) (i32.const 8) (i32.const 80)) (then unreachable))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $n) (i32.const 70000)))))"#;
    let module = wat(&guest(imports, fields));
    guarded(|| {
        let (vm, env) = start(&module);
        env.level.set(tollgate_proxy_wasm::LogLevel::Critical);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        vm.on_tick(plugin).unwrap();
        let mut metrics = 0;
        env.metrics.visit(|_, _| metrics += 1);
        assert_eq!((env.shared.keys(), metrics), (65_536, 4096));
    });
}
