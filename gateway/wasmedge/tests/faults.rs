//! Guests that try to kill the process. After each, the next call works and memory is intact.

#![allow(clippy::unwrap_used, reason = "tests, with helpers")]

mod common;

use common::{AMPLE, guarded, instance, load, load_at};
use std::time::Duration;
use tollgate_wasmedge::{Caller, DEFAULT_STACK, Instance, InstanceLimits, Linker, Module, OptLevel, Trap};

/// A function for each fault, and `add`, which must work after all of them.
const FAULTS: &str = r#"(module
    (import "env" "panic" (func $panic (param i32) (result i32)))
    (import "env" "fail" (func $fail))
    (import "env" "exit" (func $exit (param i32)))
    (type $unary (func (param i32) (result i32)))
    (table 4 funcref)
    (elem (i32.const 1) $add_one)
    (elem (i32.const 2) $nothing)
    (memory (export "memory") 1 2)
    (func $nothing)
    (func $add_one (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "unreachable") (param i32) (result i32) unreachable)
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "store") (param i32) (result i32)
        (i32.store offset=65536 (local.get 0) (i32.const 7)) (i32.const 0))
    (func (export "clear_beyond") (param i32) (result i32)
        (memory.fill (local.get 0) (i32.const 0) (i32.const 65536)) (i32.const 0))
    (func (export "divide") (param i32) (result i32) (i32.div_s (i32.const 9) (local.get 0)))
    (func (export "overflow") (param i32) (result i32)
        (i32.div_s (i32.const 0x80000000) (local.get 0)))
    (func (export "truncate") (param i32) (result i32)
        (i32.trunc_f64_s (f64.mul (f64.const 1e300) (f64.convert_i32_s (local.get 0)))))
    (func (export "indirect") (param i32) (result i32)
        (call_indirect (type $unary) (i32.const 1) (local.get 0)))
    (func $deep (export "recurse") (param i32) (result i32)
        ;; Not a sum: of that the optimiser would make a loop.
        (i32.rotl (call $deep (i32.add (local.get 0) (i32.const 1))) (local.get 0)))
    (func (export "panic") (param i32) (result i32) (call $panic (local.get 0)))
    (func (export "fail") (param i32) (result i32) (call $fail) (i32.const 0))
    (func (export "exit") (param i32) (result i32) (call $exit (local.get 0)) (i32.const 0))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;

