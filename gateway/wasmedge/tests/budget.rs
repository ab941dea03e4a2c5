//! Guests that do not end by themselves, and the count of what guests use.

#![allow(clippy::unwrap_used, reason = "tests, with helpers")]

mod common;

use common::{AMPLE, guarded, load, load_at};
use std::cell::Cell;
use std::time::Duration;
use tollgate_wasmedge::{Caller, Instance, InstanceLimits, Linker, Module, OptLevel, Trap};

const SHORT: Duration = Duration::from_millis(20);

/// One endless function for each way not to end, and `add`.
const ENDLESS: &str = r#"(module
    (import "env" "copy" (func $copy (param i32 i32)))
    (import "env" "noop" (func $noop))
    (memory 256 256)
    (table $t 50000 funcref)
    (data $d "0123456789abcdef")
    (elem $e func $even $odd)
    (type $void (func))
    (elem (table $t) (i32.const 7) func $by_table)
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "loop") (loop $l (br $l)))
    (func (export "loop_with_exit") (param i32) (local i32)
        (loop $l
            (local.set 1 (i32.add (local.get 1) (i32.const 1)))
            (br_if $l (i32.ne (local.get 1) (i32.mul (local.get 1) (i32.const 2))))
            (br $l)))
    (func $self (export "self_tail_call") (return_call $self))
    (func $even (export "mutual_tail_calls") (return_call $odd))
    (func $odd (return_call $even))
    (func $by_table (export "indirect_tail_call")
        (return_call_indirect $t (type $void) (i32.const 7)))
    (func (export "tree") (call $branch (i32.const 64)))
    (func $branch (param i32)
        (if (local.get 0) (then
            (call $branch (i32.sub (local.get 0) (i32.const 1)))
            (call $branch (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "memory_copy")
        (loop $l (memory.copy (i32.const 1) (i32.const 0) (i32.const 0xFFFFFF)) (br $l)))
    (func (export "memory_fill")
        (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x1000000)) (br $l)))
    (func (export "memory_init")
        (loop $l (memory.init $d (i32.const 0) (i32.const 0) (i32.const 16)) (br $l)))
    (func (export "memory_grow") (loop $l (drop (memory.grow (i32.const 1))) (br $l)))
    (func (export "table_copy")
        (loop $l (table.copy $t $t (i32.const 1) (i32.const 0) (i32.const 49999)) (br $l)))
    (func (export "table_fill")
        (loop $l (table.fill $t (i32.const 0) (ref.null func) (i32.const 50000)) (br $l)))
    (func (export "table_init")
        (loop $l (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 2)) (br $l)))
    (func (export "table_grow")
        (loop $l (drop (table.grow $t (ref.null func) (i32.const 1))) (br $l)))
    (func (export "host_calls") (loop $l (call $noop) (br $l)))
    (func (export "host_copies")
        (loop $l (call $copy (i32.const 0) (i32.const 0x100000)) (br $l))))"#;

const WAYS: [&str; 15] = [
    "loop",
    "self_tail_call",
    "mutual_tail_calls",
    "indirect_tail_call",
    "tree",
    "memory_copy",
    "memory_fill",
    "memory_init",
    "memory_grow",
    "table_copy",
    "table_fill",
    "table_init",
    "table_grow",
    "host_calls",
    "host_copies",
];

fn linker() -> Linker<Cell<u64>> {
    let mut linker = Linker::new();
    linker
        .func("env", "noop", |caller: &mut Caller<'_, Cell<u64>>, (): ()| {
            caller.state().set(caller.state().get() + 1);
            Ok(())
        })
        .func("env", "copy", |caller: &mut Caller<'_, Cell<u64>>, (at, len): (u32, u32)| {
            let copy = caller.read(at, len).map(<[u8]>::to_vec).ok_or(Trap::OutOfBounds)?;
            caller.state().set(caller.state().get() + copy.len() as u64);
            caller.write(at, &copy).ok_or(Trap::OutOfBounds)
        });
    linker
}

fn new(module: &Module) -> Instance<Cell<u64>> {
    Instance::new(module, &linker(), InstanceLimits::default(), Cell::new(0)).unwrap()
}

