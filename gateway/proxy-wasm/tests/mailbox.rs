//! Changes of headers that a guest posts are what they would be if each were done at once.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use std::rc::Rc;

use support::module::{guest, wat};
use support::{Env, Exchange, guarded, plugin_spec, start};
use tollgate_proxy_wasm::{Action, Failure, MapType, PluginId, RefusalReason, Vm};

const IMPORTS: &str = r#"
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))"#;

/// A guest whose request headers callback runs `body`. It can `$say` what `x-a` is; its data are `x-a`, `x-b`, `one`,
/// `two` and `a b`, 8 bytes apart.
fn module(body: &str) -> tollgate_wasmedge::Module {
    wat(&guest(
        IMPORTS,
        &format!(
            r#"
  (data (i32.const 8) "x-a") (data (i32.const 16) "x-b")
  (data (i32.const 24) "one") (data (i32.const 32) "two") (data (i32.const 40) "a b")
  (func $say
    (if (call $get (i32.const 0) (i32.const 8) (i32.const 3) (i32.const 64) (i32.const 68))
      (then (drop (call $log (i32.const 2) (i32.const 40) (i32.const 3))))
      (else (drop (call $log (i32.const 2) (i32.load (i32.const 64)) (i32.load (i32.const 68)))))))
  (func $add_a (param i32)
    (drop (call $add (i32.const 0) (i32.const 8) (i32.const 3) (local.get 0) (i32.const 3))))
  (func $replace_a (param i32)
    (drop (call $replace (i32.const 0) (i32.const 8) (i32.const 3) (local.get 0) (i32.const 3))))
  (func $remove_a (drop (call $remove (i32.const 0) (i32.const 8) (i32.const 3))))
  (func (export "proxy_on_request_headers") (param $context i32) (param i32 i32) (result i32)
    {body} (i32.const 0))"#
        ),
    ))
}

fn with(body: &str, test: impl FnOnce(&Vm<Env>, &Env, PluginId) + Send) {
    let module = module(body);
    guarded(|| {
        let (vm, env) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        test(&vm, &env, plugin);
    });
}

fn exchange() -> Rc<Exchange> {
    Exchange::request(&[(":path", "/"), ("x-a", "old")])
}

/// Runs the callback, which must go well.
fn serve(vm: &Vm<Env>, plugin: PluginId) -> Rc<Exchange> {
    let exchange = exchange();
    let (_, headers) = vm.begin_exchange(plugin, Rc::clone(&exchange), 2, true).unwrap();
    assert_eq!(headers, Ok(Action::Continue));
    exchange
}

#[test]
fn a_read_sees_what_was_written_before_it() {
    let body = "(call $say) (call $replace_a (i32.const 24)) (call $say) (call $remove_a) (call $say)
        (call $add_a (i32.const 32)) (call $add_a (i32.const 24)) (call $say)";
    with(body, |vm, env, plugin| {
        let exchange = serve(vm, plugin);
        assert_eq!(env.take_messages(), ["old", "one", "a b", "two"]);
        assert_eq!(exchange.header(MapType::RequestHeaders, "x-a"), ["two", "one"]);
        assert!(exchange.refusals.borrow().is_empty());
    });
}

#[test]
fn what_is_posted_last_is_done_when_the_call_ends() {
    with("(call $replace_a (i32.const 24)) (call $add_a (i32.const 32))", |vm, _, plugin| {
        assert_eq!(serve(vm, plugin).header(MapType::RequestHeaders, "x-a"), ["one", "two"]);
    });
}

#[test]
fn more_than_fits_and_what_is_large_keep_their_order() {
    // 4 KiB is a call of its own; the others are posted, until there is no room.
    let body = "(local $at i32) (local.set $at (i32.const 60))
        (loop $again
            (drop (call $add (i32.const 0) (i32.const 8) (i32.const 3) (i32.const 4096)
                (select (i32.const 4096) (i32.add (i32.const 1000) (local.get $at))
                    (i32.eqz (i32.rem_u (local.get $at) (i32.const 20))))))
            (local.set $at (i32.sub (local.get $at) (i32.const 1)))
            (br_if $again (local.get $at)))";
    let fill = "(memory.fill (i32.const 4096) (i32.const 118) (i32.const 4096))";
    with(&body.replacen("(loop", &format!("{fill} (loop"), 1), |vm, _, plugin| {
        let lengths: Vec<_> =
            serve(vm, plugin).header(MapType::RequestHeaders, "x-a").iter().map(String::len).collect();
        let expected = (1..=60).rev().map(|at| if at % 20 == 0 { 4096 } else { 1000 + at });
        assert_eq!(lengths, [3].into_iter().chain(expected).collect::<Vec<_>>());
    });
}

