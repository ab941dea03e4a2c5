//! Figures of the host: calls, callbacks, failures, what guests take and keep.

use crate::guests::{always, callback, later, with};
use crate::support::{Gateway, Origin, get, response, wait_for};
use crate::{policy, start};

/// The value of a series of the filter `seen`.
fn of(family: &str, labels: &str) -> String {
    let comma = if labels.is_empty() { "" } else { "," };
    format!("tollgate_{family}{{filter=\"seen\"{comma}{labels}}}")
}

#[test]
fn host_calls_are_counted_by_function() {
    let add = "(drop (call $add (i32.const 0) (i32.const 64) (i32.const 6) (i32.const 64) (i32.const 6)))";
    let module = with(&format!(
        r#"{}{}(func (export "proxy_on_log") (param i32)
          (drop (call $log (i32.const 0) (i32.const 32) (i32.const 6))))"#,
        callback("request_headers", &format!("{add}{add}(i32.const 0)")),
        callback("response_headers", "(drop (call $effective (local.get $id))) (i32.const 0)"),
    ));
    let gateway = start(&policy(&module, &Origin::answering(response(200, &[], b"ok")), ""));
    let mut client = gateway.client();
    (0..5).for_each(|_| assert_eq!(client.ask(get("/", &[])).status(), 200));
    for (function, calls) in
        [("proxy_add_header_map_value", 10.0), ("proxy_set_effective_context", 5.0), ("proxy_log", 5.0)]
    {
        gateway.wait_for_metric(&of("filter_host_calls_total", &format!("function=\"{function}\"")), calls);
    }
    let never = of("filter_host_calls_total", "function=\"proxy_done\"");
    assert_eq!(gateway.metric(&never), None);
}

/// What a VM had counted is not lost with it.
#[test]
fn host_calls_before_a_trap_are_counted() {
    let code = "(call $forge) unreachable";
    let gateway = start(&policy(&always("request_headers", code), &Origin::echo(), ""));
    (0..3).for_each(|_| assert_eq!(gateway.get("/").status(), 503));
    gateway.wait_for_metric(&of("filter_host_calls_total", "function=\"proxy_add_header_map_value\""), 3.0);
    gateway.wait_for_metric(&of("filter_failures_total", "kind=\"trap\""), 3.0);
    gateway.wait_for_metric(&of("filter_restarts_total", ""), 2.0);
}

#[test]
fn every_callback_has_its_calls_and_its_histogram() {
    let module = with(&format!(
        r#"{}{}{}{}
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $tick (i32.const 10))) (i32.const 1))
  (func (export "proxy_on_tick") (param i32))"#,
        callback("request_headers", "(i32.const 0)"),
        callback("request_body", "(i32.const 0)"),
        callback("response_headers", "(i32.const 0)"),
        callback("response_body", "(i32.const 0)"),
    ));
    let gateway = start(&policy(&module, &Origin::echo(), ""));
    let mut client = gateway.client();
    for _ in 0..32 {
        assert_eq!(client.ask(crate::support::post("/", &[], b"body")).status(), 200);
    }
    for phase in ["request_headers", "response_headers", "done"] {
        let calls = of("filter_calls_total", &format!("phase=\"{phase}\",outcome=\"continue\""));
        gateway.wait_for_metric(&calls, 32.0);
        assert_eq!(
            gateway.metric(&of("filter_duration_seconds_count", &format!("phase=\"{phase}\""))),
            Some(32.0)
        );
    }
    for phase in ["request_body", "response_body", "tick"] {
        let series = of("filter_duration_seconds_count", &format!("phase=\"{phase}\""));
        wait_for(phase, || gateway.metric(&series).filter(|calls| *calls > 0.0));
    }
}

#[test]
fn failures_outside_exchanges_are_counted() {
    let module = later("request_headers", 1, "unreachable");
    let gateway = start(&policy(&module, &Origin::echo(), ""));
    assert_eq!(gateway.get("/").status(), 503);
    gateway.wait_for_metric(&of("filter_failures_total", "kind=\"trap\""), 1.0);
    gateway.wait_for_metric(&of("filter_calls_total", "phase=\"tick\",outcome=\"fail\""), 1.0);
}

