//! The entry functions of the fuzz targets (`../fuzz`) on the stable toolchain, with bounded cases.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use support::fuzz::{self, Argument, Operation, Program, Subject};
use support::{guarded, module, pairs};

fn subject() -> &'static Subject {
    Subject::get(module::wat)
}

/// Runs a property on one guarded thread.
fn holds<S: Strategy<Value: std::fmt::Debug> + Send>(
    cases: u32,
    strategy: S,
    test: impl Fn(&Subject, S::Value) + Send,
) {
    let subject = subject();
    guarded(move || {
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
        let result = TestRunner::new(config).run(&strategy, |value| {
            test(subject, value);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error}"));
    });
}

#[test]
fn any_bytes_are_a_program_that_hurts_nobody() {
    let bytes = proptest::collection::vec(any::<u8>(), 0..3000);
    holds(600, bytes, |subject, bytes| fuzz::host_functions(subject, &bytes));
}

/// Arguments that make sense more often than chance would have it.
#[test]
fn programs_with_good_arguments_hurt_nobody() {
    let argument = prop_oneof![
        (0u32..9).prop_map(Argument::Value),
        (0u32..40).prop_map(Argument::Value),
        (0u16..64).prop_map(Argument::Data),
        (0u8..63).prop_map(Argument::Slot),
        (0u8..8).prop_map(Argument::Load),
    ];
    let operation = (0u8..30, any::<u8>(), proptest::collection::vec(argument, 12))
        .prop_map(|(callback, function, arguments)| Operation { callback, function, arguments });
    let data = prop_oneof![
        Just(b"x-one\0source\0address\0:path\0guest_requests".to_vec()),
        Just(b"\x01\0\0\0\x01\0\0\0\x01\0\0\0a\0b\0".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..64),
    ];
    let operations = proptest::collection::vec(operation, 1..64);
    let end = (any::<bool>(), 0u8..5, proptest::option::of(0u8..30), any::<bool>());
    holds(600, (operations, data, 0u8..8, end), |subject, (mut operations, data, allocator, end)| {
        let count = subject.functions.len();
        operations.iter_mut().for_each(|operation| operation.function %= count.min(256) as u8);
        let (never_done, action, calls_in, is_forbidden) = end;
        let program = Program { operations, data, allocator, never_done, action, calls_in, is_forbidden };
        fuzz::run(subject, &program);
    });
}

/// Each function is reached in each callback: with nothing but zeros none of them may hurt either.
#[test]
fn every_function_in_every_callback() {
    let subject = subject();
    guarded(|| {
        for function in 0..u8::try_from(subject.functions.len()).unwrap() {
            for (value, is_forbidden) in
                [(0, false), (1, false), (0x100, false), (u32::MAX, false), (0x100, true)]
            {
                let operation =
                    |callback| Operation { callback, function, arguments: vec![Argument::Value(value); 12] };
                let operations = (0..30).map(operation).collect();
                fuzz::run(subject, &Program { operations, is_forbidden, ..Program::default() });
            }
        }
    });
}

#[test]
fn maps_are_read_as_the_specification_says() {
    let pair = (proptest::collection::vec(any::<u8>(), 0..9), proptest::collection::vec(any::<u8>(), 0..9));
    let damaged = (proptest::collection::vec(pair, 0..9), any::<(u8, u8)>(), any::<bool>());
    holds(600, damaged, |subject, (map, (at, byte), damage)| {
        let map: Vec<_> = map.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
        let mut blob = blob(&map);
        if damage {
            let at = usize::from(at) % blob.len();
            blob[at] = byte;
        }
        fuzz::map_pairs(subject, &blob);
    });
}

#[test]
fn any_bytes_are_a_map_or_are_refused() {
    holds(600, proptest::collection::vec(any::<u8>(), 0..200), |subject, blob| {
        fuzz::map_pairs(subject, &blob)
    });
}

#[test]
fn a_good_map_is_written() {
    let subject = subject();
    guarded(|| {
        let read = fuzz::written_map(subject, &blob(&[(b"A-b", b"c"), (b"a-b", b"d"), (b":path", b"/")]));
        assert_eq!(read, pairs(&[("a-b", "c"), ("a-b", "d"), (":path", "/")]));
    });
}

fn blob(map: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut blob = u32::try_from(map.len()).unwrap().to_le_bytes().to_vec();
    let lengths = map.iter().flat_map(|(name, value)| [name.len(), value.len()]);
    blob.extend(lengths.flat_map(|length| u32::try_from(length).unwrap().to_le_bytes()));
    blob.extend(map.iter().flat_map(|(name, value)| [name, &b"\0"[..], value, b"\0"].concat()));
    blob
}