fn linker() -> Linker<()> {
    let mut linker = Linker::new();
    linker
        .func("env", "panic", |_: &mut Caller<'_, ()>, n: i32| -> Result<i32, Trap> {
            // A payload whose drop panics again is the nastiest one.
            if n == 0 { std::panic::panic_any(Nasty) } else { panic!("on purpose: {n}") }
        })
        .func("env", "fail", |_: &mut Caller<'_, ()>, (): ()| Err::<(), _>(Trap::Host("no")))
        .func("env", "exit", |_: &mut Caller<'_, ()>, status: u32| Err::<(), _>(Trap::Exit(status)));
    linker
}

struct Nasty;

impl Drop for Nasty {
    fn drop(&mut self) {
        panic!("in drop, on purpose");
    }
}

fn faulty(module: &Module) -> Instance<()> {
    Instance::new(module, &linker(), InstanceLimits { memory_pages_max: 2 }, ()).unwrap()
}

/// Calls `name(argument)`, which must end in `expected`; then `add` must work.
fn expect(instance: &mut Instance<()>, name: &str, argument: i32, expected: Trap) {
    let f = instance.func::<i32, i32>(name).unwrap();
    for _ in 0..3 {
        assert_eq!(instance.call(&f, argument, AMPLE), Err(expected), "{name}({argument})");
        let add = instance.func::<(i32, i32), i32>("add").unwrap();
        assert_eq!(instance.call(&add, (20, 22), AMPLE), Ok(42), "after {name}");
    }
}

#[test]
fn every_trap_has_its_name_and_the_next_call_works() {
    for level in [OptLevel::O0, OptLevel::O2] {
        let module = load_at(FAULTS, level);
        guarded(|| {
            let mut instance = faulty(&module);
            expect(&mut instance, "unreachable", 0, Trap::Unreachable);
            expect(&mut instance, "load", 65_533, Trap::OutOfBounds);
            expect(&mut instance, "load", -4, Trap::OutOfBounds);
            expect(&mut instance, "store", -1, Trap::OutOfBounds);
            expect(&mut instance, "clear_beyond", 1, Trap::OutOfBounds);
            expect(&mut instance, "divide", 0, Trap::DivideByZero);
            expect(&mut instance, "overflow", -1, Trap::IntegerOverflow);
            expect(&mut instance, "truncate", 1, Trap::IntegerOverflow);
            expect(&mut instance, "indirect", 0, Trap::IndirectCall);
            expect(&mut instance, "indirect", 2, Trap::IndirectCall);
            expect(&mut instance, "indirect", 99, Trap::IndirectCall);
            expect(&mut instance, "recurse", 0, Trap::StackOverflow);
            expect(&mut instance, "panic", 5, Trap::HostPanic);
            expect(&mut instance, "panic", 0, Trap::HostPanic);
            expect(&mut instance, "fail", 0, Trap::Host("no"));
            expect(&mut instance, "exit", 3, Trap::Exit(3));
        });
    }
}

#[test]
fn memory_grows_to_the_limit_and_no_further() {
    // The module itself would allow 10 pages, the host 4.
    let module = load(
        r#"(module (memory 1 10)
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
            (func (export "poke") (param i32) (i32.store (local.get 0) (i32.const 1))))"#,
    );
    guarded(|| {
        let limits = InstanceLimits { memory_pages_max: 4 };
        let mut instance = Instance::new(&module, &Linker::new(), limits, ()).unwrap();
        let grow = instance.func::<i32, i32>("grow").unwrap();
        let poke = instance.func::<i32, ()>("poke").unwrap();
        assert_eq!(instance.call(&grow, 2, AMPLE), Ok(1));
        assert_eq!(instance.call(&grow, 2, AMPLE), Ok(-1));
        assert_eq!(instance.call(&grow, -1, AMPLE), Ok(-1));
        assert_eq!(instance.call(&grow, 1, AMPLE), Ok(3));
        assert_eq!(instance.memory_pages(), 4);
        assert_eq!(instance.call(&poke, 4 * 65_536 - 4, AMPLE), Ok(()));
        assert_eq!(instance.call(&poke, 4 * 65_536, AMPLE), Err(Trap::OutOfBounds));
        assert_eq!(instance.memory().read(4 * 65_536 - 4, 4), Some(&[1, 0, 0, 0][..]));
        assert_eq!(instance.memory().read(4 * 65_536 - 3, 4), None);
        assert_eq!(instance.memory().read(u32::MAX, u32::MAX), None);
    });
}

/// A recursion whose frame keeps `slots` vectors alive across the call.
fn recursion_with_frame(slots: usize) -> String {
    let locals = "v128 ".repeat(slots);
    let mut fill = String::new();
    let mut sum = String::new();
    for slot in 1..=slots {
        fill += &format!("(local.set {slot} (i32x4.splat (i32.mul (local.get 0) (i32.const {slot}))))\n");
        sum += &format!("(i32.add (i32x4.extract_lane 1 (local.get {slot})))\n");
    }
    format!(
        r#"(module (func $f (export "recurse") (param i32) (result i32) (local {locals})
            {fill}
            (i32.rotl (call $f (i32.add (local.get 0) (i32.const 1))) (i32.const 5))
            {sum})
            (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))"#
    )
}

