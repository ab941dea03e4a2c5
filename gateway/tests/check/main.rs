//! `tollgate check`: the real binary on policies whose filters do not start, and on ones that make no sense.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::guest::shipped;
use support::{Ran, tollgate};
use tempfile::TempDir;

/// A folder with a policy, which has these filters, and other files.
fn folder(filters: &str, names: &str, files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    let policy = format!(
        "version: 1\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
         routes: [{{ name: all, filters: [{names}], respond: {{ status: 200 }} }}]\nfilters:\n{filters}"
    );
    std::fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// `tollgate check` in the folder.
fn check(folder: &TempDir, more: &[&str]) -> Ran {
    let mut command = tollgate();
    command.current_dir(folder.path()).args(["check", "policy.yaml"]).args(more);
    Ran::of(&mut command)
}

#[test]
fn a_mistake_in_the_file_of_a_script_is_shown_there() {
    let script = "function on_request(req)\n  local x = = 1\nend\n";
    let folder = folder("  guard: { lua: { file: guard.lua } }\n", "guard", &[("guard.lua", script)]);
    let ran = check(&folder, &[]).expect(1);
    let expected = "\
error: filters.guard: it does not start: unexpected symbol near '='
 --> guard.lua:2:13
  |
2 |   local x = = 1
  |             ^

policy.yaml: not usable
";
    assert_eq!(ran.out, expected);
}

#[test]
fn a_mistake_in_an_inline_script_is_shown_in_the_policy() {
    let filters = "  guard:\n    lua:\n      inline: |\n        local limit = nil\n\n        limit.x = 1\n        function on_request() end\n";
    let ran = check(&folder(filters, "guard", &[]), &[]).expect(1);
    let expected = "\
error: filters.guard: it does not start: attempt to index a nil value (local 'limit')
 --> policy.yaml:10:9
   |
10 |         limit.x = 1
   |         ^^^^^^^^^^^
";
    assert!(ran.out.starts_with(&expected.replace(" --> ", "  --> ")), "{}", ran.out);

    let quoted = "  guard: { lua: { inline: \"local x\\nx = = 1\" } }\n";
    let ran = check(&folder(quoted, "guard", &[]), &[]).expect(1);
    for part in ["--> policy.yaml:5:3", "unexpected symbol near '='", "= found: line 2: x = = 1"] {
        assert!(ran.out.contains(part), "no {part:?} in\n{}", ran.out);
    }
}

#[test]
fn a_mistake_in_what_a_script_requires_is_shown_there() {
    let folder = folder(
        "  guard: { lua: { file: main.lua, modules: { lib: lib.lua } } }\n",
        "guard",
        &[
            ("main.lua", "require 'lib'\nfunction on_request() end\n"),
            ("lib.lua", "return {\n  a = 1\n  b = 2\n}\n"),
        ],
    );
    let ran = check(&folder, &[]).expect(1);
    assert!(ran.out.contains(" --> lib.lua:3:3\n"), "{}", ran.out);
}

#[test]
fn every_filter_that_does_not_start_is_told() {
    let rules = shipped("rules");
    let filters = format!(
        "  rules: {{ wasm: {{ module: {rules:?}, config: {{ nonsense: 1 }} }} }}\n\
         \x20 quiet: {{ lua: {{ inline: 'function on_reqest() end' }} }}\n\
         \x20 fine: {{ lua: {{ inline: 'function on_request() end' }} }}\n"
    );
    let folder = folder(&filters, "rules, quiet, fine", &[]);
    let ran = check(&folder, &["--json"]).expect(1);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["valid"], &report["started"]), (&false.into(), &Value::Null));
    let findings = report["findings"].as_array().unwrap();
    let places: Vec<_> = findings.iter().map(|finding| (&finding["path"], &finding["line"])).collect();
    assert_eq!(places, [(&"filters.rules".into(), &5.into()), (&"filters.quiet".into(), &6.into())]);
    assert!(findings[0]["message"].as_str().unwrap().contains("nonsense"), "{}", ran.out);
    assert!(findings[1]["message"].as_str().unwrap().contains("defines no handler"), "{}", ran.out);

    let unlooked = check(&folder, &["--no-modules"]).expect(0);
    assert!(unlooked.out.contains("valid; 1 listener, 1 route, 3 filters"), "{}", unlooked.out);
    assert!(unlooked.out.contains("filters were not started"), "{}", unlooked.out);
}

#[test]
fn warnings_fail_only_if_they_are_denied() {
    let filters = "  fine: { lua: { inline: 'function on_request() end' } }\n  idle: { headers: { request: { remove: [x-debug] } } }\n";
    let folder = folder(filters, "fine", &[]);
    let ran = check(&folder, &[]).expect(0);
    assert!(ran.out.contains("warning: filters.idle: no route uses it"), "{}", ran.out);
    assert!(ran.out.ends_with("2 filters, 0 upstreams; 1 filter started\n"), "{}", ran.out);
    check(&folder, &["--deny-warnings"]).expect(1);
}

/// `tollgate check … | head`: who has read enough goes away, which is no fault of the command.
#[test]
fn a_reader_that_goes_away_does_no_harm() {
    let mut schema = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let mut child = schema.arg("schema").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}
