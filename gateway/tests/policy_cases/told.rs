//! What is told of failures, of cases that are wrong, and of policies that are.

use serde_json::Value;

use crate::{files, run};

const POLICY: &str = "version: 1\nlisteners: [{ address: 127.0.0.1:0 }]\n\
    upstreams: { app: { endpoints: ['127.0.0.1:9'] } }\n\
    routes: [{ name: all, forward: { upstream: app } }]\n";

#[test]
fn a_failure_says_where_what_and_what_instead() {
    let cases = "cases:\n- name: wrong\n  response: { status: 200, body: hello }\n  expect:\n    response: { status: 201, body: bye }\n- name: right\n";
    let (folder, policy, cases) = files(POLICY, cases);
    let ran = run(&policy, &cases, &[]).expect(1);
    for part in [
        "FAILED wrong",
        "cases.yaml:5: cases[0].expect.response.status\n         expected: 201\n         got:      200",
        "expected: \"bye\"\n         got:      \"hello\"",
        "ok     right",
        "1 passed, 1 failed",
    ] {
        assert!(ran.out.contains(part), "no {part:?} in\n{}", ran.out);
    }
    assert!(run(&policy, &cases, &["--filter", "right"]).expect(0).out.contains("1 passed, 0 failed"));
    run(&policy, &cases, &["--filter", "none of them"]).expect(2);

    let ran = run(&policy, &cases, &["--json"]).expect(1);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["passed"], &report["failed"]), (&1.into(), &1.into()));
    assert!(report["policy"].as_str().unwrap().ends_with("policy.yaml"));
    assert_eq!(report["cases"][0]["mismatches"][0]["line"], 5);

    let xml = folder.path().join("report.xml");
    run(&policy, &cases, &["--junit", xml.to_str().unwrap()]).expect(1);
    let xml = std::fs::read_to_string(xml).unwrap();
    assert!(xml.contains("tests=\"2\" failures=\"1\"") && xml.contains("expected 201, got 200"), "{xml}");
}

#[test]
fn cases_that_are_wrong_are_told_all_at_once() {
    let (_folder, policy, cases) = files(
        POLICY,
        "cases:\n\
         - { repeat: 0, request: { pth: / } }\n\
         - { expect: { properties: { a: b }, reply: { status: 200 }, error: no_route } }\n\
         - { exchanges: [], wait: 1s }\n\
         - { request: { properties: { a: b } }, response: { delay: 1d } }\n\
         - { config: {} }\n",
    );
    let ran = run(&policy, &cases, &[]).expect(2);
    for part in [
        "not a number of times",
        "did you mean `path`?",
        "`properties` has no place here",
        "`error` beside `reply`",
        "`wait` beside `exchanges`",
        "no exchanges",
        "not a duration",
        "unknown key `config`",
        "cases.yaml:2:",
    ] {
        assert!(ran.err.contains(part), "no {part:?} in\n{}", ran.err);
    }
    assert_eq!(ran.out, "");
}

#[test]
fn a_script_for_no_upstream_fails_its_case() {
    let (_folder, policy, cases) = files(POLICY, "cases: [{ calls: { ap: [] } }]\n");
    let ran = run(&policy, &cases, &[]).expect(1);
    assert!(ran.out.contains("`calls` for `ap`, which is none"), "{}", ran.out);
}

#[test]
fn a_policy_that_is_wrong_or_does_not_start_is_told_apart() {
    let (_folder, policy, cases) = files("version: 1\nroutes: []\n", "cases: [{}]\n");
    assert!(run(&policy, &cases, &[]).expect(65).err.contains("`listeners` is missing"));
    let script = "filters: { f: { lua: { inline: 'error(\"at its start\")' } } }\n";
    let policy_text = format!("{}{script}", POLICY.replace("name: all,", "name: all, filters: [f],"));
    let (_folder, policy, cases) = files(&policy_text, "cases: [{}]\n");
    assert!(run(&policy, &cases, &[]).expect(65).err.contains("at its start"));
}