#[test]
fn whatever_does_not_end_is_stopped_and_the_next_call_works() {
    for level in [OptLevel::O0, OptLevel::O2] {
        let module = load_at(ENDLESS, level);
        guarded(|| {
            let mut instance = new(&module);
            let add = instance.func::<(i32, i32), i32>("add").unwrap();
            for way in WAYS {
                let f = instance.func::<(), ()>(way).unwrap();
                match instance.call(&f, (), SHORT) {
                    // A bulk operation is refused beforehand if what is left is too short for it.
                    Err(Trap::Budget { spent }) => {
                        assert!(
                            spent >= SHORT || way.contains("copy") || way.contains("fill"),
                            "{way}: {spent:?}"
                        );
                    }
                    other => panic!("{way} at {level:?}: {other:?}"),
                }
                assert_eq!(instance.call(&add, (1, 2), SHORT), Ok(3), "after {way}");
            }
            let f = instance.func::<i32, ()>("loop_with_exit").unwrap();
            assert!(matches!(instance.call(&f, 1, SHORT), Err(Trap::Budget { .. })));
        });
    }
}

#[test]
fn work_within_the_budget_is_not_stopped() {
    // 32 copies of 1 MiB and a million rounds of a loop: far more than one slice.
    let module = load(
        r#"(module (memory 256)
            (func (export "work") (param i32) (result i32) (local $n i32)
                (loop $copies
                    (memory.copy (i32.const 0) (i32.const 0x100000) (i32.const 0x100000))
                    (br_if $copies (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1)))
                        (i32.const 32))))
                (local.set $n (i32.const 0))
                (loop $l
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (i32.store (i32.const 16) (local.get $n))
                    (br_if $l (i32.lt_u (local.get $n) (local.get 0))))
                (i32.load (i32.const 16))))"#,
    );
    guarded(|| {
        let mut instance = new(&module);
        let work = instance.func::<i32, i32>("work").unwrap();
        for _ in 0..5 {
            assert_eq!(instance.call(&work, 1_000_000, AMPLE), Ok(1_000_000));
        }
    });
}

#[test]
fn one_bulk_operation_larger_than_the_budget_does_not_start_and_is_forgiven() {
    let module = load(COUNTED);
    guarded(|| {
        let mut instance = new(&module);
        let clear = instance.func::<i32, ()>("clear").unwrap();
        let sum = instance.func::<i32, i32>("sum").unwrap();
        // 16 MiB at 8 bytes a nanosecond are two milliseconds.
        let budget = Duration::from_millis(1);
        let trap = instance.call(&clear, 16 << 20, budget);
        assert!(matches!(trap, Err(Trap::Budget { .. })), "{trap:?}");
        assert_eq!(instance.call(&sum, 4, budget), Ok(10));
    });
}

#[test]
fn a_nested_call_spends_the_budget_of_the_outer_one() {
    let module = load(
        r#"(module (import "env" "nest" (func $nest))
            (func (export "outer") (loop $l (call $nest) (br $l)))
            (func (export "inner") (loop $l (br $l)))
            (func (export "once") (result i32) (i32.const 5)))"#,
    );
    guarded(|| {
        let mut linker = Linker::<Cell<u64>>::new();
        linker.func("env", "nest", |caller: &mut Caller<'_, Cell<u64>>, (): ()| {
            let inner = caller.func::<(), ()>("inner").ok_or(Trap::Host("no export"))?;
            // Even a host function that ignores it cannot give the guest more time.
            let ended = caller.call(&inner, ());
            assert!(matches!(ended, Err(Trap::Budget { .. })), "{ended:?}");
            caller.state().set(caller.state().get() + 1);
            Ok(())
        });
        let mut instance = Instance::new(&module, &linker, InstanceLimits::default(), Cell::new(0)).unwrap();
        let outer = instance.func::<(), ()>("outer").unwrap();
        let once = instance.func::<(), i32>("once").unwrap();
        for round in 1..4 {
            assert!(matches!(instance.call(&outer, (), SHORT), Err(Trap::Budget { .. })));
            assert_eq!(instance.state().get(), round, "one nested call a round");
            assert_eq!(instance.call(&once, (), SHORT), Ok(5));
        }
    });
}

