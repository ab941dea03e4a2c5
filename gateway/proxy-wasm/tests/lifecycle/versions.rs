//! What differs between the versions of the ABI.

use super::*;

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
