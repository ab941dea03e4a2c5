//! Memory over many traps and many instances. Alone in its process: other tests would be seen.

#![allow(clippy::unwrap_used, reason = "tests, with helpers")]

mod common;

use common::{AMPLE, guarded, load};
use std::time::Duration;
use tollgate_wasmedge::{Caller, Instance, InstanceLimits, Linker, Module, Trap};

const GUEST: &str = r#"(module
    (import "env" "fail" (func $fail (param i32) (result i32)))
    (memory 2)
    (func (export "unreachable") (param i32) (result i32) unreachable)
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "fail") (param i32) (result i32) (call $fail (local.get 0)))
    (func $deep (export "recurse") (param i32) (result i32)
        (i32.rotl (call $deep (i32.add (local.get 0) (i32.const 1))) (local.get 0)))
    (func (export "spin") (param i32) (result i32) (loop $l (br $l)) (local.get 0)))"#;

fn new(module: &Module, linker: &Linker<Vec<u8>>) -> Instance<Vec<u8>> {
    Instance::new(module, linker, InstanceLimits::default(), vec![1; 1000]).unwrap()
}

/// What a trap jumps over is the library's own, and must not pile up; nor must instances.
#[test]
fn traps_and_instances_leave_no_memory_behind() {
    let module = load(GUEST);
    guarded(|| {
        let mut linker = Linker::<Vec<u8>>::new();
        linker.func("env", "fail", |_: &mut Caller<'_, Vec<u8>>, _: i32| Err::<i32, _>(Trap::Host("no")));
        let round = |rounds| {
            trap_often(&mut new(&module, &linker), rounds);
            for _ in 0..rounds / 20 {
                trap_often(&mut new(&module, &linker), 1);
            }
        };
        round(10_000);
        let before = resident_kib();
        round(100_000);
        let after = resident_kib();
        // 50 bytes a trap, or a kilobyte an instance, would be 5 MiB.
        assert!(after < before + 3 * 1024, "{before} KiB before, {after} KiB after");
    });
}

fn trap_often(instance: &mut Instance<Vec<u8>>, rounds: usize) {
    let names = ["unreachable", "load", "fail"].map(|name| instance.func::<i32, i32>(name).unwrap());
    let [recurse, spin] = ["recurse", "spin"].map(|name| instance.func::<i32, i32>(name).unwrap());
    for round in 0..rounds {
        for f in &names {
            assert!(instance.call(f, -1, AMPLE).is_err());
        }
        if round % 200 == 0 {
            assert_eq!(instance.call(&recurse, 0, AMPLE), Err(Trap::StackOverflow));
            let spun = instance.call(&spin, 0, Duration::from_nanos(1));
            assert!(matches!(spun, Err(Trap::Budget { .. })), "{spun:?}");
        }
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
