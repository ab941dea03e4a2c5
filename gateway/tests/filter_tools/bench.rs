//! `tollgate filter bench`.

use std::path::Path;

use serde_json::Value;

use crate::support::guest::shipped;
use crate::{Ran, file, filters, probe, tool};

/// Long enough for a few rounds.
const TIME: &str = "0.05";

fn bench(module: &Path, more: &[&str]) -> Ran {
    let mut args = vec!["bench", module.to_str().unwrap(), "--seconds", TIME];
    args.extend(more);
    tool(args)
}

fn json(module: &Path, more: &[&str]) -> Value {
    let mut args = vec!["--cached", "--json"];
    args.extend(more);
    serde_json::from_str(&bench(module, &args).expect(0).out).unwrap()
}

fn calls(contender: &Value) -> Vec<(String, f64)> {
    let calls = contender["host_calls"].as_array().unwrap().iter();
    calls
        .map(|call| (call["name"].as_str().unwrap().to_owned(), call["per_exchange"].as_f64().unwrap()))
        .collect()
}

#[test]
fn a_table_tells_what_a_filter_costs() {
    let config = "{ default: allow, rules: [{ action: deny, paths: [{ prefix: /admin }] }] }";
    let more = ["--cached", "--config", config, "--request", "GET /admin/x", "-H", "x-who: ada"];
    let ran = bench(&shipped("rules"), &more).expect(0);
    for part in [
        "rules.wasm: ",
        "all answered 403",
        "request_headers",
        "host calls in an exchange",
        "memory ",
        "start ",
    ] {
        assert!(ran.out.contains(part), "no {part:?} in\n{}", ran.out);
    }
    assert!(!ran.out.contains("compile ") && !ran.err.contains("measuring"), "{}{}", ran.out, ran.err);
    let ran = bench(&probe(), &[]).expect(0);
    assert!(ran.out.contains("  compile   O0 "), "{}", ran.out);
}

#[test]
fn what_the_guest_does_is_counted_exactly() {
    let report = json(&probe(), &["--request", "POST /x"]);
    let [contender] = report["contenders"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert!(contender["exchanges"].as_u64().unwrap() >= 50);
    assert_eq!(contender["ends"].as_object().unwrap().len(), 1);
    assert_eq!(contender["ends"]["passed"], contender["exchanges"]);
    // One of each in a request's headers, and none anywhere else.
    let mut calls = calls(contender);
    calls.sort_by(|one, other| one.0.cmp(&other.0));
    let once = [
        "proxy_get_header_map_value",
        "proxy_increment_metric",
        "proxy_log",
        "proxy_set_property",
        "proxy_set_shared_data",
    ];
    assert_eq!(calls, once.map(|name| (name.to_owned(), 1.0)));
    let phases = contender["phases"].as_array().unwrap();
    assert_eq!(phases[0]["phase"], "request_headers");
    assert!(phases[0]["fuel"].as_u64().unwrap() > 0);
    assert!(phases[0]["median_ns"].as_u64().unwrap() <= phases[0]["p99_ns"].as_u64().unwrap());
    assert_eq!(contender["memory_bytes"], 4 * 65536);
    assert!(contender["start"]["median_ns"].as_u64().unwrap() > 0);
    assert!(contender.get("compile").is_none());
}

#[test]
fn two_are_measured_in_one_run() {
    let rules = shipped("rules");
    let deny = "{ default: deny }";
    let more = ["--config", "{ default: allow }", "--against-config", deny];
    let report = json(&rules, &more);
    let ends = |index: usize| {
        report["contenders"][index]["ends"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!((ends(0), ends(1)), (vec!["passed".to_owned()], vec!["answered 403".to_owned()]));

    let against = probe();
    let more = [
        "--cached",
        "--config",
        "{ default: allow }",
        "--against",
        against.to_str().unwrap(),
        "--against-config",
        "",
    ];
    let told = bench(&rules, &more).expect(0).out;
    assert!(told.contains(" to rules.wasm, medians"), "{told}");
}

#[test]
fn a_case_is_a_workload_and_bodies_are_one() {
    let tests = filters().join("redact/tests.yaml");
    let report = json(&shipped("redact"), &["--cases", tests.to_str().unwrap()]);
    assert!(report["contenders"][0]["exchanges"].as_u64().unwrap() > 0);
    let config = "{ patterns: [{ class: email }] }";
    let report = json(&shipped("redact"), &["--config", config, "--response-body", "40000"]);
    let phases = report["contenders"][0]["phases"].as_array().unwrap();
    assert!(phases.iter().any(|phase| phase["phase"] == "response_body"), "{report}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let rules = shipped("rules");
    let (_folder, text) = file("text.wasm", "hello");
    let table: [(&Path, &[&str], &str); 6] = [
        (&rules, &["--config", "{ nonsense: 1 }", "--cached"], "rules.wasm does not start"),
        (&rules, &["--config", "{"], "the configuration is no YAML"),
        (&rules, &["--request", "GET"], "expected a method and a path"),
        (&rules, &["--request", "GET nowhere"], "not a path"),
        (&text, &[], "the file is no WebAssembly module"),
        (Path::new("no-such.wasm"), &[], "there is no such file"),
    ];
    for (module, more, wanted) in table {
        let ran = bench(module, more).expect(2);
        assert!(ran.err.contains(wanted), "no {wanted:?} in\n{}", ran.err);
    }
    tool(["bench", rules.to_str().unwrap(), "--seconds", "0"]).expect(64);
    assert!(tool(["bench", "--help"]).expect(0).out.contains("Examples:"));
}
