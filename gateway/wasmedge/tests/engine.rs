//! Linking, calling, values, memory and threads.

#![allow(clippy::unwrap_used, reason = "tests, with helpers")]

mod common;

use common::{AMPLE, guarded, load, load_at, wasm};
use std::cell::RefCell;
use tollgate_wasmedge::{
    Caller, ExternType, FuncType, Instance, InstanceLimits, InstantiateError, Linker, Module, OptLevel, Trap,
    ValType, spawn_guarded,
};

const GUEST: &str = r#"(module
    (import "env" "log" (func $log (param i32 i32)))
    (import "env" "fetch" (func $fetch (param i32) (result i32)))
    (import "env" "many" (func $many
        (param i32 i64 i32 i64 i32 i64 i32 i64 i32 i64 i32 i64) (result i64)))
    (memory (export "memory") 1 4)
    (data (i32.const 64) "hello from the guest")
    (global $heap (mut i32) (i32.const 1024))
    (func $grow (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "malloc") (param i32) (result i32)
        (global.get $heap)
        (global.set $heap (i32.add (global.get $heap) (local.get 0))))
    (func (export "hello") (call $log (i32.const 64) (i32.const 20)))
    (func (export "log") (param i32 i32) (call $log (local.get 0) (local.get 1)))
    (func (export "fetch") (param i32) (result i32) (call $fetch (local.get 0)))
    (func (export "grow") (param i32) (result i32) (call $grow (local.get 0)))
    (func (export "many") (result i64)
        (call $many (i32.const 1) (i64.const -2) (i32.const 3) (i64.const 4) (i32.const 5) (i64.const 6)
            (i32.const 7) (i64.const 8) (i32.const 9) (i64.const 10) (i32.const 11) (i64.const 12)))
    (func (export "pair") (param i32 i64) (result i64 i32) (local.get 1) (local.get 0))
    (func (export "floats") (param f32 f64) (result f64 f32) (local.get 1) (local.get 0)))"#;

/// What the guest logged, and what `fetch` hands out.
#[derive(Default)]
struct State {
    lines: RefCell<Vec<String>>,
    answer: Vec<u8>,
}

type Twelve = (i32, i64, i32, i64, i32, i64, i32, i64, i32, i64, i32, i64);

fn log(caller: &mut Caller<'_, State>, (ptr, len): (u32, u32)) -> Result<(), Trap> {
    let line = caller.read(ptr, len).ok_or(Trap::OutOfBounds)?;
    let line = String::from_utf8_lossy(line).into_owned();
    caller.state().lines.borrow_mut().push(line);
    Ok(())
}

/// Puts the answer into memory that the guest allocates; writes its length to `len_ptr`.
fn fetch(caller: &mut Caller<'_, State>, len_ptr: u32) -> Result<u32, Trap> {
    let malloc = caller.func::<u32, u32>("malloc").ok_or(Trap::Host("no malloc"))?;
    let len = caller.state().answer.len() as u32;
    let at = caller.call(&malloc, len)?;
    let answer = caller.state().answer.clone();
    caller.write(at, &answer).ok_or(Trap::OutOfBounds)?;
    caller.write_u32(len_ptr, len).ok_or(Trap::OutOfBounds)?;
    assert_eq!(caller.read_u32(len_ptr), Some(len));
    Ok(at)
}

fn linker() -> Linker<State> {
    let mut linker = Linker::new();
    linker.func("env", "log", log).func("env", "fetch", fetch).func(
        "env",
        "many",
        |_: &mut Caller<'_, State>, p: Twelve| {
            let (a, b, c, d, e, f, g, h, i, j, k, l) = p;
            Ok([b, d, f, h, j, l].iter().sum::<i64>() * 1000 + i64::from(a + c + e + g + i + k))
        },
    );
    linker
}

fn new(module: &Module, state: State) -> Instance<State> {
    Instance::new(module, &linker(), InstanceLimits::default(), state).unwrap()
}

#[test]
fn values_cross_in_both_directions() {
    for level in [OptLevel::O0, OptLevel::O2] {
        let module = load_at(GUEST, level);
        guarded(|| {
            let mut instance = new(&module, State::default());
            let pair = instance.func::<(i32, i64), (i64, i32)>("pair").unwrap();
            assert_eq!(instance.call(&pair, (-1, i64::MIN), AMPLE), Ok((i64::MIN, -1)));
            let pair = instance.func::<(u32, u64), (u64, u32)>("pair").unwrap();
            assert_eq!(instance.call(&pair, (u32::MAX, 7), AMPLE), Ok((7, u32::MAX)));
            let floats = instance.func::<(f32, f64), (f64, f32)>("floats").unwrap();
            assert_eq!(instance.call(&floats, (1.5, -0.25), AMPLE), Ok((-0.25, 1.5)));
            let many = instance.func::<(), i64>("many").unwrap();
            assert_eq!(instance.call(&many, (), AMPLE), Ok(38 * 1000 + 36));
        });
    }
}

