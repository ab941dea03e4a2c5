//! Limits and errors: to the log goes all of it, to the access log a line, to the client nothing; the instance lives
//! on, and nobody else pays.

use serde_json::json;

use crate::support::{Origin, response, wait_for};
use crate::{inline, start, try_policy};

#[test]
fn an_error_ends_the_exchange_with_its_line_in_the_logs() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let script = "def look(t):\n    return t[\"field\"][0]\n\ndef on_request(req):\n    if req.path == \"/bad\":\n        look({})\n    if req.path == \"/fail\":\n        fail(\"no\", 7)\n";
    let gateway = start(&origin, &[("guard", inline(script, ""))]);
    let answer = gateway.get("/bad");
    assert_eq!((answer.status(), answer.text()), (503, "Refused by policy.\n"));
    let log = wait_for("a traceback in the log", || {
        gateway.log().into_iter().find(|line| line.contains("Traceback"))
    });
    for part in ["guard.star:2:12: ", "field", "guard.star:6", "in on_request", "look({})"] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    assert_eq!(gateway.get("/").status(), 200);
    assert_eq!(gateway.get("/fail").status(), 503);
    gateway.wait_for_metric(r#"tollgate_filter_failures_total{filter="guard",kind="error"}"#, 2.0);
    assert_eq!(gateway.metric(r#"tollgate_filter_restarts_total{filter="guard"}"#), Some(0.0));
    let log = gateway.stop().access_log;
    let reason = log[0]["ended_by"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("guard.star:2:12: "), "{reason}");
    assert_eq!(
        log[2]["ended_by"],
        json!({ "filter": "guard", "phase": "request_headers", "reason": "guard.star:8:9: no 7" })
    );
}

#[test]
fn a_script_that_cannot_start_is_refused_with_its_place() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let cases = [
        ("def on_request(req):\n    x = = 1\n", "guard.star:2:9: "),
        ("def on_request(req):\n    return undefined_name\n", "guard.star:2:12: "),
        ("fail(\"config.threshold is missing\")", "guard.star:1:1: config.threshold is missing"),
        ("on_request = 7", "`on_request` is not a function"),
        ("def on_reqest(req): pass", "the script defines no handler"),
        ("[x for x in range(1000000000)]", "guard.star:1:13: not enough memory"),
        ("def f():\n    for y in range(1000000000): pass\nf()", ": the CPU budget is used up"),
        ("s = \"x\"\nfor i in range(25): s = s + s\nfor i in range(2000): pass", "not enough memory"),
        (
            "load(\"other\", \"x\")\ndef on_request(req): pass",
            "no module `other`: list it in the policy, under `modules`",
        ),
        ("respond(403)", "there is no request while the script loads"),
        ("ip.set([\"10.0.0.0/40\"])", "`10.0.0.0/40` is not a range of addresses"),
    ];
    for (script, expected) in cases {
        let said = try_policy(&origin, &[("guard", inline(script, ", memory: 8MiB"))]);
        assert!(said.contains(expected), "{script}\nsaid: {said}");
    }
}

#[test]
fn a_script_that_takes_too_much_ends_alone() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let greedy = r##"
def burn():
    for x in range(1000000000):
        y = x
    return y


def recurse(n):
    return recurse(n + 1) + 1

def on_request(req):
    if req.path == "/loop":
        burn()
    if req.path == "/comprehension":
        [x for x in range(1000000000)]
    if req.path == "/deep":
        recurse(0)
    if req.path == "/memory":
        kept = []
        for i in range(1000000):
            kept.append("x" * 1000 + str(i))
"##;
    let neighbour = "def on_request(req):\n    req.headers[\"x-seen\"] = \"yes\"\n";
    let filters = [
        ("greedy", inline(greedy, ", memory: 4MiB, circuit: { failures: 1000 }")),
        ("neighbour", inline(neighbour, "")),
    ];
    let gateway = start(&origin, &filters);
    for path in ["/loop", "/deep", "/memory", "/comprehension"] {
        assert_eq!(gateway.get(path).status(), 503, "{path}");
        assert_eq!(gateway.get("/").status(), 200, "after {path}: {:#?}", gateway.log());
    }
    for said in ["the CPU budget is used up", "not enough memory", "greedy.star:9:12: "] {
        wait_for(said, || gateway.log().iter().any(|line| line.contains(said)).then_some(()));
    }
    assert_eq!(gateway.metric(r#"tollgate_filter_restarts_total{filter="greedy"}"#), Some(0.0));
    assert_eq!(origin.requests().last().unwrap().header("x-seen"), Some("yes"));
}

/// What a script makes while it loads is frozen, and scripts share nothing.
#[test]
fn nothing_goes_from_request_to_request_by_accident() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let leaking = "seen = []\ndef on_request(req):\n    if req.path == \"/leak\":\n        seen.append(req.path)\n    req.headers[\"x-one\"] = len(seen)\n";
    let other = "def on_request(req):\n    req.headers[\"x-two\"] = str(shared.get(\"mine\"))\n    shared.set(\"mine\", 1)\n";
    let filters =
        [("leaking", inline(leaking, "")), ("other", inline(other, "")), ("third", inline(other, ""))];
    let gateway = start(&origin, &filters);
    assert_eq!(gateway.get("/leak").status(), 503);
    assert_eq!(gateway.get("/").status(), 200, "{:#?}", gateway.log());
    let request = origin.request();
    assert_eq!((request.header("x-one"), request.headers_named("x-two")), (Some("0"), vec!["None"]));
    let reason = gateway.stop().access_log[0]["ended_by"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("leaking.star:4:") && reason.contains("mutable"), "{reason}");
}