#[test]
fn a_spent_budget_and_a_closed_stream_are_told_apart() {
    let endless = always("request_headers", "(loop (br 0)) (i32.const 0)");
    let gateway = start(&policy(&endless, &Origin::echo(), ", budget: 1ms"));
    assert_eq!(gateway.get("/").status(), 503);
    gateway.wait_for_metric(&of("filter_failures_total", "kind=\"budget\""), 1.0);
    assert_eq!(gateway.metric(&of("filter_failures_total", "kind=\"trap\"")), Some(0.0));

    let closer = always("request_headers", "(drop (call $close (i32.const 1))) (i32.const 0)");
    let gateway = start(&policy(&closer, &Origin::echo(), ""));
    let mut client = gateway.client();
    client.send(get("/", &[]));
    assert!(client.try_response().is_err());
    gateway.wait_for_metric(&of("filter_calls_total", "phase=\"request_headers\",outcome=\"close\""), 1.0);
}

#[test]
fn memory_and_contexts_are_shown_while_they_last() {
    let origin = Origin::start(|exchange| exchange.wait_until_closed());
    let grow = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (memory.grow (i32.const 6))) (i32.const 1))"#;
    let module = with(&format!("{grow}{}", callback("request_headers", "(i32.const 0)")));
    let gateway = start(&policy(&module, &origin, ""));
    let page = 65_536.0;
    gateway.wait_for_metric(&of("filter_memory_bytes", ""), 10.0 * page);
    gateway.wait_for_metric("tollgate_wasm_memory_bytes", 10.0 * page);
    gateway.wait_for_metric("tollgate_wasm_vms", 1.0);
    gateway.wait_for_metric(&of("filter_contexts", ""), 1.0);
    let mut clients: Vec<_> = (0..3).map(|_| gateway.client()).collect();
    clients.iter_mut().for_each(|client| client.send(get("/", &[])));
    gateway.wait_for_metric(&of("filter_contexts", ""), 4.0);
    drop(clients);
    gateway.wait_for_metric(&of("filter_contexts", ""), 1.0);
}

#[test]
fn filters_that_share_a_vm_have_figures_of_their_own() {
    let module = always("request_headers", "(call $forge) (i32.const 0)");
    let filter = format!("{{ wasm: {{ module: '{}', on_failure: open }} }}", module.display());
    let origin = Origin::echo();
    let gateway = start(&format!(
        "{}filters: {{ one: {filter}, two: {filter} }}\nroutes:\n\
         - {{ name: one, match: {{ path: {{ exact: /one }} }}, filters: [one], forward: {{ upstream: u }} }}\n\
         - {{ name: both, filters: [one, two], forward: {{ upstream: u }} }}\n",
        crate::support::upstream(&origin)
    ));
    assert_eq!((gateway.get("/one").status(), gateway.get("/").status()), (200, 200));
    let calls = |name| {
        format!(
            "tollgate_filter_host_calls_total{{filter=\"{name}\",function=\"proxy_add_header_map_value\"}}"
        )
    };
    gateway.wait_for_metric(&calls("one"), 2.0);
    gateway.wait_for_metric(&calls("two"), 1.0);
    gateway.wait_for_metric("tollgate_wasm_vms", 1.0);
}

/// Of all workers together, and gone with the policy that wanted them.
#[test]
fn what_guests_keep_is_measured() {
    let module = with(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
    (if (call $share (i32.const 32) (i32.const 6) (i32.const 48) (i32.const 8) (i32.const 0))
      (then unreachable))
    (if (call $register (i32.const 32) (i32.const 6) (i32.const 8)) (then unreachable))
    (if (call $enqueue (i32.load (i32.const 8)) (i32.const 48) (i32.const 8)) (then unreachable))
    (i32.const 1))"#,
    );
    let origin = Origin::echo();
    let gateway = Gateway::start(&policy(&module, &origin, ""));
    let kept = [
        ("shared_data_keys", 1.0),
        ("shared_data_bytes", 14.0),
        ("shared_queues", 1.0),
        ("shared_queue_items", 2.0),
        ("shared_queue_bytes", 16.0),
    ];
    for (name, value) in kept {
        gateway.wait_for_metric(&format!("tollgate_{name}"), value);
    }
    let plain = format!("{}{}", crate::support::upstream(&origin), crate::support::FORWARD_ALL);
    gateway.write_policy(&plain);
    gateway.reload();
    for (name, _) in kept {
        gateway.wait_for_metric(&format!("tollgate_{name}"), 0.0);
    }
    wait_for("the series to go", || gateway.metric(&of("filter_memory_bytes", "")).is_none().then_some(()));
}
