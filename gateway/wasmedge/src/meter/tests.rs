//! What the pass emits, read back with another parser than the one it is written with.

use super::{FUEL_EXPORT, MEMORY_EXPORT, MODULE, Refusal, inspect, rewrite};
use crate::compile::ModuleLimits;
use wasmparser::{ExternalKind, Operator, Parser, Payload};

fn metered(text: &str) -> (Vec<u8>, u32) {
    let wasm = wat::parse_str(text).unwrap();
    inspect(&wasm, &ModuleLimits::default()).unwrap();
    let metered = rewrite(&wasm, &ModuleLimits::default()).unwrap();
    wasmparser::validate(&metered.wasm).unwrap();
    (metered.wasm, metered.charge_points)
}

/// Constants that are taken from the counter, in each function, in order.
fn charges(wasm: &[u8]) -> Vec<Vec<i64>> {
    let mut functions = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload.unwrap() {
            let operators: Vec<_> =
                body.get_operators_reader().unwrap().into_iter().map(|operator| operator.unwrap()).collect();
            let taken = operators.windows(3).filter_map(|window| match window {
                [Operator::GlobalGet { .. }, Operator::I64Const { value }, Operator::I64Sub] => Some(*value),
                _ => None,
            });
            functions.push(taken.collect());
        }
    }
    functions
}

#[test]
fn small_leaves_are_paid_for_by_their_callers() {
    let (wasm, points) = metered(
        "(module (func $leaf (result i32) (i32.const 1))
            (func (export \"f\") (drop (call $leaf)) (drop (call $leaf))))",
    );
    let mut charges = charges(&wasm);
    charges.sort();
    // Two calls at 4 with a leaf of 1 each.
    assert_eq!(charges, [vec![], vec![10]]);
    assert_eq!(points, 1);
}

#[test]
fn loops_and_long_functions_are_charged_by_their_instructions() {
    let long = "(drop (i32.const 1))".repeat(40);
    let text = format!(
        "(module (func (export \"long\") {long})
            (func (export \"loops\") (param i32)
                (loop $outer
                    (loop $inner (br_if $inner (local.get 0)))
                    (br_if $outer (i32.eqz (local.get 0))))))"
    );
    let (wasm, points) = metered(&text);
    let mut charges = charges(&wasm);
    charges.sort();
    // The outer loop has three instructions of its own and the inner one two; each is one more.
    // A function that loops is no leaf, so its entry is charged when there is something to it.
    assert_eq!(charges, [vec![4, 3], vec![40]]);
    assert_eq!(points, 3);
}

#[test]
fn every_kind_of_call_makes_a_function_charge() {
    for call in [
        "(call $f)",
        "(return_call $f)",
        "(call_indirect (type $t) (i32.const 0))",
        "(return_call_indirect (type $t) (i32.const 0))",
    ] {
        let (wasm, _) = metered(&format!("(module (type $t (func)) (table 1 funcref) (func $f {call}))"));
        assert_eq!(charges(&wasm)[0].len(), 1, "{call}");
    }
}

#[test]
fn bulk_operations_are_charged_by_their_length_before_they_run() {
    for (operation, shifted) in [
        ("memory.copy", true),
        ("memory.fill", true),
        ("memory.init $d", true),
        ("table.copy $t $t", false),
        ("table.init $t $e", false),
    ] {
        let (wasm, points) = metered(&format!(
            "(module (memory 1) (data $d \"\") (table $t 1 funcref) (elem $e func)
                (func (param i32) ({operation} (local.get 0) (local.get 0) (i32.const 77))))"
        ));
        let operators: Vec<String> = Parser::new(0)
            .parse_all(&wasm)
            .filter_map(|payload| match payload.unwrap() {
                Payload::CodeSectionEntry(body) => Some(body),
                _ => None,
            })
            .flat_map(|body| body.get_operators_reader().unwrap())
            .map(|operator| format!("{:?}", operator.unwrap()))
            .collect();
        let position = |name: &str| operators.iter().position(|operator| operator.starts_with(name));
        let bulk = ["MemoryCopy", "MemoryFill", "MemoryInit", "TableCopy", "TableInit"];
        let bulk = bulk.into_iter().find_map(position).unwrap();
        assert!(position("I64ExtendI32U").unwrap() < bulk, "{operation}");
        assert_eq!(position("I64ShrU").is_some(), shifted, "{operation}");
        assert_eq!(points, 2, "{operation}: its length and the function's entry");
    }
}

#[test]
fn names_stay_and_what_is_added_is_reserved() {
    let (wasm, _) = metered("(module (memory 1) (func $my_name (export \"f\") (loop (br 0))))");
    let mut exports = Vec::new();
    let mut imports = Vec::new();
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(&wasm) {
        match payload.unwrap() {
            Payload::ExportSection(section) => {
                exports.extend(
                    section.into_iter().map(|export| export.map(|e| (e.name.to_owned(), e.kind)).unwrap()),
                );
            }
            Payload::ImportSection(section) => {
                imports.extend(section.into_imports().map(|import| import.unwrap().module.to_owned()));
            }
            Payload::CustomSection(section) if section.name() == "name" => {
                names.extend_from_slice(section.data());
            }
            _ => {}
        }
    }
    exports.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        exports,
        [
            ("f".to_owned(), ExternalKind::Func),
            (FUEL_EXPORT.to_owned(), ExternalKind::Global),
            (MEMORY_EXPORT.to_owned(), ExternalKind::Memory)
        ]
    );
    assert_eq!(imports, [MODULE]);
    assert!(String::from_utf8_lossy(&names).contains("my_name"));
}

#[test]
fn a_metered_module_is_not_metered_again() {
    let (wasm, _) = metered("(module)");
    let again = inspect(&wasm, &ModuleLimits::default());
    assert!(matches!(again, Err(Refusal::ReservedName { .. })), "{again:?}");
}

/// 600 calls with a thousand results each need more stack than the guard has, in 6 KB of code.
#[test]
fn a_small_body_with_a_huge_frame_is_refused() {
    let types = format!("(type $many (func (result {})))", "i32 ".repeat(1000));
    let call = "(block (call_indirect (type $many) (i32.const 0)) (br 0))".repeat(600);
    let text = format!("(module {types} (table 1 funcref) (func) (func {call}))");
    let wasm = wat::parse_str(text).unwrap();
    inspect(&wasm, &ModuleLimits::default()).unwrap();
    let refused = rewrite(&wasm, &ModuleLimits::default());
    assert!(matches!(refused, Err(Refusal::FrameBytes { function: 1, .. })), "{refused:?}");
}
