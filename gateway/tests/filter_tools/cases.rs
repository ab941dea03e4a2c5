//! `tollgate filter test`.

use std::path::Path;

use serde_json::Value;

use crate::asking::{Ask, asking};
use crate::support::guest::shipped;
use crate::{Ran, file, filters, probe, tool};

fn run(module: &Path, cases: &Path, more: &[&str]) -> Ran {
    let mut args = vec!["test", module.to_str().unwrap(), cases.to_str().unwrap()];
    args.extend(more);
    tool(args)
}

#[test]
fn the_shipped_filters_pass_their_cases() {
    let folders = std::fs::read_dir(filters()).unwrap().map(|entry| entry.unwrap().path());
    let tested: Vec<_> = folders.filter(|folder| folder.join("tests.yaml").exists()).collect();
    assert!(tested.len() >= 3, "{tested:?}");
    for folder in tested {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let ran = run(&shipped(name), &folder.join("tests.yaml"), &[]).expect(0);
        assert!(ran.out.contains(", 0 failed"), "{name}: {}", ran.out);
    }
}

#[test]
fn every_end_and_every_trace_can_be_asked_for() {
    let (_folder, cases) = file(
        "cases.yaml",
        "filter: { budget: 5ms }\n\
         timeout: 50ms\n\
         cases:\n\
         - name: passes and leaves its traces\n\
         \x20 ticks: 2\n\
         \x20 request: { properties: { mine.own: hello } }\n\
         \x20 expect: { logs: [seen], metrics: { seen: 3 }, shared_data: { seen: x-do },\n\
         \x20   properties: { a.b: seen, mine.own: hello }, failures: 0 }\n\
         - name: starts anew in each case\n\
         \x20 exchanges:\n\
         \x20 - expect: { metrics: { seen: 1 } }\n\
         \x20 - expect: { metrics: { seen: 2 } }\n\
         - { name: traps, request: { headers: { x-do: trap } }, expect: { failure: unreachable, failures: 1 } }\n\
         - { name: loops, request: { headers: { x-do: loop } }, expect: { failure: CPU budget } }\n\
         - { name: closes, request: { headers: { x-do: close } }, expect: { closed: true } }\n\
         - { name: waits, request: { headers: { x-do: wait } }, expect: { waiting: true } }\n",
    );
    run(&probe(), &cases, &[]).expect(0);
    let (_folder, cases) = file(
        "open.yaml",
        "filter: { on_failure: open }\n\
         cases: [{ request: { headers: { x-do: trap } }, expect: { failures: 1, response: { status: 200 } } }]\n",
    );
    run(&probe(), &cases, &[]).expect(0);
}

const WRONG: &str = "\
filter: { config: { default: allow, rules: [{ action: deny, paths: [{ prefix: /admin }] }] } }
cases:
- name: open by mistake
  request: { path: /admin }
  expect: { response: { status: 200 } }
- name: closed by mistake
  request: { path: / }
  expect:
    reply: { status: 403 }
- name: a <wrong> \"body\"
  response: { headers: { server: origin }, body: hello }
  expect:
    response:
      headers: { server: { regex: '^edge' } }
      body: bye
- name: right
";

#[test]
fn a_failure_says_where_what_and_what_instead() {
    let (_folder, cases) = file("wrong.yaml", WRONG);
    let ran = run(&shipped("rules"), &cases, &[]).expect(1);
    for part in [
        "FAILED open by mistake",
        "wrong.yaml:5\n         expected: the exchange passes\n         got:      the filter answered 403 Forbidden",
        "expected: the filter answers itself\n         got:      it passed, with 200 OK from the upstream",
        "wrong.yaml:14: cases[2].expect.response.headers.server\n         expected: something that matches /^edge/\n         got:      \"origin\"",
        "wrong.yaml:15: cases[2].expect.response.body\n         expected: \"bye\"\n         got:      \"hello\"",
        "ok     right",
        "1 passed, 3 failed",
    ] {
        assert!(ran.out.contains(part), "no {part:?} in\n{}", ran.out);
    }
    let one = run(&shipped("rules"), &cases, &["--filter", "right"]).expect(0);
    assert!(one.out.contains("1 passed, 0 failed"), "{}", one.out);
    run(&shipped("rules"), &cases, &["--filter", "none of them"]).expect(2);
}

#[test]
fn machines_read_json_and_junit() {
    let (folder, cases) = file("wrong.yaml", WRONG);
    let ran = run(&shipped("rules"), &cases, &["--json"]).expect(1);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["passed"], &report["failed"]), (&1.into(), &3.into()));
    let mismatch = &report["cases"][2]["mismatches"][1];
    assert_eq!((&mismatch["line"], &mismatch["got"]), (&15.into(), &"\"hello\"".into()));

    let xml = folder.path().join("report.xml");
    let ran = run(&shipped("rules"), &cases, &["--junit", xml.to_str().unwrap()]).expect(1);
    assert!(ran.out.contains("1 passed, 3 failed"));
    let xml = std::fs::read_to_string(xml).unwrap();
    assert!(xml.contains("tests=\"4\" failures=\"3\""), "{xml}");
    assert!(xml.contains("name=\"a &lt;wrong&gt; &quot;body&quot;\""), "{xml}");
    assert_eq!(xml.matches("<failure").count(), 3);
}

