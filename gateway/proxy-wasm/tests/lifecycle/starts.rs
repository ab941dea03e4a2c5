//! Modules and configurations that do not start, and those that do.

use super::*;

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
