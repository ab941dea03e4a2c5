//! Guests that do not end: stopped by their budget, and at last not called for a while.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::guests::{always, triggered};
use crate::support::{Gateway, Options, Origin, get, upstream, wait_for};
use crate::{chain, wasm};

const LOOP: &str = "(loop $l (br $l)) (i32.const 0)";
const ONE_WORKER: Options = Options { workers: 1, log: "info" };

#[test]
fn a_loop_is_stopped_and_told() {
    let origin = Origin::echo();
    let gateway =
        Gateway::start(&chain(&origin, &[("loop", wasm(&always("request_headers", LOOP), ", budget: 5ms"))]));
    assert_eq!(gateway.get("/").status(), 503);
    gateway.wait_for_metric(r#"tollgate_filter_failures_total{filter="loop",kind="budget"}"#, 1.0);
    let log = gateway.stop().access_log;
    assert_eq!((&log[0]["error"], &log[0]["ended_by"]["filter"]), (&json!("filter_failed"), &json!("loop")));
}

/// While one client asks for nothing but the loop, another one is answered on the same worker.
#[test]
fn other_routes_go_on() {
    let origin = Origin::echo();
    let filter = wasm(&always("request_headers", LOOP), "");
    let gateway = Gateway::start_with(
        &format!(
            "{}filters: {{ loop: {filter} }}\nroutes:\n\
             - {{ match: {{ path: {{ prefix: /loop }} }}, filters: [loop], forward: {{ upstream: u }} }}\n\
             - {{ forward: {{ upstream: u }} }}\n",
            upstream(&origin)
        ),
        &ONE_WORKER,
    );
    let done = AtomicBool::new(false);
    let looped = std::thread::scope(|scope| {
        let looping = scope.spawn(|| {
            let (mut client, mut asked) = (gateway.client(), 0);
            while !done.load(Ordering::Relaxed) || asked < 10 {
                assert_eq!(client.ask(get("/loop", &[])).status(), 503);
                asked += 1;
            }
            asked
        });
        let mut client = gateway.client();
        for _ in 0..200 {
            assert_eq!(client.ask(get("/other", &[])).status(), 200);
        }
        done.store(true, Ordering::Relaxed);
        looping.join().unwrap()
    });
    let log = gateway.stop().access_log;
    assert_eq!(log.len(), looped + 200);
    assert_eq!(origin.requests().len(), 200);
}

/// A guest that costs more than it is worth is not called for a while, then tried again and trusted.
#[test]
fn a_guest_that_fails_again_and_again_rests_and_recovers() {
    let origin = Origin::echo();
    let filter = wasm(&triggered("request_headers", LOOP), ", budget: 1ms");
    let gateway = Gateway::start_with(&chain(&origin, &[("sick", filter)]), &ONE_WORKER);
    let mut client = gateway.client();
    let series = r#"tollgate_filter_failures_total{filter="sick",kind="circuit_open"}"#;
    // Rests grow with each failure, so one of these comes in the middle of one.
    wait_for("a rest", || {
        assert_eq!(client.ask(get("/", &[("x-trigger", "1")])).status(), 503);
        gateway.metric(series).filter(|refused| *refused >= 1.0)
    });
    wait_for("the end of the rest", || (client.ask(get("/", &[])).status() == 200).then_some(()));
    for _ in 0..20 {
        assert_eq!(client.ask(get("/", &[])).status(), 200);
    }
    let log = gateway.stop().access_log;
    assert!(log.iter().any(|line| line["ended_by"]["reason"] == "the filter rests after failures"));
}
