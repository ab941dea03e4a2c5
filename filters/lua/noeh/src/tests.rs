//! The pass on small modules, which are then run by nothing but their own text: what they must hold.

use crate::unwind::{Changes, RewriteError, rewrite};

/// A module with throw and catch, and `functions`. The table holds `$thrower` and `$harmless`.
fn module(functions: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (type $plain (func (param i32)))
            (type $other (func (param i64)))
            (global $__stack_pointer (mut i32) (i32.const 65536))
            (table 4 funcref)
            (elem (i32.const 0) func $thrower $harmless)
            (func $throw (export "noeh_throw") unreachable)
            (func $catch (export "noeh_catch") (param i32 i32 i32)
                (call_indirect (type $plain) (local.get 1) (local.get 0)))
            (func $thrower (type $plain) (call $throw) (unreachable))
            (func $harmless (type $other))
            {functions})"#
    );
    wat::parse_str(text).unwrap()
}

fn changes(functions: &str) -> Changes {
    let (wasm, changes) = rewrite(&module(functions)).unwrap();
    // What comes out is a module again.
    walrus::Module::from_buffer(&wasm).unwrap();
    changes
}

#[test]
fn calls_of_what_may_throw_are_checked() {
    let found = changes(
        r#"(func $one (result i32) (call $thrower (i32.const 1)) (i32.const 7))
           (func (export "two") (result i64 f64) (drop (call $one)) (drop (call $one)) (i64.const 1) (f64.const 1))"#,
    );
    assert_eq!(found, Changes { functions: 3, total: 6, checks: 4 });
}

#[test]
fn what_cannot_throw_is_left_alone() {
    let found = changes(
        r#"(func $quiet (param i32) (result i32) (local.get 0))
           (func (export "by_type") (call_indirect (type $other) (i64.const 0) (i32.const 1)))
           (func (export "caught") (call $catch (i32.const 0) (i32.const 1) (i32.const 2)))
           (func (export "calls") (drop (call $quiet (i32.const 1))))"#,
    );
    assert_eq!(found, Changes { functions: 1, total: 8, checks: 1 });
}

#[test]
fn a_call_through_the_table_throws_if_a_function_of_its_type_does() {
    let found = changes(r#"(func (export "f") (call_indirect (type $plain) (i32.const 0) (i32.const 0)))"#);
    assert_eq!(found, Changes { functions: 2, total: 5, checks: 2 });
}

#[test]
fn calls_in_blocks_and_loops_are_checked() {
    let found = changes(
        r#"(func (export "f") (param i32) (result i32)
             (block $out (result i32)
               (loop $again
                 (if (local.get 0) (then (call $thrower (i32.const 1))))
                 (br_if $again (local.get 0)))
               (i32.const 3)))"#,
    );
    assert_eq!(found, Changes { functions: 2, total: 5, checks: 2 });
}

/// The results of a function that is left early are zeros of their types, references included.
#[test]
fn every_type_has_a_zero() {
    changes(
        r#"(func (export "f") (result i32 i64 f32 f64 v128 funcref)
             (call $thrower (i32.const 1)) unreachable)"#,
    );
}

#[test]
fn the_exports_are_gone_and_throw_and_catch_do_what_they_should() {
    let (wasm, _) = rewrite(&module("")).unwrap();
    let module = walrus::Module::from_buffer(&wasm).unwrap();
    assert_eq!(module.exports.iter().count(), 0);
    assert!(matches!(rewrite(&wasm), Err(RewriteError::NoFunction("noeh_throw"))));
}

#[test]
fn a_module_without_the_hooks_is_refused() {
    let plain = wat::parse_str("(module)").unwrap();
    assert!(matches!(rewrite(&plain), Err(RewriteError::NoFunction("noeh_throw"))));
    assert!(matches!(rewrite(b"no module"), Err(RewriteError::Parse(_))));
    let nameless = wat::parse_str(
        r#"(module (func (export "noeh_throw")) (func (export "noeh_catch") (param i32 i32 i32)))"#,
    );
    assert!(matches!(rewrite(&nameless.unwrap()), Err(RewriteError::NoStackPointer)));
    let imported = wat::parse_str(
        r#"(module (import "env" "t" (func $t)) (export "noeh_throw" (func $t))
             (func (export "noeh_catch") (param i32 i32 i32)))"#,
    );
    assert!(matches!(rewrite(&imported.unwrap()), Err(RewriteError::NoFunction("noeh_throw"))));
}