const COUNTED: &str = r#"(module
    (memory 256)
    (func (export "sum") (param i32) (result i32) (local i32)
        (loop $l
            (local.set 1 (i32.add (local.get 1) (local.get 0)))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1))
    (func (export "clear") (param i32)
        (memory.fill (i32.const 0) (i32.const 0) (local.get 0)))
    (func (export "leaf") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))"#;

#[test]
fn fuel_is_exact_and_the_same_at_every_level() {
    // Units of the loop's ten instructions; the one read outside it, and the loop itself.
    for level in [OptLevel::O0, OptLevel::O2] {
        let module = load_at(COUNTED, level);
        guarded(|| {
            let mut instance = new(&module);
            let sum = instance.func::<i32, i32>("sum").unwrap();
            let mut cost = |n| {
                let before = instance.fuel_used();
                instance.call(&sum, n, AMPLE).unwrap();
                instance.fuel_used() - before
            };
            let one = cost(1);
            let each = cost(2) - one;
            assert_eq!(each, 10, "{level:?}");
            assert_eq!(cost(1000), one + 999 * each, "{level:?}");
            // Across many slices, too.
            assert_eq!(cost(2_000_000), one + 1_999_999 * each, "{level:?}");
            assert_eq!(cost(1), one, "{level:?}");

            let clear = instance.func::<i32, ()>("clear").unwrap();
            let mut cost = |n| {
                let before = instance.fuel_used();
                instance.call(&clear, n, AMPLE).unwrap();
                instance.fuel_used() - before
            };
            assert_eq!(cost(64_000) - cost(0), 8000, "a unit for eight bytes");

            let leaf = instance.func::<i32, i32>("leaf").unwrap();
            let before = instance.fuel_used();
            assert_eq!(instance.call(&leaf, 1, AMPLE), Ok(2));
            assert_eq!(instance.fuel_used(), before, "what a small leaf does is its caller's");
        });
    }
}

#[test]
fn what_host_functions_copy_counts() {
    let module = load_at(ENDLESS, OptLevel::O2);
    guarded(|| {
        let mut instance = new(&module);
        let copies = instance.func::<(), ()>("host_copies").unwrap();
        let trap = instance.call(&copies, (), SHORT);
        assert!(matches!(trap, Err(Trap::Budget { .. })), "{trap:?}");
        let copied = instance.state().get();
        assert!(instance.fuel_used() >= 2 * copied / 16, "{} for {copied} bytes", instance.fuel_used());
    });
}

#[test]
fn a_long_budget_leaves_no_long_slice_behind() {
    let module = load(COUNTED);
    guarded(|| {
        let mut instance = new(&module);
        let sum = instance.func::<i32, i32>("sum").unwrap();
        assert!(instance.call(&sum, 50_000_000, Duration::from_secs(100)).is_ok());
        // Had the slice of ten seconds been kept, this would be over before anybody looked.
        let trap = instance.call(&sum, 20_000_000, Duration::from_nanos(1));
        assert!(matches!(trap, Err(Trap::Budget { .. })), "{trap:?}");
    });
}

/// A guest that asked for it is told once, from inside its loop, while there is time left to act on it.
#[test]
fn a_guest_is_told_when_little_of_its_budget_is_left() {
    const WAT: &str = r#"(module
        (global $told (mut i32) (i32.const 0))
        (func (export "tollgate_on_budget_low")
            (global.set $told (i32.add (global.get $told) (i32.const 1))))
        (func (export "until_told") (result i32)
            (loop $l (br_if $l (i32.eqz (global.get $told))))
            (global.get $told))
        (func (export "for_ever") (loop $l (br $l))))"#;
    guarded(|| {
        let module = load(WAT);
        let mut instance = Instance::new(&module, &Linker::new(), InstanceLimits::default(), ()).unwrap();
        let until_told = instance.func::<(), i32>("until_told").unwrap();
        let for_ever = instance.func::<(), ()>("for_ever").unwrap();
        assert_eq!(instance.call(&until_told, (), SHORT), Ok(1));
        // A later call is told anew: the count is of both.
        assert!(matches!(instance.call(&for_ever, (), SHORT), Err(Trap::Budget { .. })));
        assert_eq!(instance.call(&until_told, (), AMPLE), Ok(2));
    });
}
