//! A guest that fails, wherever it fails and however: an answer at once, by `on_failure`, with a reason
//! on record; and the next exchange is served.

use serde_json::json;

use crate::guests::{callback, trailers_callback, with};
use crate::support::{Gateway, Next, Options, Origin, get, post, wait_for};
use crate::{chain, wasm};

const ONE_WORKER: Options = Options { workers: 1, log: "info" };

/// How a guest fails: the kind that is counted, and the code.
const FAULTS: [(&str, &str, &str); 3] = [
    ("trap", "trap", "(unreachable)"),
    ("budget", "budget", "(loop $for_ever (br $for_ever)) (unreachable)"),
    (
        "memory",
        "trap",
        "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)",
    ),
];

/// What becomes of an exchange whose filter fails closed in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    /// 503.
    Refused,
    /// 503, or the end of the connection if the head has gone.
    RefusedOrCut,
    /// It was over.
    Answered,
}

/// The callbacks of an exchange: export, phase on record, end.
const PHASES: [(&str, &str, Closed); 9] = [
    ("proxy_on_request_headers", "request_headers", Closed::Refused),
    ("proxy_on_request_body", "request_body", Closed::Refused),
    ("proxy_on_request_trailers", "request_trailers", Closed::Refused),
    ("proxy_on_response_headers", "response_headers", Closed::Refused),
    ("proxy_on_response_body", "response_body", Closed::RefusedOrCut),
    ("proxy_on_response_trailers", "response_trailers", Closed::RefusedOrCut),
    ("proxy_on_done", "done", Closed::Answered),
    ("proxy_on_log", "done", Closed::Answered),
    ("proxy_on_delete", "done", Closed::Answered),
];

/// Fails in one callback of the exchange that has `x-trigger`.
fn failing_in(export: &str, fault: &str) -> String {
    // Maps are not there in every phase: the decision is made in the first.
    let strike = format!("(if (global.get $armed) (then {fault}))");
    let decide = "(global.set $armed (call $trigger))";
    let body = match export {
        "proxy_on_request_headers" => {
            callback("request_headers", &format!("{decide} {strike} (i32.const 0)"))
        }
        _ => {
            let name = export.trim_start_matches("proxy_on_");
            let fails = match name {
                "done" => {
                    format!("(func (export \"{export}\") (param i32) (result i32) {strike} (i32.const 1))")
                }
                "log" | "delete" => format!("(func (export \"{export}\") (param i32) {strike})"),
                "request_trailers" | "response_trailers" => {
                    trailers_callback(name, &format!("{strike} (i32.const 0)"))
                }
                _ => callback(name, &format!("{strike} (i32.const 0)")),
            };
            format!("{}{fails}", callback("request_headers", &format!("{decide} (i32.const 0)")))
        }
    };
    format!("(global $armed (mut i32) (i32.const 0)) {body}")
}

/// Answers with the body of the request and a trailer.
fn origin_with_trailers() -> Origin {
    Origin::start(|exchange| {
        exchange.read_body()?;
        let body = exchange.request.text().to_owned();
        let size = body.len();
        exchange.wire.send(format!(
            "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
             {size:x}\r\n{body}\r\n0\r\nx-sum: down\r\n\r\n"
        ))?;
        Ok(Next::Keep)
    })
}

fn request(trigger: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\ntrailer: x-sum\r\n{trigger}\
         transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-sum: up\r\n\r\n"
    )
}

