//! How calls are counted.

use crate::guests::{Ask, answered, asking, background};
use crate::support::{Gateway, Origin, get, refusing_address, response, wait_for};
use crate::{begin, policy, start};

fn calls(outcome: &str) -> String {
    format!("tollgate_filter_side_calls_total{{filter=\"ask\",kind=\"http\",outcome=\"{outcome}\"}}")
}

const ACTIVE: &str = r#"tollgate_filter_side_calls_active{filter="ask",kind="http"}"#;
const TIMED: &str = r#"tollgate_filter_side_call_seconds_count{filter="ask",kind="http"}"#;

/// One call that ends so, and of which nothing else is counted.
fn counted(gateway: &Gateway, outcome: &str) {
    assert_eq!(gateway.metric(&calls(outcome)), None, "nothing is called before");
    gateway.get("/");
    gateway.wait_for_metric(&calls(outcome), 1.0);
    for other in ["answered", "connect", "reset", "timeout", "too_large", "cancelled", "refused"] {
        let expected = if other == outcome { 1.0 } else { 0.0 };
        assert_eq!(gateway.metric(&calls(other)), Some(expected), "{other}");
    }
    assert_eq!(gateway.metric(ACTIVE), Some(0.0));
    assert_eq!(gateway.metric(TIMED), Some(if outcome == "refused" { 0.0 } else { 1.0 }));
}

#[test]
fn each_call_is_counted_by_its_outcome() {
    let (origin, auth) = (Origin::echo(), Origin::answering(response(200, &[], b"ok")));
    let silent = Origin::start(|exchange| exchange.wait_until_closed());
    let nonsense = Origin::answering("SSH-2.0-nothing\r\n");
    let (refusing, _held) = refusing_address();
    let [auth, silent, nonsense] = [auth, silent, nonsense].map(|server| server.address().to_string());
    let plain = Ask::default();
    let module = asking(&plain, 0);
    let serve = |server: &str, more: &str| start(&policy(&module, &origin, server, more));
    counted(&serve(&auth, ""), "answered");
    counted(&serve(&refusing.to_string(), ""), "connect");
    counted(&serve(&nonsense, ""), "reset");
    counted(&serve(&silent, ", calls: { timeout: 50ms }"), "timeout");
    counted(&serve(&auth, ", calls: { response_bytes: 1B }"), "too_large");
    let unknown = asking(&Ask { upstream: "nobody", ..plain }, 0);
    counted(&start(&policy(&unknown, &origin, &auth, "")), "refused");
    let headless = asking(&Ask { headers: &[(":method", "GET")], ..Ask::default() }, 0);
    counted(&start(&policy(&headless, &origin, &auth, "")), "refused");
}

/// Calls go with the VM: a trap in one answer cuts the others.
#[test]
fn calls_that_are_cut_are_counted() {
    let auth = Origin::start(|exchange| match exchange.connection {
        0 => exchange.wait_until_closed(),
        _ => {
            exchange.wire.send(response(200, &[], b"ok"))?;
            Ok(crate::support::Next::Keep)
        }
    });
    let gateway = begin(&answered("unreachable"), &Origin::echo(), &auth);
    let mut held = gateway.client();
    held.send(get("/", &[]));
    gateway.wait_for_metric(ACTIVE, 1.0);
    assert_eq!(gateway.get("/").status(), 503);
    assert_eq!(held.response().status(), 503);
    gateway.wait_for_metric(&calls("cancelled"), 1.0);
    assert_eq!(gateway.metric(&calls("answered")), Some(1.0));
    gateway.wait_for_metric(ACTIVE, 0.0);
    let failed = r#"tollgate_filter_calls_total{filter="ask",phase="call_response",outcome="fail"}"#;
    assert_eq!(gateway.metric(failed), Some(1.0));
    let traps = r#"tollgate_filter_failures_total{filter="ask",kind="trap"}"#;
    assert_eq!(gateway.metric(traps), Some(1.0), "once, though two exchanges ended by it");
}

#[test]
fn calls_of_no_exchange_are_counted() {
    let configure = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $once) (i32.const 1))"#;
    let auth = Origin::answering(response(200, &[], b"keys"));
    let gateway = begin(&background(configure), &Origin::echo(), &auth);
    let answered = r#"tollgate_filter_calls_total{filter="ask",phase="call_response",outcome="continue"}"#;
    wait_for("the answer", || (gateway.metric(answered) == Some(1.0)).then_some(()));
    assert_eq!(gateway.metric(&calls("answered")), Some(1.0));
}
