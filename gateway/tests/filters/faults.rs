//! Guests that trap: their exchange ends or goes on by `on_failure`, and nobody else's does.

use serde_json::{Value, json};

use crate::guests::{BODIES, HEADERS, always, triggered, with};
use crate::support::{Gate, Gateway, Next, Options, Origin, get, post, response, wait_for};
use crate::{chain, wasm};

/// One worker, so that all requests meet the same instance.
const ONE_WORKER: Options = Options { workers: 1, log: "info" };

#[test]
fn a_trap_ends_the_exchange_if_the_filter_is_closed() {
    for phase in HEADERS.into_iter().chain(BODIES) {
        let origin = Origin::echo();
        let trap = wasm(&always(phase, "unreachable"), "");
        let gateway = Gateway::start(&chain(&origin, &[("trap", trap)]));
        let mut client = gateway.client();
        client.send(post("/", &[], b"body"));
        match client.try_response() {
            Ok(answer) => {
                assert_eq!((answer.status(), answer.text()), (503, "Refused by policy.\n"), "{phase}")
            }
            // The head was gone: only cutting is left.
            Err(_) => assert_eq!(phase, "response_body"),
        }
        let failures = r#"tollgate_filter_failures_total{filter="trap",kind="trap"}"#;
        gateway.wait_for_metric(failures, 1.0);
        let log = gateway.stop().access_log;
        assert_eq!((log.len(), &log[0]["error"]), (1, &json!("filter_failed")), "{phase}");
        assert_eq!(
            (&log[0]["ended_by"]["filter"], &log[0]["ended_by"]["phase"]),
            (&json!("trap"), &json!(phase))
        );
    }
}

#[test]
fn a_trap_changes_nothing_if_the_filter_is_open() {
    for phase in HEADERS.into_iter().chain(BODIES) {
        let origin = Origin::echo();
        let trap = wasm(&always(phase, "unreachable"), ", on_failure: open");
        let gateway = Gateway::start(&chain(&origin, &[("trap", trap)]));
        let body = vec![b'x'; 100_000];
        for _ in 0..8 {
            let answer = gateway.ask(post("/", &[], &body));
            assert!(answer.status() == 200 && answer.body == body, "{phase}: {}", answer.start);
        }
        let log = gateway.stop().access_log;
        assert!(
            log.iter().all(|line| line.get("error").is_none() && line.get("ended_by").is_none()),
            "{log:?}"
        );
    }
}

/// What an open filter held back before it trapped goes on with the rest.
#[test]
fn nothing_held_is_lost_with_an_open_filter() {
    for phase in BODIES {
        let origin = Origin::echo();
        let code = "(if (result i32) (local.get $end) (then unreachable) (else (i32.const 1)))";
        let trap = wasm(&always(phase, code), ", on_failure: open");
        let gateway = Gateway::start(&chain(&origin, &[("trap", trap)]));
        let body: Vec<u8> = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
        assert!(gateway.ask(post("/", &[], &body)).body == body, "{phase}");
    }
}

/// A tenth of the requests traps; the others, of the same instance, are answered.
#[test]
fn the_neighbours_of_a_trap_go_on() {
    let origin = Origin::echo();
    let trap = wasm(&triggered("request_headers", "unreachable"), "");
    let gateway = Gateway::start_with(&chain(&origin, &[("trap", trap)]), &ONE_WORKER);
    let mut client = gateway.client();
    for number in 0..100 {
        let (fields, status): (&[_], _) = match number % 10 {
            3 => (&[("x-trigger", "1")], 503),
            _ => (&[], 200),
        };
        assert_eq!(client.ask(get("/", fields)).status(), status, "request {number}");
    }
    assert_eq!(origin.requests().len(), 90);
}

