//! Host functions that need no call back, and some that need no call: what comes over the mailbox, what
//! goes the long way, and that the guest sees no difference.

#![allow(clippy::unwrap_used, reason = "tests, with helpers")]

mod common;

use common::{AMPLE, guarded, load_at};
use std::cell::{Cell, RefCell};
use tollgate_wasmedge::{Caller, Edit, Instance, InstanceLimits, Linker, OptLevel, Posted, Trap};

/// What the host was told and asked.
#[derive(Default)]
struct State {
    edits: RefCell<Vec<String>>,
    /// Calls of the host's functions.
    calls: Cell<u32>,
    /// What a header is.
    value: RefCell<Vec<u8>>,
    /// Answers for which the guest's allocator had to be called.
    long_ways: Cell<u32>,
}

impl State {
    fn note(&self, posted: &Posted<'_>) {
        let Posted { edit, map, name, value } = posted;
        let text = String::from_utf8_lossy;
        self.edits.borrow_mut().push(format!("{edit:?} {map} {}={}", text(name), text(value)));
    }
}

type Args = (u32, u32, u32, u32, u32);

fn replace(caller: &mut Caller<'_, State>, (map, name, name_len, value, len): Args) -> Result<u32, Trap> {
    take(caller);
    caller.state().calls.set(caller.state().calls.get() + 1);
    let (Some(name), Some(value)) = (caller.read(name, name_len), caller.read(value, len)) else {
        return Ok(6);
    };
    caller.state().note(&Posted { edit: Edit::Replace, map, name, value });
    Ok(0)
}

fn take(caller: &mut Caller<'_, State>) {
    let mut taken = Vec::new();
    caller.take_posted(|Posted { edit, map, name, value }| {
        taken.push((edit, map, name.to_vec(), value.to_vec()))
    });
    for (edit, map, name, value) in taken {
        caller.state().note(&Posted { edit, map, name: &name, value: &value });
    }
}

fn get(caller: &mut Caller<'_, State>, (_, _, _, address_out, len_out): Args) -> Result<u32, Trap> {
    take(caller);
    caller.state().calls.set(caller.state().calls.get() + 1);
    let value = caller.state().value.borrow().clone();
    if caller.answer(&value) {
        return Ok(0);
    }
    caller.state().long_ways.set(caller.state().long_ways.get() + 1);
    let malloc = caller.func::<u32, u32>("malloc").ok_or(Trap::Host("no malloc"))?;
    let address = caller.call(&malloc, value.len() as u32)?;
    caller.write(address, &value).ok_or(Trap::OutOfBounds)?;
    caller.write_u32(address_out, address).ok_or(Trap::OutOfBounds)?;
    caller.write_u32(len_out, value.len() as u32).ok_or(Trap::OutOfBounds)?;
    Ok(0)
}

/// Where the guest is told an address and a length.
const OUT: u32 = 64;