#[test]
fn host_functions_read_and_write_guest_memory_within_bounds() {
    let module = load(GUEST);
    guarded(|| {
        let mut instance = new(&module, State { answer: b"an answer".to_vec(), ..State::default() });
        let hello = instance.func::<(), ()>("hello").unwrap();
        instance.call(&hello, (), AMPLE).unwrap();
        assert_eq!(*instance.state().lines.borrow(), ["hello from the guest"]);

        let fetch = instance.func::<u32, u32>("fetch").unwrap();
        let at = instance.call(&fetch, 16, AMPLE).unwrap();
        assert_eq!(instance.memory().read(16, 4), Some(&9_u32.to_le_bytes()[..]));
        assert_eq!(instance.memory().read(at, 9), Some(&b"an answer"[..]));

        let log = instance.func::<(u32, u32), ()>("log").unwrap();
        for (ptr, len) in [(65_530, 7), (0, 65_537), (u32::MAX, 1), (u32::MAX, u32::MAX), (65_537, 0)] {
            assert_eq!(instance.call(&log, (ptr, len), AMPLE), Err(Trap::OutOfBounds), "{ptr} {len}");
        }
        assert_eq!(instance.call(&log, (65_536, 0), AMPLE), Ok(()));
        assert_eq!(instance.call(&fetch, 65_533, AMPLE), Err(Trap::OutOfBounds));

        // The memory stays where it is and keeps its contents while it grows.
        let before = instance.memory().read(at, 9).unwrap().as_ptr();
        let grow = instance.func::<i32, i32>("grow").unwrap();
        assert_eq!(instance.call(&grow, 3, AMPLE), Ok(1));
        assert_eq!(instance.memory_pages(), 4);
        assert_eq!(instance.memory().read(at, 9), Some(&b"an answer"[..]));
        assert_eq!(instance.memory().read(at, 9).unwrap().as_ptr(), before);
        assert_eq!(instance.call(&log, (65_530, 7), AMPLE), Ok(()));
    });
}

#[test]
fn imports_and_exports_are_known_by_their_original_names_and_types() {
    let module = load(GUEST);
    let imports: Vec<_> =
        module.imports().map(|import| (import.module.as_str(), import.name.as_str())).collect();
    assert_eq!(imports, [("env", "log"), ("env", "fetch"), ("env", "many")]);
    assert_eq!(module.imports().next().unwrap().ty, ExternType::Func(FuncType::new(&[ValType::I32; 2], &[])));
    let exports: Vec<_> = module.exports().map(|export| export.name.as_str()).collect();
    assert_eq!(exports[0], "memory");
    assert!(exports.iter().all(|name| !name.starts_with("tollgate")), "{exports:?}");
    assert_eq!(module.memory_pages_min(), 1);
    assert!(module.exports_func("hello") && !module.exports_func("memory") && !module.exports_func("absent"));
    assert_eq!(module.func_type("pair").unwrap().to_string(), "(i32, i64) -> (i64, i32)");
    let digest: [u8; 32] =
        sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(wasm(GUEST))).into();
    assert_eq!(module.digest(), digest);
}

#[test]
fn look_ups_check_the_type() {
    let module = load(GUEST);
    guarded(|| {
        let instance = new(&module, State::default());
        assert!(instance.func::<(), ()>("hello").is_some());
        assert!(instance.func::<i32, ()>("hello").is_none());
        assert!(instance.func::<(), i32>("hello").is_none());
        assert!(instance.func::<(), ()>("absent").is_none());
        assert!(instance.func::<(), ()>("memory").is_none());
        assert!(instance.func::<(), ()>("tollgate:fuel").is_none());
    });
}