/// Requests that wait for the upstream while their instance is lost to a neighbour are answered.
#[test]
fn an_exchange_outlives_its_instance() {
    let answer = Gate::new();
    let origin = Origin::start({
        let answer = answer.clone();
        move |exchange| {
            exchange.read_body()?;
            answer.pass();
            exchange.wire.send(response(200, &[], b"late"))?;
            Ok(Next::Keep)
        }
    });
    let trap = wasm(&triggered("request_headers", "unreachable"), "");
    let gateway = Gateway::start_with(&chain(&origin, &[("trap", trap)]), &ONE_WORKER);
    let mut waiting = gateway.client();
    waiting.send(get("/", &[]));
    origin.wait_for_requests(1);
    assert_eq!(gateway.ask(get("/", &[("x-trigger", "1")])).status(), 503);
    answer.open();
    assert_eq!(waiting.response().text(), "late");
}

/// Requests that their instance holds back when it is lost do not wait for ever.
#[test]
fn a_held_exchange_ends_with_its_instance() {
    for phase in ["request_headers", "request_body", "response_headers", "response_body"] {
        let origin = Origin::echo();
        // Bodies end in a pause; a trap in the head of another exchange takes the instance away.
        let trap = crate::guests::callback(
            "request_headers",
            &format!(
                "(if (call $trigger) (then unreachable)) (i32.const {})",
                u32::from(phase == "request_headers")
            ),
        );
        let hold = match phase {
            "request_headers" => String::new(),
            _ => crate::guests::callback(phase, "(i32.const 1)"),
        };
        let filter = wasm(&with(&format!("{trap}{hold}")), "");
        let gateway = Gateway::start_with(&chain(&origin, &[("hold", filter)]), &ONE_WORKER);
        let mut held = gateway.client();
        held.send(post("/", &[], b"body"));
        let calls =
            format!(r#"tollgate_filter_calls_total{{filter="hold",phase="{phase}",outcome="pause"}}"#);
        wait_for("the pause", || gateway.metric(&calls).filter(|calls| *calls >= 1.0));
        assert_eq!(gateway.ask(get("/", &[("x-trigger", "1")])).status(), 503);
        match held.try_response() {
            Ok(answer) => assert_eq!(answer.status(), 503, "{phase}"),
            Err(_) => assert_eq!(phase, "response_body"),
        }
    }
}

#[test]
fn memory_has_a_ceiling() {
    let origin = Origin::echo();
    let grow = |pages: u32| {
        format!(
            "(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then (call $deny (i32.const 507))
      (return (i32.const 1)))) (i32.const 0)"
        )
    };
    // Four pages to begin with, eight at most.
    for (pages, status) in [(4, 200), (5, 507), (60_000, 507)] {
        let filter = wasm(&always("request_headers", &grow(pages)), ", memory: 512KiB");
        let gateway = Gateway::start(&chain(&origin, &[("grow", filter)]));
        assert_eq!(gateway.get("/").status(), status, "{pages} pages");
    }
}

/// What a filter failed at is in status and metrics.
#[test]
fn failures_are_shown() {
    let origin = Origin::echo();
    let trap = wasm(&triggered("request_headers", "unreachable"), "");
    let gateway = Gateway::start_with(&chain(&origin, &[("trap", trap)]), &ONE_WORKER);
    gateway.get("/");
    let filter = |status: &Value| status["filters"][0].clone();
    let expected = json!({
        "name": "trap", "kind": "wasm", "state": "ok", "routes": 1, "failures": 0, "restarts": 0, "circuits_open": 0
    });
    assert_eq!(filter(&gateway.status()), expected);
    wait_for("the open circuit in the status", || {
        assert_eq!(gateway.ask(get("/", &[("x-trigger", "1")])).status(), 503);
        (filter(&gateway.status())["state"] == "circuit_open").then_some(())
    });
    let filter = filter(&gateway.status());
    assert!(
        filter["failures"].as_u64().unwrap() >= 32 && filter["restarts"].as_u64().unwrap() >= 31,
        "{filter}"
    );
    assert_eq!(filter["circuits_open"], 1);
    assert!(
        filter["retry_at"].as_str().unwrap() > filter["last_failure"]["at"].as_str().unwrap(),
        "{filter}"
    );
    let reason = filter["last_failure"]["reason"].as_str().unwrap();
    assert!(reason.contains("unreachable"), "{reason}");
    let restarts = gateway.metric(r#"tollgate_filter_restarts_total{filter="trap"}"#);
    assert!(restarts.is_some_and(|restarts| restarts >= 3.0), "{restarts:?}");
}