#[test]
fn cases_that_are_wrong_are_told_all_at_once() {
    let (_folder, cases) = file(
        "bad.yaml",
        "filter: { module: x.wasm, bugdet: 5ms }\n\
         cases:\n\
         - request: { pth: /, client: somewhere }\n\
         \x20 expect: { reply: { status: 200 }, failure: x, response: { method: GET } }\n\
         - expect: { response: { headers: { a: { regx: b }, b: 7, c: { regex: '(' } } } }\n\
         - { exchanges: [], ticks: 1 }\n\
         - { request: { path: x }, response: { status: 42 } }\n",
    );
    let ran = run(&shipped("rules"), &cases, &[]).expect(2);
    for part in [
        "`module` has no place here",
        "did you mean `budget`?",
        "bad.yaml:3:14",
        "did you mean `path`?",
        "not an address",
        "`failure` beside `reply`",
        "a response has no `method`",
        "did you mean `regex`?",
        "put it in quotes",
        "not a regular expression",
        "`ticks` beside `exchanges`",
        "not a path",
        "not a final status",
    ] {
        assert!(ran.err.contains(part), "no {part:?} in\n{}", ran.err);
    }
    assert_eq!(ran.out, "");
    let (_folder, none) = file("none.yaml", "filter: {}\n");
    assert!(run(&shipped("rules"), &none, &[]).expect(2).err.contains("the key `cases` is missing"));
    let missing = run(Path::new("no-such.wasm"), &cases, &[]).expect(2);
    assert!(missing.err.contains("there is no such file"), "{}", missing.err);
}

#[test]
fn a_filter_that_does_not_start_fails_the_case_unless_it_is_asked_for() {
    let (_folder, cases) = file(
        "cases.yaml",
        "cases:\n- name: bad configuration\n  config: { nonsense: 1 }\n- { name: also bad, config: { default: allow }, refused: nonsense }\n",
    );
    let ran = run(&shipped("rules"), &cases, &[]).expect(1);
    assert!(ran.out.contains("expected: the filter starts\n         got:      filter test does not start"));
    assert!(ran.out.contains("expected: something with \"nonsense\" in it\n         got:      it started"));
}

#[test]
fn scripts_are_tested_as_modules_are() {
    let (folder, cases) = file(
        "cases.yaml",
        "filter: { config: { door: shut, key: k } }\n\
         cases:\n\
         - { name: shut, expect: { reply: { status: 403, body: shut }, logs: [at the door] } }\n\
         - name: open\n\
         \x20 config: { door: open }\n\
         \x20 expect: { request: { headers: { x-door: open } } }\n\
         - { name: no door, config: {}, refused: 'door.lua:2: no door' }\n",
    );
    let script = folder.path().join("door.lua");
    let text = "local door = config.door\nif not door then error('no door') end\n\
                function on_request(req)\n  log.info('at the door')\n\
                \x20 if door == 'shut' then respond(403, {}, door) end\n  req.headers['x-door'] = door\nend\n";
    std::fs::write(&script, text).unwrap();
    run(&script, &cases, &[]).expect(0);
    std::fs::write(&script, "function on_request(req) = end\n").unwrap();
    let ran = run(&script, &cases, &[]).expect(1);
    assert!(ran.out.contains("door.lua:1:26: "), "{}", ran.out);
}

const CALLS: &str = "\
timeout: 1s
calls: { auth: [{ body: from the file }] }
cases:
- name: the answer reaches the filter
  expect: { request: { headers: { x-answer: from the file } }, calls: { auth: 1 } }
- name: answers come in their order, and beyond the last one calls fail
  calls: { auth: [{ status: 200, body: first }, { status: 403 }] }
  exchanges:
  - expect: { request: { headers: { x-answer: first } }, calls: { auth: 1 } }
  - expect: { reply: { status: 401 }, calls: { auth: 2 } }
  - expect: { reply: { status: 403 }, calls: { auth: 3 } }
- name: of an upstream without a script nothing can be asked
  calls: { another: [] }
  expect: { reply: { status: 502 }, calls: { another: 0 } }
";

#[test]
fn side_calls_get_the_answers_of_the_script() {
    let module = asking(&Ask::default(), 0);
    let (_folder, cases) = file("calls.yaml", CALLS);
    run(&module, &cases, &[]).expect(0);
    let (_folder, wrong) = file("wrong.yaml", &CALLS.replace("auth: 2", "auth: 7"));
    let ran = run(&module, &wrong, &[]).expect(1);
    assert!(ran.out.contains("cases[1].exchanges[1].expect.calls.auth"), "{}", ran.out);
    assert!(ran.out.contains("expected: 7\n         got:      2"), "{}", ran.out);
}
