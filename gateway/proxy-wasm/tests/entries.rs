//! Callbacks that are run in one call into the guest are what they would be one by one.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use support::module::{guest, wat};
use support::{Env, Exchange, guarded, plugin_spec, start};
use tollgate_proxy_wasm::{Action, Failure, PauseKind};

const IMPORTS: &str = r#"
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))"#;

/// All five callbacks: each notes its letter and the status of reading the request's path, then runs
/// what `extra` has for it.
fn fields(extra: [&str; 5]) -> String {
    let [create, headers, done, log, delete] = extra;
    format!(
        r#"
  (data (i32.const 64) ":path")
  (func $note (param $letter i32)
    (local $status i32)
    (local.set $status (call $get (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 16) (i32.const 20)))
    (i32.store8 (i32.const 0) (local.get $letter))
    (i32.store8 (i32.const 1) (i32.add (i32.const 48) (local.get $status)))
    (drop (call $log (i32.const 2) (i32.const 0) (i32.const 2))))
  (func (export "proxy_on_context_create") (param i32 i32)
    (if (local.get 1) (then (call $note (i32.const 99)) {create})))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $note (i32.const 104)) {headers}
    (i32.add (local.get 1) (i32.mul (i32.const 2) (local.get 2))))
  (func (export "proxy_on_done") (param i32) (result i32) (call $note (i32.const 100)) {done} (i32.const 1))
  (func (export "proxy_on_log") (param i32) (call $note (i32.const 108)) {log})
  (func (export "proxy_on_delete") (param i32) (call $note (i32.const 120)) {delete})"#
    )
}

fn diary(env: &Env) -> String {
    env.take_messages().join(" ")
}

fn exchange() -> std::rc::Rc<Exchange> {
    Exchange::request(&[(":path", "/")])
}

#[test]
fn steps_run_in_order_with_their_own_parameters() {
    let module = wat(&guest(IMPORTS, &fields([""; 5])));
    guarded(|| {
        let (vm, env) = start(&module);
        let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
        // The guest returns the number of headers, and 2 more at the end of the stream.
        for (count, end, action) in [
            (0, false, Action::Continue),
            (1, false, Action::Pause(PauseKind::Watermark)),
            (1, true, Action::Pause(PauseKind::Buffer)),
        ] {
            let (stream, headers) = vm.begin_exchange(plugin, exchange(), count, end).unwrap();
            assert_eq!(headers, Ok(action));
            vm.finish(stream).unwrap();
            assert_eq!(diary(&env), "c0 h0 d0 l0 x0");
            assert_eq!(vm.finish(stream), Err(Failure::UnknownContext));
        }
        assert_eq!(vm.contexts(), 1);
    });
}

/// A context that a guest makes effective is so for the callback that runs, and no longer.
#[test]
fn an_effective_context_lasts_for_one_callback() {
    const TO_PLUGIN: &str = "(drop (call $effective (i32.const 1)))";
    for position in 0..5 {
        let mut extra = [""; 5];
        extra[position] = TO_PLUGIN;
        let module = wat(&guest(IMPORTS, &fields(extra)));
        guarded(|| {
            let (vm, env) = start(&module);
            let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
            let (stream, headers) = vm.begin_exchange(plugin, exchange(), 0, false).unwrap();
            assert_eq!(headers, Ok(Action::Continue));
            vm.finish(stream).unwrap();
            assert_eq!(diary(&env), "c0 h0 d0 l0 x0", "after {position}");
        });
    }
}

#[test]
fn a_trap_names_the_callback_that_it_came_in() {
    const NAMES: [&str; 5] = [
        "proxy_on_context_create",
        "proxy_on_request_headers",
        "proxy_on_done",
        "proxy_on_log",
        "proxy_on_delete",
    ];
    for (position, name) in NAMES.into_iter().enumerate() {
        let mut extra = [""; 5];
        extra[position] = "unreachable";
        let module = wat(&guest(IMPORTS, &fields(extra)));
        guarded(|| {
            let (vm, _env) = start(&module);
            let plugin = vm.add_plugin(plugin_spec("a", b"")).unwrap();
            let failure = match vm.begin_exchange(plugin, exchange(), 0, false) {
                Err(failure) => failure,
                Ok((stream, headers)) => match headers {
                    Err(failure) => {
                        assert_eq!(vm.finish(stream), Err(Failure::Broken));
                        failure
                    }
                    Ok(_) => vm.finish(stream).unwrap_err(),
                },
            };
            assert!(matches!(failure, Failure::Trap { callback, .. } if callback == name), "{failure}");
            assert_eq!(vm.contexts(), 1, "only the plugin's own is left");
        });
    }
}