#[test]
fn recursion_with_large_frames_stops_at_the_guard_and_harms_no_neighbour() {
    for (slots, level) in [(8, OptLevel::O2), (1500, OptLevel::O2), (3900, OptLevel::O0)] {
        let module = load_at(&recursion_with_frame(slots), level);
        guarded(|| {
            let mut instance = instance(&module);
            let neighbours: Vec<Vec<u8>> = (0..64).map(|n| vec![n; 1 << 20]).collect();
            for _ in 0..20 {
                let f = instance.func::<i32, i32>("recurse").unwrap();
                assert_eq!(instance.call(&f, 1, AMPLE), Err(Trap::StackOverflow), "{slots} slots");
            }
            for (n, neighbour) in neighbours.iter().enumerate() {
                assert!(neighbour.iter().all(|byte| usize::from(*byte) == n), "{slots} slots");
            }
            expect(&mut instance, "recurse", 2, Trap::StackOverflow);
        });
    }
}

/// The guest recurses down to some depth and calls the host from there: at every distance from
/// the end of the stack, in steps of a few words, the host function runs or is refused.
#[test]
fn host_calls_at_every_distance_from_the_end_of_the_stack() {
    const HOST_STACK: usize = 256 << 10;
    const HOST_AT_DEPTH: &str = r#"(module
        (import "env" "host" (func $host (param i32) (result i32)))
        (func $down (export "down") (param $depth i32) (param $call i32) (result i32)
            (if (result i32) (i32.eqz (local.get $depth))
                (then (call $host (local.get $call)))
                (else (i32.add (i32.const 1)
                    (call $down (i32.sub (local.get $depth) (i32.const 1)) (local.get $call)))))))"#; // At O0 not a loop.
    let module = load_at(HOST_AT_DEPTH, OptLevel::O0);
    guarded(|| {
        let mut linker = Linker::<()>::new();
        linker.func("env", "host", |_: &mut Caller<'_, ()>, n: i32| {
            // Uses the allocator, as real host functions do.
            Ok(std::hint::black_box(vec![0_u8; n as usize]).len() as i32)
        });
        let mut instance = Instance::new(&module, &linker, InstanceLimits::default(), ()).unwrap();
        let down = instance.func::<(i32, i32), i32>("down").unwrap();
        let mut works = |depth: i32| match instance.call(&down, (depth, 100), AMPLE) {
            Ok(sum) => {
                assert_eq!(sum, depth + 100);
                true
            }
            Err(trap) => {
                assert_eq!(trap, Trap::StackOverflow, "depth {depth}");
                false
            }
        };
        // The deepest call that works, by halving.
        let (mut low, mut high) = (0, 1 << 22);
        while high - low > 1 {
            let middle = (low + high) / 2;
            if works(middle) { low = middle } else { high = middle }
        }
        // It leaves the 256 KiB that host functions may count on; the stack ends that far below.
        let frame = (DEFAULT_STACK - HOST_STACK) as i32 / low;
        assert!((16..1024).contains(&frame), "{frame} bytes a frame");
        let depth_at = |left: i32| low + (HOST_STACK as i32 - left) / frame;
        for depth in (low..depth_at(16 << 10)).step_by(97).chain(depth_at(16 << 10)..depth_at(-(8 << 10))) {
            works(depth);
        }
        assert!(works(low));
    });
}

#[test]
fn traps_on_several_threads_at_once() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 150_000;
    let module = load(FAULTS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let module = &module;
            scope.spawn(move || guarded(|| hammer(module, thread, ROUNDS)));
        }
    });
}

