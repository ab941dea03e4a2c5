//! `tollgate filter …`: the real binary on the shipped filters and on small ones in WAT.
#![allow(clippy::unwrap_used)]

#[path = "../calls/guests.rs"]
#[allow(dead_code)] // what only the tests of calls need
mod asking;
mod bench;
mod cases;
mod inspect;
mod record;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use support::guest::guest;
use support::{Ran, tollgate};
use tempfile::TempDir;

/// `tollgate filter` with these arguments, and the cache that the tests share.
fn tool<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Ran {
    let mut command = tollgate();
    command.arg("filter").args(args);
    Ran::of(&mut command)
}

/// A file of its own, gone with the folder.
fn file(name: &str, text: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn filters() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../filters")
}

/// Host functions that the guests here import.
const IMPORTS: &str = r#"
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $share (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))"#;

/// A filter that does what the first letter of the field `x-do` says: `t`raps, `l`oops, `c`loses,
/// `w`aits; whatever it is, it logs, counts, shares, and sets a property. Its timer counts, too.
fn probe() -> PathBuf {
    guest(
        IMPORTS,
        r#"(data (i32.const 16) "x-do") (data (i32.const 32) "seen") (data (i32.const 48) "a.b")
  (data (i32.const 52) "a\00b") (data (i32.const 64) "\20") (global $metric (mut i32) (i32.const 0))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $define (i32.const 0) (i32.const 32) (i32.const 4) (i32.const 8)))
    (global.set $metric (i32.load (i32.const 8))) (i32.const 1))
  (func $count (drop (call $increment (global.get $metric) (i64.const 1))))
  (func (export "proxy_on_tick") (param i32) (call $count))
  (func $loop (loop $again (br $again)))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (local $what i32)
    (call $count)
    (drop (call $log (i32.const 2) (i32.const 32) (i32.const 4)))
    (drop (call $share (i32.const 32) (i32.const 4) (i32.const 16) (i32.const 4) (i32.const 0)))
    (drop (call $property (i32.const 52) (i32.const 3) (i32.const 32) (i32.const 4)))
    (if (call $get (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 4))
      (then (return (i32.const 0))))
    (local.set $what (i32.load8_u (i32.load (i32.const 0))))
    (if (i32.eq (local.get $what) (i32.const 116)) (then unreachable))
    (if (i32.eq (local.get $what) (i32.const 108)) (then (call $loop)))
    (if (i32.eq (local.get $what) (i32.const 99)) (then (drop (call $close (i32.const 0)))))
    (if (i32.eq (local.get $what) (i32.const 119)) (then (return (i32.const 1))))
    (i32.const 0))"#,
    )
}
