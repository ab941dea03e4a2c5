//! `tollgate history`, `rollback` and `reload`, and what holds until when.

use std::sync::Arc;

use rustix::process::Signal;
use serde_json::Value;

use super::{ONE_WORKER, answering, change, generation, noted, restart, start, until_answers, until_kept};
use crate::support::{Gateway, PREAMBLE, guest, wait_for};

const PROBE: &str = include_str!("../fixtures/modules/probe.wat");

fn rollback(gateway: &Gateway, args: &[&str]) -> (Option<i32>, String) {
    gateway.command(&[&["rollback"], args].concat())
}

#[test]
fn back_and_forth() {
    let gateway = start(&answering("one"));
    change(&gateway, "two");
    change(&gateway, "three");
    let (code, text) = rollback(&gateway, &[]);
    assert!(code == Some(0) && text.starts_with("generation 4 is in force"), "{text}");
    assert_eq!(gateway.get("/").text(), "two");
    // A second step goes on from the first.
    assert_eq!(rollback(&gateway, &[]).0, Some(0));
    assert_eq!(gateway.get("/").text(), "one");
    let (code, text) = rollback(&gateway, &[]);
    assert!(code == Some(1) && text.contains("kept are 1, 2, 3"), "{text}");
    assert_eq!(rollback(&gateway, &["2"]).0, Some(0));
    assert_eq!(gateway.get("/").text(), "two");
    let (code, text) = rollback(&gateway, &["77"]);
    assert!(code == Some(1) && text.contains("generation 77 is not kept"), "{text}");
    let (code, text) = rollback(&gateway, &["4"]);
    assert!(code == Some(0) && text.contains("nothing to do"), "the number of a rollback counts too: {text}");

    let status = gateway.status();
    assert_eq!((&status["pinned"]["to"], &status["generation"]["number"]), (&2.into(), &6.into()));
    assert_eq!(gateway.metric("tollgate_policy_pinned"), Some(1.0));
    let (code, text) = gateway.command(&["reload"]);
    assert!(code == Some(0) && text.starts_with("generation 7 is in force"), "{text}");
    assert_eq!(gateway.get("/").text(), "three");
    assert!(gateway.status()["pinned"].is_null());
    assert_eq!(gateway.metric("tollgate_policy_pinned"), Some(0.0));
}

#[test]
fn a_rollback_holds_until_the_file_changes() {
    let gateway = start(&answering("one"));
    change(&gateway, "two");
    assert_eq!(rollback(&gateway, &["1", "--format", "json"]).0, Some(0));
    // Touched, and read again for a signal: it says what it said.
    gateway.write_policy(&answering("two"));
    gateway.signal(Signal::HUP);
    let unchanged = r#"tollgate_policy_swaps_total{outcome="unchanged"}"#;
    wait_for("the file to be read", || (gateway.metric(unchanged) >= Some(1.0)).then_some(()));
    assert_eq!(gateway.get("/").text(), "one");
    // Broken files do not end it either.
    gateway.write_policy("routes: 7\n");
    wait_for("a refusal", || (!gateway.status()["last_error"].is_null()).then_some(()));
    assert_eq!(gateway.get("/").text(), "one");
    gateway.write_policy(&answering("three"));
    until_answers(&gateway, "three");
    assert!(gateway.status()["pinned"].is_null());
}

#[test]
fn a_rollback_holds_over_a_restart() {
    let gateway = start(&answering("one"));
    change(&gateway, "two");
    assert_eq!(rollback(&gateway, &[]).0, Some(0));
    until_kept(&gateway, 3);
    let gateway = restart(gateway, Signal::KILL);
    assert_eq!(gateway.get("/").text(), "one");
    let status = gateway.status();
    assert_eq!((generation(&gateway), &status["pinned"]["to"]), (4, &1.into()));
    assert_eq!(status["generation"]["trigger"], "rollback");
    // The file changes while nobody serves.
    until_kept(&gateway, 4);
    gateway.write_policy(&answering("three"));
    let gateway = restart(gateway, Signal::TERM);
    assert_eq!(gateway.get("/").text(), "three");
    assert!(gateway.status()["pinned"].is_null());
}