fn hammer(module: &Module, thread: usize, rounds: usize) {
    let mut instance = faulty(module);
    let faults = [
        ("unreachable", 0, Trap::Unreachable),
        ("load", -4, Trap::OutOfBounds),
        ("divide", 0, Trap::DivideByZero),
        ("indirect", 3, Trap::IndirectCall),
        ("fail", 0, Trap::Host("no")),
        ("recurse", 0, Trap::StackOverflow),
    ];
    let faults =
        faults.map(|(name, argument, trap)| (instance.func::<i32, i32>(name).unwrap(), argument, trap));
    let add = instance.func::<(i32, i32), i32>("add").unwrap();
    for round in 0..rounds {
        // One recursion in 512 rounds: each touches all of the stack.
        let pick = if round % 512 == 511 { 5 } else { (round + thread) % 5 };
        let (f, argument, trap) = &faults[pick];
        assert_eq!(instance.call(f, *argument, AMPLE), Err(*trap));
        assert_eq!(instance.call(&add, (round as i32, 1), AMPLE), Ok(round as i32 + 1));
    }
}

#[test]
fn a_nested_call_may_trap_without_ending_the_outer_one() {
    let module = load(
        r#"(module (import "env" "nest" (func $nest (param i32) (result i32)))
            (func (export "outer") (param i32) (result i32) (i32.add (i32.const 1000) (call $nest (local.get 0))))
            (func (export "inner") (param i32) (result i32)
                (if (i32.eqz (local.get 0)) (then unreachable))
                (i32.load (local.get 0)))
            (memory 1))"#,
    );
    guarded(|| {
        let mut linker = Linker::<()>::new();
        linker.func("env", "nest", |caller: &mut Caller<'_, ()>, n: i32| {
            let inner = caller.func::<i32, i32>("inner").ok_or(Trap::Host("no export"))?;
            Ok(match caller.call(&inner, n) {
                Ok(value) => value,
                Err(Trap::Unreachable) => -1,
                Err(Trap::OutOfBounds) => -2,
                Err(other) => return Err(other),
            })
        });
        let mut instance = Instance::new(&module, &linker, InstanceLimits::default(), ()).unwrap();
        let outer = instance.func::<i32, i32>("outer").unwrap();
        for _ in 0..10_000 {
            assert_eq!(instance.call(&outer, 0, AMPLE), Ok(999));
            assert_eq!(instance.call(&outer, 65_535, AMPLE), Ok(998));
            assert_eq!(instance.call(&outer, 8, AMPLE), Ok(1000));
        }
    });
}

#[test]
fn a_loop_of_host_calls_does_not_eat_the_stack() {
    let module = load_at(
        r#"(module (import "env" "tick" (func $tick (param i64) (result i64)))
            (func (export "run") (param i32) (result i64) (local i64)
                (loop $again
                    (local.set 1 (call $tick (local.get 1)))
                    (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (local.get 1)))"#,
        OptLevel::O0,
    );
    guarded(|| {
        let mut linker = Linker::<()>::new();
        linker.func("env", "tick", |_: &mut Caller<'_, ()>, n: i64| Ok(n + 1));
        let mut instance = Instance::new(&module, &linker, InstanceLimits::default(), ()).unwrap();
        let run = instance.func::<i32, i64>("run").unwrap();
        assert_eq!(instance.call(&run, 1_000_000, AMPLE), Ok(1_000_000));
    });
}

#[test]
fn an_unguarded_thread_gets_no_instance() {
    let module = load(FAULTS);
    let refused = Instance::new(&module, &linker(), InstanceLimits::default(), ());
    assert_eq!(refused.unwrap_err(), tollgate_wasmedge::InstantiateError::UnguardedThread);
}

#[test]
fn a_trap_in_the_start_function_is_an_error_of_the_instantiation() {
    let trap = load("(module (func $start unreachable) (start $start))");
    let spin = load("(module (func $start (loop $l (br $l))) (start $start))");
    guarded(|| {
        let start = |module| Instance::new(module, &Linker::new(), InstanceLimits::default(), ()).map(|_| ());
        use tollgate_wasmedge::InstantiateError::Start;
        assert_eq!(start(&trap), Err(Start(Trap::Unreachable)));
        assert!(matches!(start(&spin), Err(Start(Trap::Budget { spent })) if spent > Duration::ZERO));
        assert_eq!(start(&trap), Err(Start(Trap::Unreachable)));
    });
}
