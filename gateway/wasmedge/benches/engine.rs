//! What the engine costs: a call, a call of the host, one that allocates in the guest, an
//! instance, a loop with and without the meter's share.
//!
//! `cargo bench -p tollgate-wasmedge`. The modules are compiled at O2 first; what is measured
//! runs on a guarded thread, as in the gateway.

use divan::{Bencher, black_box, counter::ItemsCount};
use std::sync::OnceLock;
use std::time::Duration;
use tollgate_wasmedge::{
    Caller, Compiler, CompilerOptions, Instance, InstanceLimits, Linker, Module, OptLevel, Trap, run_guarded,
};

/// As the gateway's default for a callback.
const BUDGET: Duration = Duration::from_millis(10);

/// Calls of the host in one call of the guest, to set the two apart.
const HOST_CALLS: u32 = 1000;

const GUEST: &str = r#"(module
    (import "env" "noop" (func $noop (param i32) (result i32)))
    (import "env" "read" (func $read (param i32 i32)))
    (import "env" "data" (func $data (param i32 i32)))
    (memory (export "memory") 17)
    (global $heap (mut i32) (i32.const 65536))
    (func (export "malloc") (param i32) (result i32)
        (if (i32.gt_u (global.get $heap) (i32.const 1000000)) (then (global.set $heap (i32.const 65536))))
        (global.get $heap)
        (global.set $heap (i32.add (global.get $heap) (local.get 0))))
    (func (export "nothing"))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "noop") (param i32)
        (loop $l (drop (call $noop (i32.const 1)))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "read") (param i32)
        (loop $l (call $read (i32.const 1024) (i32.const 64))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "data") (param i32)
        (loop $l (call $data (i32.const 8) (i32.const 12))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "sum") (param i32) (result i32) (local i32)
        (loop $l
            (local.set 1 (i32.xor (i32.add (local.get 1) (local.get 0)) (i32.load (i32.const 64))))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1)))"#;

fn main() -> std::io::Result<()> {
    run_guarded("bench", divan::main)
}

fn module() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options =
            CompilerOptions::new(env!("CARGO_BIN_EXE_tollgate-aot"), [""; 0], folder.path().join("aot"));
        let wasm = wat::parse_str(GUEST).expect("valid text");
        let compiler = Compiler::new(options).expect("a cache folder");
        Module::load(&compiler.compile(&wasm, OptLevel::O2).expect("compiles")).expect("loads")
    })
}

/// The three functions that are called, and as many others as an ordinary host has.
fn linker() -> Linker<()> {
    let mut linker = Linker::new();
    linker
        .func("env", "noop", |_: &mut Caller<'_, ()>, n: i32| Ok(n))
        .func("env", "read", |caller: &mut Caller<'_, ()>, (at, len): (u32, u32)| {
            black_box(caller.read(at, len).ok_or(Trap::OutOfBounds)?);
            Ok(())
        })
        .func("env", "data", |caller: &mut Caller<'_, ()>, (at, len): (u32, u32)| {
            let malloc = caller.func::<u32, u32>("malloc").ok_or(Trap::Host("no malloc"))?;
            let data = [7; 64];
            let place = caller.call(&malloc, data.len() as u32)?;
            caller.write(place, &data).ok_or(Trap::OutOfBounds)?;
            caller.write_u32(at, place).ok_or(Trap::OutOfBounds)?;
            caller.write_u32(len, data.len() as u32).ok_or(Trap::OutOfBounds)
        });
    for n in 0..57 {
        linker.func("env", &format!("other_{n}"), |_: &mut Caller<'_, ()>, (): ()| Ok(()));
    }
    linker
}

fn instance() -> Instance<()> {
    Instance::new(module(), &linker(), InstanceLimits::default(), ()).expect("links")
}

#[divan::bench]
fn call_nothing(bencher: Bencher<'_, '_>) {
    let mut instance = instance();
    let f = instance.func::<(), ()>("nothing").expect("exported");
    bencher.bench_local(|| instance.call(&f, (), BUDGET));
}

#[divan::bench]
fn call_with_values(bencher: Bencher<'_, '_>) {
    let mut instance = instance();
    let f = instance.func::<(i32, i32), i32>("add").expect("exported");
    bencher.bench_local(|| instance.call(&f, black_box((1, 2)), BUDGET));
}

#[divan::bench(args = ["noop", "read", "data"])]
fn host_call(bencher: Bencher<'_, '_>, name: &str) {
    let mut instance = instance();
    let f = instance.func::<u32, ()>(name).expect("exported");
    bencher.counter(ItemsCount::new(HOST_CALLS)).bench_local(|| instance.call(&f, HOST_CALLS, BUDGET));
}

#[divan::bench]
fn a_million_rounds_of_a_loop(bencher: Bencher<'_, '_>) {
    let mut instance = instance();
    let f = instance.func::<u32, u32>("sum").expect("exported");
    bencher.bench_local(|| instance.call(&f, 1_000_000, Duration::from_secs(10)));
}

#[divan::bench]
fn instantiate_and_drop(bencher: Bencher<'_, '_>) {
    let linker = linker();
    bencher.bench_local(|| Instance::new(module(), &linker, InstanceLimits::default(), ()));
}
