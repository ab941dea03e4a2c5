//! Starts without the policy's files, without a disk to write to, and after crashes.

use std::fs;
use std::sync::Arc;

use rustix::process::Signal;

use super::{ONE_WORKER, answering, change, generation, restart, start, until_answers, until_kept};
use crate::support::{Gateway, PREAMBLE, guest, wait_for};

const PROBE: &str = include_str!("../fixtures/modules/probe.wat");

/// Whether it says that a kept policy stands in, and why.
fn degraded(gateway: &Gateway) -> String {
    assert_eq!(gateway.metric("tollgate_policy_degraded"), Some(1.0));
    let ready = gateway.admin_get("/readyz");
    assert_eq!(ready.status(), 200);
    assert!(ready.text().contains("degraded"), "{}", ready.text());
    let lines = gateway.log();
    assert!(lines.iter().any(|line| line.contains("a kept policy stands in")), "{lines:#?}");
    gateway.status()["degraded"]["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_broken_file_at_start_serves_the_last_good_policy() {
    let gateway = start(&answering("one"));
    change(&gateway, "two");
    until_kept(&gateway, 2);
    gateway.write_policy("routes: 7\n");
    let gateway = restart(gateway, Signal::KILL);
    assert_eq!(gateway.get("/").text(), "two");
    assert!(degraded(&gateway).contains("policy.yaml:"));
    // It is as good a generation as any, and the first good file ends it.
    assert!(generation(&gateway) > 2);
    change(&gateway, "three");
    assert!(gateway.status()["degraded"].is_null());
    assert_eq!(gateway.metric("tollgate_policy_degraded"), Some(0.0));
    assert_eq!(gateway.admin_get("/readyz").text(), "ready\n");
}

#[test]
fn a_missing_file_at_start_serves_the_last_good_policy() {
    let gateway = start(&answering("one"));
    until_kept(&gateway, 1);
    fs::remove_file(gateway.policy_path()).unwrap();
    let gateway = restart(gateway, Signal::TERM);
    assert_eq!(gateway.get("/").text(), "one");
    assert!(degraded(&gateway).contains("cannot be read"));
    // Twice in a row, which makes it no better.
    let gateway = restart(gateway, Signal::TERM);
    assert_eq!(gateway.get("/").text(), "one");
    change(&gateway, "two");
}

/// A policy whose filter cannot start, with the port as its configuration: the listeners differ too.
#[test]
fn a_filter_that_does_not_start_serves_the_last_good_policy() {
    let gateway = start(&answering("one"));
    until_kept(&gateway, 1);
    let probe = guest::wat(PROBE);
    let failing = format!(
        "version: 1\nlisteners: [{{ address: '127.0.0.1:0' }}, {{ address: '127.0.0.1:0' }}]\n\
         admin: {{ address: '127.0.0.1:0' }}\n\
         filters: {{ probe: {{ wasm: {{ module: {}, config: refuse }} }} }}\n\
         routes: [{{ filters: [probe], respond: {{ status: 200, body: new }} }}]\n",
        probe.display()
    );
    gateway.write_whole(&failing);
    let gateway = restart(gateway, Signal::KILL);
    assert_eq!(gateway.get("/").text(), "one");
    assert!(degraded(&gateway).contains("probe"));
    change(&gateway, "two");
}

#[test]
fn a_module_that_is_missing_at_start_comes_from_the_history() {
    let gateway = start(&answering("one"));
    let module = gateway.folder().join("probe.wasm");
    fs::copy(guest::wat(PROBE), &module).unwrap();
    gateway.write_policy(&format!(
        "filters: {{ probe: {{ wasm: {{ module: {} }} }} }}\n\
         routes: [{{ filters: [probe], respond: {{ status: 200, body: probed }} }}]\n",
        module.display()
    ));
    until_answers(&gateway, "probed");
    until_kept(&gateway, 2);
    fs::remove_file(&module).unwrap();
    let gateway = restart(gateway, Signal::KILL);
    assert_eq!(gateway.get("/").text(), "probed");
    assert!(degraded(&gateway).contains("cannot be read"));
    // The module coming back is a change of the policy's files.
    fs::copy(guest::wat(PROBE), &module).unwrap();
    wait_for("the policy's files to be followed", || gateway.status()["degraded"].is_null().then_some(()));
}

#[test]
fn strict_starts_refuse_instead() {
    let gateway = start(&answering("one"));
    until_kept(&gateway, 1);
    let folder = gateway.shared_folder();
    gateway.write_policy("routes: 7\n");
    gateway.stop();
    let stopped = Gateway::spawn(Arc::clone(&folder), &ONE_WORKER, &["--require-current"]).wait();
    assert_eq!(stopped.status.code(), Some(65), "{:#?}", stopped.log);
    // Without any history there is nothing else either.
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    let stopped = Gateway::spawn(folder, &ONE_WORKER, &[]).wait();
    assert_eq!(stopped.status.code(), Some(65));
}

/// The state folder cannot be made: the gateway serves, goes back, and says so.
#[test]
fn a_disk_that_cannot_be_written_costs_only_the_history_on_disk() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    fs::write(folder.path().join("state"), "a file where the folder should be").unwrap();
    fs::write(folder.path().join("policy.yaml"), format!("{PREAMBLE}{}", answering("one"))).unwrap();
    let gateway = Gateway::start_in(folder, &ONE_WORKER, &[]);
    change(&gateway, "two");
    assert!(gateway.status()["history"]["problem"].as_str().unwrap().contains("cannot make"));
    assert!(gateway.metric("tollgate_policy_history_failures_total") >= Some(1.0));
    let admin = gateway.admin().to_string();
    assert_eq!(gateway.command(&["rollback", "--admin", &admin]).0, Some(0));
    assert_eq!(gateway.get("/").text(), "one");
}

/// Killed at any moment of a burst of swaps and savings, it starts with a policy that was whole.
#[test]
fn kills_at_any_moment_leave_a_policy_that_serves() {
    let mut gateway = start(&answering("p0"));
    let mut last = 0;
    for round in 1_u64..=12 {
        for step in 0..6 {
            gateway.write_policy(&answering(&format!("r{round}s{step}")));
            if step as u64 == round % 6 {
                break;
            }
            until_answers(&gateway, &format!("r{round}s{step}"));
        }
        // The file is torn, so that what was kept is needed.
        if round % 2 == 0 {
            fs::write(gateway.policy_path(), "version: 1\nlisteners: [{ addr").unwrap();
        }
        gateway = restart(gateway, Signal::KILL);
        let answer = gateway.get("/");
        assert_eq!(answer.status(), 200);
        assert!(answer.text() == "p0" || answer.text().starts_with('r'), "{}", answer.text());
        let number = generation(&gateway);
        assert!(number > last, "round {round}: {number} after {last}");
        last = number;
        until_kept(&gateway, number);
    }
}

/// Both at once: the file that was gone back from breaks, and is mended to what it said.
#[test]
fn a_rollback_survives_a_broken_file() {
    let gateway = start(&answering("one"));
    change(&gateway, "two");
    assert_eq!(gateway.command(&["rollback"]).0, Some(0));
    until_kept(&gateway, 3);
    gateway.write_policy("routes: 7\n");
    let gateway = restart(gateway, Signal::KILL);
    assert_eq!(gateway.get("/").text(), "one");
    degraded(&gateway);
    gateway.write_policy(&answering("two"));
    wait_for("the file to be read", || gateway.status()["degraded"].is_null().then_some(()));
    assert_eq!(gateway.get("/").text(), "one");
    assert_eq!(gateway.status()["pinned"]["to"], 1);
    change(&gateway, "three");
}
