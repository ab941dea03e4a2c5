//! Calls that outlive what asked for them: streams, generations, VMs.

use crate::guests::{Ask, asking};
use crate::support::{Gate, Gateway, Next, Origin, get, response, wait_for};
use crate::{begin, policy};

/// A server that answers `name` once the gate is open.
fn held(gate: &Gate, name: &'static str) -> Origin {
    let gate = gate.clone();
    Origin::start(move |exchange| {
        gate.pass();
        exchange.wire.send(response(200, &[], name.as_bytes()))?;
        Ok(Next::Keep)
    })
}

fn swap(gateway: &Gateway, policy: &str, generation: u64) {
    gateway.write_policy(policy);
    let outcome = gateway.reload();
    assert_eq!(outcome.status(), 200, "{}", outcome.text());
    assert_eq!(gateway.status()["generation"]["number"], generation);
}

/// The answer comes to the plugin, which finds that the stream is gone.
#[test]
fn the_client_goes_away() {
    let (origin, gate) = (Origin::echo(), Gate::new());
    let auth = held(&gate, "late");
    let gateway = begin(&asking(&Ask::default(), 0), &origin, &auth);
    let mut client = gateway.client();
    client.send(get("/", &[]));
    auth.wait_for_requests(1);
    drop(client);
    gateway.wait_for_access_log(1);
    gate.open();
    // The one connection is back in its pool when the answer was read.
    wait_for("the answer to be read", || {
        assert_eq!(gateway.get("/").status(), 200);
        (auth.connections() < auth.requests().len()).then_some(())
    });
    assert_eq!(
        gateway.metric(r#"tollgate_filter_failures_total{filter="ask",kind="trap"}"#).unwrap_or(0.0),
        0.0
    );
    gateway.stop();
}

/// A filter that is the same keeps its calls over a reload; new ones go where the new policy says.
#[test]
fn a_reload_comes_in_between() {
    let (origin, gate) = (Origin::echo(), Gate::new());
    let (old, new) = (held(&gate, "old"), Origin::answering(response(200, &[], b"new")));
    let module = asking(&Ask::default(), 0);
    let gateway = begin(&module, &origin, &old);
    let mut client = gateway.client();
    client.send(get("/", &[]));
    old.wait_for_requests(1);
    swap(&gateway, &policy(&module, &origin, &new.address().to_string(), ""), 2);
    assert_eq!(gateway.get("/").status(), 200);
    gate.open();
    assert_eq!(client.response().status(), 200);
    let answers: Vec<_> =
        origin.requests().iter().map(|request| request.header("x-answer").unwrap().to_owned()).collect();
    assert_eq!(answers, ["new", "old"]);
    wait_for("the old generation to be freed", || {
        (gateway.status()["generations_retiring"] == 0).then_some(())
    });
    gateway.stop();
}

/// A filter that changes ends with its last exchange; the exchange waits for its call until then.
#[test]
fn a_filter_is_replaced_while_its_call_is_under_way() {
    let (origin, gate) = (Origin::echo(), Gate::new());
    let auth = held(&gate, "first");
    let module = asking(&Ask::default(), 0);
    let gateway = begin(&module, &origin, &auth);
    let mut client = gateway.client();
    client.send(get("/", &[]));
    auth.wait_for_requests(1);
    let address = auth.address().to_string();
    swap(&gateway, &policy(&module, &origin, &address, ", config: other"), 2);
    gate.open();
    assert_eq!(client.response().status(), 200);
    assert_eq!(origin.requests()[0].header("x-answer"), Some("first"));
    gateway.stop();
}

/// With its filter gone, nobody waits for a call any more: it is cut.
#[test]
fn a_call_ends_with_its_filter() {
    let (origin, gate) = (Origin::echo(), Gate::new());
    let auth = held(&gate, "never");
    let gateway = begin(&asking(&Ask::default(), 0), &origin, &auth);
    let mut client = gateway.client();
    client.send(get("/", &[]));
    auth.wait_for_requests(1);
    drop(client);
    gateway.wait_for_access_log(1);
    let address = origin.address();
    swap(
        &gateway,
        &format!(
            "upstreams: {{ u: {{ endpoints: ['{address}'] }} }}\nroutes: [{{ forward: {{ upstream: u }} }}]"
        ),
        2,
    );
    assert_eq!(gateway.get("/").status(), 200);
    // The server still holds its answer: it is the gateway that has closed.
    gate.open();
    auth.wait_until_unconnected();
    gateway.stop();
}