#[test]
fn unresolved_and_mistyped_imports_are_named() {
    let module = load(GUEST);
    guarded(|| {
        let refused = |linker: &Linker<State>| {
            Instance::new(&module, linker, InstanceLimits::default(), State::default()).unwrap_err()
        };
        match refused(&Linker::new()) {
            InstantiateError::UnresolvedImport { module, name, ty } => {
                assert_eq!((module.as_str(), name.as_str()), ("env", "log"));
                assert_eq!(ty.to_string(), "function (i32, i32) -> ()");
            }
            other => panic!("{other}"),
        }
        let mut linker = linker();
        linker.func("env", "log", |_: &mut Caller<'_, State>, _: (i32, i64)| Ok(()));
        match refused(&linker) {
            InstantiateError::ImportType { name, found, .. } => {
                assert_eq!((name.as_str(), found.to_string().as_str()), ("log", "(i32, i64) -> ()"));
            }
            other => panic!("{other}"),
        }
        linker.func("env", "log", log);
        assert!(Instance::new(&module, &linker, InstanceLimits::default(), State::default()).is_ok());
    });
    let memory = load(r#"(module (import "env" "memory" (memory 1)))"#);
    guarded(|| {
        let error = Instance::new(&memory, &Linker::<()>::new(), InstanceLimits::default(), ()).unwrap_err();
        assert!(error.to_string().contains("`env`.`memory` (memory)"), "{error}");
    });
}

#[test]
fn a_function_of_another_instance_is_not_called() {
    let module = load(GUEST);
    guarded(|| {
        let mut one = new(&module, State::default());
        let foreign = new(&module, State::default()).func::<(), ()>("hello").unwrap();
        assert!(matches!(one.call(&foreign, (), AMPLE), Err(Trap::Host(_))));
        assert!(one.state().lines.borrow().is_empty());
    });
}

/// A host function of one instance calls another instance: each sees its own state.
#[test]
fn instances_may_call_one_another() {
    struct Outer {
        inner: RefCell<Instance<State>>,
    }
    let module = load(GUEST);
    let outer = load(
        r#"(module (import "env" "through" (func $f (param i32) (result i32)))
            (memory 1) (data (i32.const 0) "outer")
            (func (export "run") (param i32) (result i32) (call $f (local.get 0))))"#,
    );
    guarded(|| {
        let mut linker = Linker::<Outer>::new();
        linker.func("env", "through", |caller: &mut Caller<'_, Outer>, n: i32| {
            let result = {
                let mut inner = caller.state().inner.borrow_mut();
                let hello = inner.func::<(), ()>("hello").ok_or(Trap::Host("no export"))?;
                inner.call(&hello, (), AMPLE)?;
                inner.state().lines.borrow().len() as i32
            };
            // This instance's memory again, after the other's.
            assert_eq!(caller.read(0, 5), Some(&b"outer"[..]));
            Ok(n + result)
        });
        let state = Outer { inner: RefCell::new(new(&module, State::default())) };
        let mut instance = Instance::new(&outer, &linker, InstanceLimits::default(), state).unwrap();
        let run = instance.func::<i32, i32>("run").unwrap();
        assert_eq!(instance.call(&run, 10, AMPLE), Ok(11));
        assert_eq!(instance.call(&run, 10, AMPLE), Ok(12));
        assert_eq!(instance.state().inner.borrow().state().lines.borrow().len(), 2);
    });
}

#[test]
fn the_start_function_may_call_the_host() {
    let module = load(
        r#"(module (import "env" "log" (func $log (param i32 i32)))
            (memory 1) (data (i32.const 0) "started")
            (func $start (call $log (i32.const 0) (i32.const 7))) (start $start))"#,
    );
    guarded(|| {
        let instance = new(&module, State::default());
        assert_eq!(*instance.state().lines.borrow(), ["started"]);
    });
}

#[test]
fn many_instances_come_and_go_on_several_threads() {
    let module = load(GUEST);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                guarded(|| {
                    let linker = linker();
                    for n in 0..500_u32 {
                        let state = State { answer: n.to_le_bytes().to_vec(), ..State::default() };
                        let mut instance =
                            Instance::new(&module, &linker, InstanceLimits::default(), state).unwrap();
                        let fetch = instance.func::<u32, u32>("fetch").unwrap();
                        let at = instance.call(&fetch, 0, AMPLE).unwrap();
                        assert_eq!(instance.memory().read(at, 4), Some(&n.to_le_bytes()[..]));
                    }
                });
            });
        }
    });
}

#[test]
fn a_guarded_thread_reports_its_panic() {
    let thread = spawn_guarded("a name that is too long\0", 1, || panic!("on purpose")).unwrap();
    assert_eq!(thread.join().unwrap_err().message, "on purpose");
    assert!(spawn_guarded("too much", usize::MAX, || ()).is_err());
    let borrowed = String::from("borrowed");
    assert_eq!(guarded(|| borrowed.len()), 8);
}

#[test]
fn a_module_is_shared_and_outlives_the_first_handle() {
    fn assert_shared<T: Send + Sync + Clone>(_: &T) {}
    let module = load(GUEST);
    assert_shared(&module);
    let clone = module.clone();
    drop(module);
    guarded(move || {
        let mut instance = new(&clone, State::default());
        drop(clone);
        let hello = instance.func::<(), ()>("hello").unwrap();
        assert_eq!(instance.call(&hello, (), AMPLE), Ok(()));
    });
}
