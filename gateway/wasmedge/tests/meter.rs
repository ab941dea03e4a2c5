//! Guests that reach for the meter, and modules that are refused.

#![allow(clippy::unwrap_used, reason = "tests, with helpers")]

mod common;

use common::{AMPLE, guarded, options, wasm};
use tollgate_wasmedge::{
    CompileError, Compiler, Instance, InstanceLimits, InstantiateError, Linker, Module, OptLevel, Refusal,
    Trap,
};

fn compiler() -> (tempfile::TempDir, Compiler) {
    let dir = tempfile::tempdir().unwrap();
    let compiler = Compiler::new(options(&dir)).unwrap();
    (dir, compiler)
}

fn refusal(compiler: &Compiler, bytes: &[u8]) -> Refusal {
    match compiler.compile(bytes, OptLevel::O0) {
        Err(CompileError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_of_the_meter_are_refused() {
    let (_dir, compiler) = compiler();
    for text in [
        r#"(module (import "tollgate:meter" "refill" (func (param i64) (result i64))))"#,
        r#"(module (import "tollgate:anything" "at all" (func)))"#,
        r#"(module (global (export "tollgate:fuel") (mut i64) (i64.const 0)))"#,
        r#"(module (memory (export "tollgate:memory") 1))"#,
        r#"(module (func (export "tollgate:other")))"#,
    ] {
        let refusal = refusal(&compiler, &wasm(text));
        assert!(
            matches!(&refusal, Refusal::ReservedName { name } if name.starts_with("tollgate:")),
            "{refusal:?}"
        );
    }
}

/// Metering a metered module again is refused, so nobody can bring a meter of their own.
#[test]
fn a_guest_can_neither_name_nor_reach_the_counter() {
    let (_dir, compiler) = compiler();
    // The indices the pass would use next, in a module without globals and imports.
    for text in [
        "(module (func (export \"f\") (global.set 0 (i64.const 0x7fffffffffffffff))))",
        "(module (func (export \"f\") (drop (global.get 0))))",
        "(module (func (export \"f\") (call 1)))",
        "(module (table 1 funcref) (elem (i32.const 0) func 1))",
    ] {
        // Validation by text is off: the bytes themselves name what is not there.
        let bytes = wat::parse_str(text).unwrap();
        assert!(matches!(refusal(&compiler, &bytes), Refusal::Invalid { .. }), "{text}");
    }
    // A module that counts for itself keeps its own global, and is stopped none the less.
    let own = wasm(
        r#"(module (global $g (mut i64) (i64.const 5)) (export "fuel" (global $g))
            (table 8 funcref) (type $refill (func (param i64) (result i64)))
            (func (export "spin") (loop $l
                (global.set $g (i64.const 0x7fffffffffffffff)) (br $l)))
            (func (export "probe") (param i32) (result i64)
                (call_indirect (type $refill) (i64.const -1) (local.get 0))))"#,
    );
    let module = Module::load(&compiler.compile(&own, OptLevel::O2).unwrap()).unwrap();
    let names: Vec<_> = module.exports().map(|export| export.name.clone()).collect();
    assert_eq!(names, ["fuel", "spin", "probe"]);
    assert_eq!(module.imports().count(), 0);
    guarded(|| {
        let mut instance = Instance::new(&module, &Linker::new(), InstanceLimits::default(), ()).unwrap();
        let spin = instance.func::<(), ()>("spin").unwrap();
        let budget = std::time::Duration::from_millis(20);
        assert!(matches!(instance.call(&spin, (), budget), Err(Trap::Budget { .. })));
        let probe = instance.func::<i32, i64>("probe").unwrap();
        for index in 0..10 {
            assert_eq!(instance.call(&probe, index, AMPLE), Err(Trap::IndirectCall));
        }
    });
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let (_dir, compiler) = compiler();
    for (text, word) in [
        ("(module (memory 1 2 shared))", "threads"),
        ("(module (memory i64 1))", "memory64"),
        ("(module (memory 1) (memory 1))", "multi"),
        ("(module (tag))", "exceptions"),
        ("(module (type (struct (field i32))))", "gc"),
        ("(module (func (i32.add)))", "type mismatch"),
    ] {
        let bytes = wasm(text);
        match refusal(&compiler, &bytes) {
            Refusal::Invalid { message, .. } => assert!(message.contains(word), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(refusal(&compiler, b"\0asm\x0d\0\x01\0"), Refusal::Invalid { .. }));
    assert!(matches!(refusal(&compiler, b"not wasm"), Refusal::Invalid { .. }));
    assert!(matches!(refusal(&compiler, b""), Refusal::Invalid { .. }));
}

#[test]
fn limits_of_size_hold() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    options.limits.locals = 100;
    options.limits.body_bytes = 1000;
    options.limits.table_elements = 10;
    options.limits.module_bytes = 4000;
    let compiler = Compiler::new(options).unwrap();
    let locals = format!("(module (func (local {})))", "i32 ".repeat(101));
    assert_eq!(refusal(&compiler, &wasm(&locals)), Refusal::Locals { function: 0, locals: 101, limit: 100 });
    let body = format!("(module (func) (func {}))", "(drop (i32.const 1))".repeat(400));
    assert!(matches!(
        refusal(&compiler, &wasm(&body)),
        Refusal::BodyBytes { function: 1, bytes: 1200.., .. }
    ));
    let table = "(module (table 10 funcref) (table 11 funcref))";
    assert_eq!(
        refusal(&compiler, &wasm(table)),
        Refusal::TableElements { table: 1, elements: 11, limit: 10 }
    );
    let long = format!("(module (memory 1) (data (i32.const 0) \"{}\"))", "x".repeat(4000));
    assert!(matches!(refusal(&compiler, &wasm(&long)), Refusal::ModuleBytes { limit: 4000, .. }));

    // A table may not grow beyond the limit either, whatever it declares.
    let grow = wasm(
        r#"(module (table 1 4000000000 funcref)
            (func (export "grow") (param i32) (result i32) (table.grow (ref.null func) (local.get 0))))"#,
    );
    let module = Module::load(&compiler.compile(&grow, OptLevel::O0).unwrap()).unwrap();
    guarded(|| {
        let mut instance = Instance::new(&module, &Linker::new(), InstanceLimits::default(), ()).unwrap();
        let grow = instance.func::<i32, i32>("grow").unwrap();
        assert_eq!(instance.call(&grow, 10, AMPLE), Ok(-1));
        assert_eq!(instance.call(&grow, 9, AMPLE), Ok(1));
        assert_eq!(instance.call(&grow, 1, AMPLE), Ok(-1));
    });
}

#[test]
fn a_memory_that_starts_too_large_is_refused() {
    let (_dir, compiler) = compiler();
    let bytes = wasm("(module (memory 300))");
    let module = Module::load(&compiler.compile(&bytes, OptLevel::O0).unwrap()).unwrap();
    assert_eq!(module.memory_pages_min(), 300);
    guarded(|| {
        let refused = Instance::new(&module, &Linker::new(), InstanceLimits::default(), ()).map(|_| ());
        assert_eq!(refused, Err(InstantiateError::MemoryMinimum { declared: 300, limit: 256 }));
        let limits = InstanceLimits { memory_pages_max: 300 };
        assert_eq!(Instance::new(&module, &Linker::new(), limits, ()).unwrap().memory_pages(), 300);
    });
}

#[test]
fn a_deeply_nested_module_is_compiled_or_refused_but_kills_nobody() {
    let (_dir, compiler) = compiler();
    let deep = format!("(module (func (export \"f\") {} {}))", "(block ".repeat(3000), ")".repeat(3000));
    // Whatever the child makes of it, this process gets an answer.
    match compiler.compile(&wasm(&deep), OptLevel::O0) {
        Ok(artifact) => assert!(artifact.code_bytes() > 0),
        Err(CompileError::Crashed { .. } | CompileError::Compiler(_) | CompileError::Refused(_)) => {}
        Err(other) => panic!("{other:?}"),
    }
}