const GUEST: &str = r#"(module
    (import "env" "proxy_replace_header_map_value"
        (func $replace (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_header_map_value"
        (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (type $call (func (param i32 i32 i32 i32 i32) (result i32)))
    (table 1 funcref)
    (elem (i32.const 0) $replace)
    (memory (export "memory") 4)
    (data (i32.const 0) "x-edge") (data (i32.const 16) "shop")
    (global $heap (mut i32) (i32.const 65536))
    (func $malloc (export "malloc") (param i32) (result i32)
        (global.get $heap)
        (global.set $heap (i32.add (global.get $heap) (local.get 0))))
    (func (export "set") (param i32 i32 i32 i32 i32) (result i32)
        (call $replace (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)))
    (func (export "set_by_table") (result i32)
        (call_indirect (type $call)
            (i32.const 2) (i32.const 0) (i32.const 6) (i32.const 16) (i32.const 4) (i32.const 0)))
    (func (export "set_last") (result i32)
        (return_call $replace (i32.const 2) (i32.const 0) (i32.const 6) (i32.const 16) (i32.const 4)))
    (func (export "set_often") (param $times i32)
        (loop $again
            (drop (call $replace (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 1024) (i32.const 4000)))
            (local.set $times (i32.sub (local.get $times) (i32.const 1)))
            (br_if $again (local.get $times))))
    (func (export "set_and_trap")
        (drop (call $replace (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 16) (i32.const 4)))
        (unreachable))
    (func (export "get") (result i32)
        (call $get (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 64) (i32.const 68))))"#;

fn with_guest(source: &str, is_open: bool, test: impl FnOnce(&mut Instance<State>) + Send) {
    let module = load_at(source, OptLevel::O2);
    guarded(|| {
        let mut linker = Linker::new();
        linker.func("env", "proxy_replace_header_map_value", replace);
        linker.func("env", "proxy_get_header_map_value", get);
        let mut instance =
            Instance::new(&module, &linker, InstanceLimits::default(), State::default()).unwrap();
        if is_open {
            instance.open_mailbox();
        }
        test(&mut instance);
    });
}

/// What is posted after a call, and how many calls the host had.
fn posted(instance: &mut Instance<State>) -> (Vec<String>, u32) {
    let mut left = Vec::new();
    instance.take_posted(|posted| {
        let shown = State::default();
        shown.note(&posted);
        left.append(&mut shown.edits.borrow_mut());
    });
    (left, instance.state().calls.replace(0))
}

fn set(instance: &mut Instance<State>, args: Args) -> u32 {
    let set = instance.func::<Args, u32>("set").unwrap();
    instance.call(&set, args, AMPLE).unwrap()
}

#[test]
fn a_change_is_posted_however_it_is_called_for() {
    with_guest(GUEST, true, |instance| {
        assert_eq!(set(instance, (2, 0, 6, 16, 4)), 0);
        assert_eq!(posted(instance), (vec!["Replace 2 x-edge=shop".to_owned()], 0));
        for way in ["set_by_table", "set_last"] {
            let set = instance.func::<(), u32>(way).unwrap();
            assert_eq!(instance.call(&set, (), AMPLE), Ok(0));
            assert_eq!(posted(instance), (vec!["Replace 2 x-edge=shop".to_owned()], 0), "{way}");
        }
        // An empty value at the very end of memory is one.
        assert_eq!(set(instance, (0, 0, 6, 4 << 16, 0)), 0);
        assert_eq!(posted(instance), (vec!["Replace 0 x-edge=".to_owned()], 0));
    });
}

#[test]
fn what_is_large_or_wrong_is_a_call() {
    with_guest(GUEST, true, |instance| {
        let end = 4 << 16;
        for (args, status) in [
            ((4, 0, 6, 16, 4), 0),
            ((u32::MAX, 0, 6, 16, 4), 0),
            ((0, 0, 6, 16, 4096), 0),
            ((0, 0, 4096, 16, 4), 0),
            ((0, end - 1, 2, 16, 4), 6),
            ((0, 0, 6, u32::MAX, 4), 6),
            ((0, 0, 6, end, u32::MAX), 6),
        ] {
            assert_eq!(set(instance, args), status, "{args:?}");
            assert_eq!(posted(instance), (vec![], 1), "{args:?}");
        }
    });
}

#[test]
fn without_an_open_mailbox_every_change_is_a_call() {
    with_guest(GUEST, false, |instance| {
        assert_eq!(set(instance, (2, 0, 6, 16, 4)), 0);
        assert_eq!(posted(instance), (vec![], 1));
    });
}

#[test]
fn a_full_mailbox_is_emptied_by_the_call_that_finds_it_full() {
    with_guest(GUEST, true, |instance| {
        let often = instance.func::<u32, ()>("set_often").unwrap();
        // 32 KiB hold 8 changes of 4 018 bytes.
        for (times, calls, left) in [(8, 0, 8), (9, 1, 0), (17, 1, 8), (900, 100, 0)] {
            instance.call(&often, times, AMPLE).unwrap();
            let (posted, called) = posted(instance);
            assert_eq!((posted.len(), called), (left, calls), "{times}");
            let done = instance.state().edits.replace(Vec::new()).len();
            assert_eq!(done + left, times as usize);
        }
    });
}

#[test]
fn what_was_posted_before_a_trap_is_there() {
    with_guest(GUEST, true, |instance| {
        let trap = instance.func::<(), ()>("set_and_trap").unwrap();
        assert_eq!(instance.call(&trap, (), AMPLE), Err(Trap::Unreachable));
        assert_eq!(posted(instance), (vec!["Replace 0 x-edge=shop".to_owned()], 0));
    });
}

#[test]
fn answers_arrive_whole_by_either_way() {
    with_guest(GUEST, true, |instance| {
        let get = instance.func::<(), u32>("get").unwrap();
        // None of them twice the same; the copy goes by words, by bytes, and at once.
        for len in [1_u32, 7, 8, 9, 63, 191, 192, 193, 4096, 32_752, 32_753, 60_000] {
            let value: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
            instance.state().value.replace(value.clone());
            assert_eq!(instance.call(&get, (), AMPLE), Ok(0));
            let memory = instance.memory();
            let number = |at| u32::from_le_bytes(memory.read(at, 4).unwrap().try_into().unwrap());
            assert_eq!(memory.read(number(OUT), number(OUT + 4)), Some(&*value), "{len}");
            // 32 KiB less the numbers before it.
            assert_eq!(instance.state().long_ways.replace(0), u32::from(len > 32_752), "{len}");
        }
    });
}

#[test]
fn an_allocator_that_fails_is_the_guests_own_trouble() {
    for (allocates, expected) in [
        ("(i32.const 0)", Ok(6)),
        ("(i32.const -8)", Ok(6)),
        ("(i32.const 262140)", Ok(6)),
        ("(unreachable)", Err(Trap::Unreachable)),
    ] {
        let (head, tail) = GUEST.split_once("(global.get $heap)").unwrap();
        let (_, tail) = tail.split_once("(local.get 0))))").unwrap();
        with_guest(&format!("{head}{allocates}){tail}"), true, |instance| {
            instance.state().value.replace(b"eight by".to_vec());
            let get = instance.func::<(), u32>("get").unwrap();
            assert_eq!(instance.call(&get, (), AMPLE), expected, "{allocates}");
            assert_eq!(instance.memory().read(OUT, 8), Some(&[0; 8][..]), "{allocates}");
            // Nothing is left behind.
            instance.state().value.replace(Vec::new());
            assert_eq!(set(instance, (2, 0, 6, 16, 4)), 0);
        });
    }
}
