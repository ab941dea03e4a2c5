//! Guests that trap, take too long, or have an allocator that does.

use super::*;

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