/// The module that a kept policy was read from is overwritten since.
#[test]
fn modules_are_kept_with_the_policy() {
    let gateway = start(&answering("one"));
    let module = gateway.folder().join("probe.wasm");
    let probing = format!(
        "filters: {{ probe: {{ wasm: {{ module: {} }} }} }}\n\
         routes: [{{ filters: [probe], respond: {{ status: 200, body: probed }} }}]\n",
        module.display()
    );
    std::fs::copy(guest::wat(PROBE), &module).unwrap();
    gateway.write_policy(&probing);
    until_answers(&gateway, "probed");
    let with_probe = generation(&gateway);
    change(&gateway, "three");
    until_kept(&gateway, generation(&gateway));
    std::fs::remove_file(&module).unwrap();
    let gateway = restart(gateway, Signal::KILL);
    let (code, text) = rollback(&gateway, &[&with_probe.to_string()]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(gateway.get("/").text(), "probed");
}

#[test]
fn the_history_tells_what_happened() {
    let gateway = start(&answering("one"));
    change(&gateway, "two");
    gateway.write_policy("routes: 7\n");
    let (code, text) = gateway.command(&["reload"]);
    assert!(code == Some(1) && text.contains("policy refused"), "{text}");
    assert_eq!(rollback(&gateway, &[]).0, Some(0));
    let (code, text) = gateway.command(&["history", "-n", "100"]);
    assert_eq!(code, Some(0), "{text}");
    let events: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert!(events.starts_with(&["applied", "applied", "refused"]), "{text}");
    assert!(text.contains("rolled back") && text.contains("to generation 1"), "{text}");
    assert!(text.contains("the policy of generation 1 by a rollback"), "{text}");
    let (_, text) = gateway.command(&["history", "--format", "json"]);
    let overview: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(overview["kept"].as_array().unwrap().len(), 2);
    let record = gateway.admin_get("/policy/generations/2");
    let record: Value = serde_json::from_slice(&record.body).unwrap();
    assert_eq!((&record["trigger"], record["files"].as_array().unwrap().len()), (&"file".into(), 1));
    assert_eq!(gateway.admin_get("/policy/generations/99").status(), 404);
}

#[test]
fn only_so_many_are_kept() {
    let gateway = {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("policy.yaml"), format!("{PREAMBLE}{}", answering("p0"))).unwrap();
        noted(Gateway::start_in(folder, &ONE_WORKER, &["--keep", "2"]))
    };
    (1..4).for_each(|number| change(&gateway, &format!("p{number}")));
    let (code, text) = rollback(&gateway, &["1"]);
    assert!(code == Some(1) && text.contains("kept are 3, 4"), "{text}");
}

#[test]
fn without_a_gateway_there_is_nobody_to_ask() {
    let gateway = start(&answering("one"));
    let (code, text) = gateway.command(&["history", "--admin", "127.0.0.1:1"]);
    assert!(code == Some(2) && text.contains("no gateway's admin API at 127.0.0.1:1"), "{text}");
}

#[test]
fn policies_of_several_files_go_back_whole() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let part = folder.path().join("parts/routes.yaml");
    std::fs::create_dir(part.parent().unwrap()).unwrap();
    let write = |text: &str| {
        let draft = folder.path().join("draft");
        std::fs::write(&draft, answering(text)).unwrap();
        std::fs::rename(draft, &part).unwrap();
    };
    write("one");
    let whole = format!("{PREAMBLE}include: ['parts/*.yaml']\n");
    std::fs::write(folder.path().join("policy.yaml"), whole).unwrap();
    let gateway = noted(Gateway::start_in(Arc::clone(&folder), &ONE_WORKER, &[]));
    write("two");
    until_answers(&gateway, "two");
    assert_eq!(rollback(&gateway, &[]).0, Some(0));
    assert_eq!(gateway.get("/").text(), "one");
    // The part is watched all the same.
    write("three");
    until_answers(&gateway, "three");
    assert!(gateway.status()["pinned"].is_null());
}