fn every_phase(fault: &str) {
    let (_, kind, code) = FAULTS.into_iter().find(|(name, ..)| *name == fault).unwrap();
    for (export, phase, closed) in PHASES {
        for on_failure in ["closed", "open", "shadow"] {
            let case = format!("{fault} in {export}, {on_failure}");
            let origin = origin_with_trailers();
            let module = with(&failing_in(export, code));
            let more = format!(", memory: 1MiB, on_failure: {on_failure}");
            let gateway =
                Gateway::start_with(&chain(&origin, &[("sick", wasm(&module, &more))]), &ONE_WORKER);
            assert_eq!(gateway.ask(request("")).text(), "body", "{case}");
            let mut client = gateway.client();
            client.send(request("x-trigger: 1\r\n"));
            let answer = client.try_response().map(|answer| (answer.status(), answer.text().to_owned()));
            let good = (200, "body".to_owned());
            let refused = (503, "Refused by policy.\n".to_owned());
            match (on_failure, closed, answer) {
                ("open" | "shadow", _, answer) | (_, Closed::Answered, answer) => {
                    assert_eq!(answer.unwrap(), good, "{case}")
                }
                (_, Closed::RefusedOrCut, Err(_)) => {}
                (_, _, answer) => assert_eq!(answer.unwrap(), refused, "{case}"),
            }
            let counted = format!(r#"tollgate_filter_failures_total{{filter="sick",kind="{kind}"}}"#);
            gateway.wait_for_metric(&counted, 1.0);
            assert_eq!(gateway.ask(request("")).text(), "body", "{case}: the next exchange");
            let log = gateway.stop().access_log;
            let line = &log[1];
            match on_failure {
                "open" => assert_eq!((line.get("ended_by"), line.get("error")), (None, None), "{case}"),
                "shadow" => {
                    assert_eq!((line.get("ended_by"), line.get("error")), (None, None), "{case}");
                    let shadow = &line["shadow"][0];
                    let said = (&shadow["filter"], &shadow["phase"], &shadow["verdict"]);
                    assert_eq!(said, (&json!("sick"), &json!(phase), &json!("fail")), "{case}");
                }
                _ => {
                    let ended = &line["ended_by"];
                    assert_eq!(
                        (&ended["filter"], &ended["phase"]),
                        (&json!("sick"), &json!(phase)),
                        "{case}"
                    );
                    assert!(ended["reason"].as_str().unwrap().contains(export), "{case}: {ended}");
                }
            }
        }
    }
}

#[test]
fn a_trap_in_any_phase_is_answered_at_once() {
    every_phase("trap");
}

#[test]
fn a_spent_budget_in_any_phase_is_answered_at_once() {
    every_phase("budget");
}

#[test]
fn spent_memory_in_any_phase_is_answered_at_once() {
    every_phase("memory");
}

/// Every other stream cannot even be created.
#[test]
fn a_stream_that_cannot_be_created_is_answered_at_once() {
    for (name, kind, fault) in FAULTS {
        let module = crate::support::guest::wat(&format!(
            r#"(module (memory (export "memory") 4) (global $created (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 65536))
  (func (export "proxy_on_context_create") (param i32 i32)
    (global.set $created (i32.add (global.get $created) (i32.const 1)))
    (if (i32.gt_u (global.get $created) (i32.const 2)) (then {fault}))))"#
        ));
        for (on_failure, status) in [("closed", 503), ("open", 200)] {
            let origin = Origin::echo();
            let filter = wasm(&module, &format!(", memory: 1MiB, on_failure: {on_failure}"));
            let gateway = Gateway::start_with(&chain(&origin, &[("sick", filter)]), &ONE_WORKER);
            for expected in [200, status, 200, status] {
                assert_eq!(gateway.get("/").status(), expected, "{name}, {on_failure}");
            }
            let counted = format!(r#"tollgate_filter_failures_total{{filter="sick",kind="{kind}"}}"#);
            gateway.wait_for_metric(&counted, 2.0);
        }
    }
}

/// The instance that replaces a lost one fails to start, in either callback: no exchange waits for it.
#[test]
fn a_guest_that_does_not_start_again_is_answered_at_once() {
    for (_, _, fault) in FAULTS {
        for export in ["proxy_on_vm_start", "proxy_on_configure"] {
            for (on_failure, status) in [("closed", 503), ("open", 200)] {
                let origin = Origin::echo();
                // The first start leaves a note for the others.
                let fields = format!(
                    r#"(func (export "{export}") (param i32 i32) (result i32)
    (if (i32.eqz (call $shared (i32.const 16) (i32.const 9) (i32.const 0) (i32.const 4) (i32.const 8)))
      (then {fault}))
    (drop (call $share (i32.const 16) (i32.const 9) (i32.const 16) (i32.const 9) (i32.const 0)))
    (i32.const 1)) {}"#,
                    callback("request_headers", "(if (call $trigger) (then unreachable)) (i32.const 0)")
                );
                let more = format!(", memory: 1MiB, start_budget: 20ms, on_failure: {on_failure}");
                let filter = wasm(&with(&fields), &more);
                let gateway = Gateway::start_with(&chain(&origin, &[("sick", filter)]), &ONE_WORKER);
                assert_eq!(gateway.get("/").status(), 200);
                for _ in 0..3 {
                    assert_eq!(
                        gateway.ask(get("/", &[("x-trigger", "1")])).status(),
                        status,
                        "{export} {fault}"
                    );
                }
                assert_eq!(gateway.get("/").status(), status, "{export} {fault}");
                wait_for("the reason in the status", || {
                    let filter = gateway.status()["filters"][0].clone();
                    filter["last_failure"]["reason"]
                        .as_str()
                        .filter(|reason| reason.contains(export))
                        .map(drop)
                });
            }
        }
    }
}

