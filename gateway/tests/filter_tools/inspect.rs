//! `tollgate filter inspect`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::guest::{guest, shipped};
use crate::{Ran, file, probe, tool};

fn inspect(module: &Path, more: &[&str]) -> Ran {
    let mut args = vec!["inspect", module.to_str().unwrap()];
    args.extend(more);
    tool(args)
}

/// A module as it is: never compiled, for it would be refused.
fn refused(source: &str) -> Ran {
    let (_folder, path) = file("refused.wat.wasm", "");
    std::fs::write(&path, wat::parse_str(source).unwrap()).unwrap();
    inspect(&path, &[]).expect(1)
}

#[test]
fn a_shipped_filter_is_told_whole() {
    let ran = inspect(&shipped("rules"), &[]).expect(0);
    for part in [
        "this gateway would load it",
        "abi          0.2.1",
        "language     Rust",
        "fits the default ceiling of 256",
        "proxy_on_request_headers",
        "served     env.proxy_send_local_response",
        "A policy to begin with",
    ] {
        assert!(ran.out.contains(part), "no {part:?} in\n{}", ran.out);
    }
    assert!(!ran.out.contains('\u{1b}'), "colour is for terminals");
}

#[test]
fn machines_read_json() {
    let ran = inspect(&probe(), &["--json"]).expect(0);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["loads"], true);
    assert_eq!(report["abi"], serde_json::json!(["0.2.1"]));
    assert_eq!(report["memory"]["pages_min"], 4);
    assert_eq!(report["imports"][0]["name"], "proxy_log");
    assert_eq!(report["imports"][0]["support"], "served");
    assert_eq!(report["bytes"], std::fs::metadata(probe()).unwrap().len());
    let lacks = report["lacks"].as_array().unwrap();
    assert!(lacks.contains(&"proxy_on_request_body".into()) && !lacks.contains(&"proxy_on_tick".into()));
}

#[test]
fn the_policy_to_begin_with_is_one() {
    let caller = guest(
        r#"(import "env" "proxy_http_call"
            (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#,
        "",
    );
    let section = inspect(&caller, &["--policy"]).expect(0).out;
    assert!(section.contains("allow: { upstreams: [], hosts: [] }"), "{section}");
    let policy = format!(
        "version: 1\nlisteners: [{{ address: '127.0.0.1:0' }}]\n{section}\
         routes: [{{ filters: [my-filter], respond: {{ status: 200 }} }}]\n"
    );
    let (_folder, path) = file("policy.yaml", &policy);
    let check = Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("check").arg(&path).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn what_a_refused_module_lacks_is_said_in_plain_words() {
    let marked = r#"(func (export "proxy_abi_version_0_2_1")) (func (export "malloc") (param i32) (result i32) (i32.const 0))"#;
    let table = [
        (
            r#"(import "env" "proxy_teleport" (func (param i32)))"#,
            marked,
            "env.proxy_teleport, which this host does not have",
        ),
        (
            r#"(import "env" "proxy_log" (func (param i64)))"#,
            marked,
            "env.proxy_log as (i64) -> (), which is not its type",
        ),
        ("(tag)", marked, "it uses exception handling, which the ahead-of-time compiler does not take"),
        ("", "", "it exports no proxy_abi_version_*"),
        ("", r#"(func (export "proxy_abi_version_9_9_9"))"#, "it wants ABI 9.9.9; this gateway speaks 0.2.1"),
        ("", r#"(func (export "proxy_abi_version_0_2_1"))"#, "it exports no allocator"),
        (
            r#"(func (export "proxy_on_request_body") (param i32))"#,
            marked,
            "its proxy_on_request_body has 1 parameters, which is not the ABI's",
        ),
        ("(memory 1) (memory 1)", marked, "it uses several memories"),
    ];
    for (first, more, wanted) in table {
        let ran = refused(&format!("(module {first} {more})"));
        assert!(ran.out.starts_with("this gateway would refuse it\n"), "{}", ran.out);
        assert!(ran.out.contains(wanted), "no {wanted:?} in\n{}", ran.out);
    }
}

#[test]
fn a_memory_beyond_the_default_is_a_key_of_the_policy_and_no_refusal() {
    let (_folder, path) = file("large.wasm", "");
    let source = r#"(module (memory 400) (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 0)))"#;
    std::fs::write(&path, wat::parse_str(source).unwrap()).unwrap();
    let ran = inspect(&path, &[]).expect(0);
    assert!(
        ran.out.contains("starts with 25.0 MiB of memory, above the default ceiling of 16.0 MiB"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("memory: 32MiB"), "{}", ran.out);
}

#[test]
fn what_is_no_module_is_refused_and_what_is_no_file_cannot_be_read() {
    let (_folder, path) = file("text.wasm", "hello");
    let ran = inspect(&path, &[]).expect(1);
    assert!(ran.out.contains("it is no WebAssembly module"), "{}", ran.out);
    assert!(inspect(Path::new("no-such.wasm"), &[]).expect(2).err.contains("no-such.wasm"));
    let help = tool(["inspect", "--help"]).expect(0);
    assert!(help.out.contains("Examples:") && help.out.contains("Exit code 0"), "{}", help.out);
}
