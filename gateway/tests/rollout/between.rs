//! What comes while a policy is on trial: other policies, faster code.

use std::collections::HashSet;

use serde_json::Value;

use crate::support::wait_for;
use crate::{HALF, all, answering, ended, events, old, report, rollout, try_out};

fn answers(gateway: &crate::Gateway) -> HashSet<String> {
    all(gateway, 100).into_iter().collect()
}

#[test]
fn another_policy_with_a_rollout_takes_the_place_of_the_one_on_trial() {
    let gateway = old();
    try_out(&gateway, &(answering("second") + &rollout(HALF)));
    assert_eq!(answers(&gateway), HashSet::from(["old".to_owned(), "second".to_owned()]));
    gateway.write_policy(&(answering("third") + &rollout(HALF)));
    gateway.reload();
    wait_for("the other trial", || (report(&gateway)["running"]["generation"] == 3).then_some(()));
    assert_eq!(answers(&gateway), HashSet::from(["old".to_owned(), "third".to_owned()]));
    assert_eq!(events(&gateway), ["begun", "replaced", "begun"]);
}

#[test]
fn another_policy_without_one_is_put_in_force_whole() {
    let gateway = old();
    try_out(&gateway, &(answering("second") + &rollout(HALF)));
    gateway.write_policy(&answering("third"));
    gateway.reload();
    assert_eq!(answers(&gateway), HashSet::from(["third".to_owned()]));
    assert_eq!(ended(&gateway)["event"], "replaced");
    assert_eq!(gateway.status()["generation"]["number"], 3);
}

#[test]
fn the_policy_in_force_once_more_ends_the_trial() {
    let gateway = old();
    try_out(&gateway, &(answering("second") + &rollout(HALF)));
    gateway.write_policy(&answering("old"));
    gateway.reload();
    assert_eq!(ended(&gateway)["event"], "replaced");
    assert_eq!(answers(&gateway), HashSet::from(["old".to_owned()]));
    assert_eq!(gateway.status()["generation"]["number"], 1);
}

#[test]
fn a_policy_that_is_refused_leaves_the_trial_alone() {
    let gateway = old();
    try_out(&gateway, &(answering("second") + &rollout(HALF)));
    let before = all(&gateway, 100);
    gateway.write_policy("routes: [{ forwrd: {} }]\n");
    assert_eq!(gateway.reload().status(), 422);
    assert_eq!(all(&gateway, 100), before);
    assert_eq!(report(&gateway)["running"]["generation"], 2);
    assert_eq!(events(&gateway), ["begun"]);
}

/// The module is like no other, so its code is compiled at O0 first, and the O2 code comes during the trial.
#[test]
fn faster_code_begins_the_step_anew() {
    let gateway = old();
    let unique = format!(
        r#"(module (memory (export "memory") 1) (data (i32.const 0) "{} {:?}")
          (func (export "proxy_abi_version_0_2_1"))
          (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
          (func (export "proxy_on_context_create") (param i32 i32)))"#,
        std::process::id(),
        std::time::SystemTime::now()
    );
    let module = gateway.folder().join("unique.wasm");
    std::fs::write(&module, wat::parse_str(&unique).unwrap()).unwrap();
    let policy = format!(
        "filters: {{ f: {{ wasm: {{ module: {} }} }} }}\n\
         routes: [{{ filters: [f], respond: {{ status: 200, body: new }} }}]\n{}",
        module.display(),
        rollout(HALF)
    );
    try_out(&gateway, &policy);
    let before = all(&gateway, 100);
    let running = wait_for("the faster code", || {
        Some(report(&gateway)["running"].clone()).filter(|running| running["generation"] == 3)
    });
    assert_eq!((&running["step"], &running["base"]), (&Value::from(1), &Value::from(1)));
    // The same users as before.
    assert_eq!(all(&gateway, 100), before);
    assert!(before.contains(&"new".to_owned()));
    assert_eq!(events(&gateway), ["begun"]);
    wait_for("the slower code to retire", || (gateway.status()["generations_retiring"] == 0).then_some(()));
}