/// An instance is lost to a timer, or to another exchange, while it holds exchanges back.
#[test]
fn what_a_lost_instance_held_is_answered_at_once() {
    for (name, _, fault) in FAULTS {
        for phase in ["request_headers", "request_body", "response_headers", "response_body"] {
            for (on_failure, by_timer) in
                [("closed", true), ("open", true), ("closed", false), ("open", false)]
            {
                let case = format!("{name}, held in {phase}, {on_failure}, by a timer: {by_timer}");
                let origin = Origin::echo();
                let strike = match by_timer {
                    true => "(global.set $armed (i32.const 1))".to_owned(),
                    false => fault.to_owned(),
                };
                let held = match phase {
                    "request_headers" => "(i32.const 1)",
                    _ => "(i32.const 0)",
                };
                let fields = format!(
                    r#"(global $armed (mut i32) (i32.const 0))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $tick (i32.const 10))) (i32.const 1))
  (func (export "proxy_on_tick") (param i32) (if (global.get $armed) (then {fault})))
  {}{}"#,
                    callback("request_headers", &format!("(if (call $trigger) (then {strike})) {held}")),
                    match phase {
                        "request_headers" => String::new(),
                        _ => callback(phase, "(i32.const 1)"),
                    }
                );
                let filter = wasm(&with(&fields), &format!(", memory: 1MiB, on_failure: {on_failure}"));
                let gateway = Gateway::start_with(&chain(&origin, &[("hold", filter)]), &ONE_WORKER);
                let mut waiting = gateway.client();
                waiting.send(post("/", &[], b"body"));
                let paused = format!(
                    r#"tollgate_filter_calls_total{{filter="hold",phase="{phase}",outcome="pause"}}"#
                );
                wait_for("the pause", || gateway.metric(&paused).filter(|calls| *calls >= 1.0));
                let mut other = gateway.client();
                other.send(get("/", &[("x-trigger", "1")]));
                let answer = waiting.try_response().map(|answer| (answer.status(), answer.body));
                match (on_failure, answer) {
                    ("open", answer) => assert_eq!(answer.unwrap(), (200, b"body".to_vec()), "{case}"),
                    ("closed", Err(_)) => assert_eq!(phase, "response_body", "{case}"),
                    (_, answer) => assert_eq!(answer.unwrap().0, 503, "{case}"),
                }
            }
        }
    }
}