#[test]
fn a_change_that_is_refused_is_told_and_stops_nothing() {
    let body = "(drop (call $add (i32.const 0) (i32.const 40) (i32.const 3) (i32.const 24) (i32.const 3)))
        (drop (call $add (i32.const 2) (i32.const 8) (i32.const 3) (i32.const 24) (i32.const 3)))
        (call $add_a (i32.const 24))";
    with(body, |vm, _, plugin| {
        let exchange = serve(vm, plugin);
        let refused: Vec<_> =
            exchange.refusals.borrow().iter().map(|refusal| (refusal.function, refusal.reason)).collect();
        let add = "proxy_add_header_map_value";
        assert_eq!(refused, [(add, RefusalReason::BadName), (add, RefusalReason::Unavailable)]);
        assert_eq!(exchange.header(MapType::RequestHeaders, "x-a"), ["old", "one"]);
    });
}

#[test]
fn each_exchange_gets_its_own() {
    // The second stream writes to itself, to the first one, and to itself again.
    let body = "(call $add_a (i32.const 24))
        (if (i32.gt_u (local.get $context) (i32.const 2)) (then
            (drop (call $effective (i32.const 2))) (call $add_a (i32.const 32))
            (drop (call $effective (local.get $context))) (call $remove_a)))";
    with(body, |vm, _, plugin| {
        let [first, second] = [(); 2].map(|()| serve(vm, plugin));
        assert_eq!(first.header(MapType::RequestHeaders, "x-a"), ["old", "one", "two"]);
        assert!(second.header(MapType::RequestHeaders, "x-a").is_empty());
    });
}

#[test]
fn what_was_written_before_a_trap_is_written() {
    with("(call $replace_a (i32.const 24)) (unreachable)", |vm, _, plugin| {
        let exchange = exchange();
        let (_, headers) = vm.begin_exchange(plugin, Rc::clone(&exchange), 2, true).unwrap();
        assert!(matches!(headers, Err(Failure::Trap { .. })));
        assert_eq!(exchange.header(MapType::RequestHeaders, "x-a"), ["one"]);
    });
}

#[test]
fn calls_count_whether_posted_or_not() {
    with(
        "(call $replace_a (i32.const 24)) (call $add_a (i32.const 24)) (call $add_a (i32.const 24))",
        |vm, _, plugin| {
            serve(vm, plugin);
            let calls = vm.host_calls(plugin).unwrap();
            let mut counted = 0;
            calls.take(|_, calls| counted += calls);
            assert_eq!(counted, 3);
        },
    );
}

#[test]
fn an_allocator_may_not_change_headers() {
    let text = guest(
        IMPORTS,
        r#"(data (i32.const 8) "x-a")
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $get (i32.const 0) (i32.const 8) (i32.const 3) (i32.const 64) (i32.const 68)))
    (i32.const 0))"#,
    );
    // One that would be posted, and one that would not; for an answer that is left in the mailbox, and one that is not.
    for (written, read) in [(3, 3), (5000, 3), (3, 40_000), (5000, 40_000)] {
        let change = format!(
            "(drop (call $add (i32.const 0) (i32.const 8) (i32.const 3) (i32.const 8) (i32.const {written})))"
        );
        let module = wat(&text.replacen("(global.get $heap)", &format!("{change} (global.get $heap)"), 1));
        let value = "v".repeat(read);
        guarded(|| {
            let (vm, _) = start(&module);
            let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
            let exchange = Exchange::request(&[(":path", "/"), ("x-a", &value)]);
            let (_, headers) = vm.begin_exchange(plugin, exchange, 2, true).unwrap();
            assert!(headers.unwrap_err().to_string().contains("from the allocator"), "{written} {read}");
        });
    }
}