/// Two filters share an instance. One traps until it rests; the other goes on all the while.
#[test]
fn a_filter_rests_and_its_neighbour_does_not() {
    // A filter with a configuration is the sick one; a stream knows its filter by its parent.
    let fields = format!(
        r#"(global $sick (mut i32) (i32.const -1))
  (func (export "proxy_on_configure") (param $id i32) (param $size i32) (result i32)
    (if (local.get $size) (then (global.set $sick (local.get $id)))) (i32.const 1))
  {}"#,
        callback(
            "request_headers",
            "(if (i32.eq (global.get $parent) (global.get $sick)) (then (unreachable))) (i32.const 0)"
        )
    );
    let module = with(&fields);
    let origin = Origin::echo();
    let upstream = crate::support::upstream(&origin);
    let gateway = Gateway::start_with(
        &format!(
            "{upstream}filters:\n  well: {}\n  sick: {}\nroutes:\n  - {{ name: sick, match: {{ path: {{ exact: /sick }} }}, filters: [sick], forward: {{ upstream: u }} }}\n  - {{ name: well, filters: [well], forward: {{ upstream: u }} }}\n",
            wasm(&module, ""),
            wasm(&module, ", config: sick, circuit: { failures: 3, rest: 10s }"),
        ),
        &ONE_WORKER,
    );
    for round in 0..20 {
        assert_eq!(gateway.get("/sick").status(), 503, "{round}");
        assert_eq!(gateway.get("/").status(), 200, "{round}");
    }
    let failures = |kind: &str| {
        gateway.metric(&format!(r#"tollgate_filter_failures_total{{filter="sick",kind="{kind}"}}"#))
    };
    assert_eq!((failures("trap"), failures("circuit_open")), (Some(3.0), Some(17.0)));
    let status = wait_for("the open circuit", || {
        Some(gateway.status()).filter(|status| status["filters"][1]["state"] == "circuit_open")
    });
    assert_eq!(
        (&status["filters"][0]["state"], &status["filters"][0]["failures"]),
        (&json!("ok"), &json!(0))
    );
}

/// After a rest one exchange decides: a good one closes the circuit, and the filter runs as ever.
#[test]
fn a_circuit_closes_when_a_probe_goes_well() {
    let origin = Origin::echo();
    let module = crate::guests::triggered("request_headers", "unreachable");
    let filter = wasm(&module, ", circuit: { failures: 2, rest: 1ms, longest_rest: 50ms }");
    let gateway = Gateway::start_with(&chain(&origin, &[("sick", filter)]), &ONE_WORKER);
    let open = r#"tollgate_filter_failures_total{filter="sick",kind="circuit_open"}"#;
    wait_for("the open circuit", || {
        assert_eq!(gateway.ask(get("/", &[("x-trigger", "1")])).status(), 503);
        gateway.metric(open).filter(|refused| *refused >= 1.0)
    });
    wait_for("a probe", || (gateway.get("/").status() == 200).then_some(()));
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    wait_for("the closed circuit", || (gateway.status()["filters"][0]["state"] == "ok").then_some(()));
}

/// The timer of the instance that replaces a lost one goes off; that of the lost one does not.
#[test]
fn timers_follow_the_instance() {
    let fields = format!(
        r#"(global $waiting (mut i32) (i32.const 0))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $tick (i32.const 10))) (i32.const 1))
  (func (export "proxy_on_tick") (param i32)
    (if (global.get $waiting) (then
      (drop (call $effective (global.get $waiting)))
      (drop (call $continue (i32.const 0)))
      (global.set $waiting (i32.const 0)))))
  {}"#,
        callback(
            "request_headers",
            "(if (call $trigger) (then unreachable)) (global.set $waiting (local.get $id)) (i32.const 1)"
        )
    );
    let origin = Origin::echo();
    let filter = wasm(&with(&fields), "");
    let gateway = Gateway::start_with(&chain(&origin, &[("wait", filter)]), &ONE_WORKER);
    for _ in 0..5 {
        assert_eq!(gateway.get("/").status(), 200);
        assert_eq!(gateway.ask(get("/", &[("x-trigger", "1")])).status(), 503);
    }
    let failures = gateway.status()["filters"][0]["failures"].clone();
    assert_eq!(failures, 5);
}
