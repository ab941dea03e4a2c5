//! What a reload leaves alone: buckets, VMs, upstream connections, and exchanges that have begun.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Client, Gate, Gateway, Next, Options, Origin, get, guest, response, wait_for};

const PROBE: &str = include_str!("fixtures/modules/probe.wat");

/// With one worker, so that there is one VM and one pool of each kind.
fn start(policy: &str) -> Gateway {
    Gateway::start_with(policy, &Options { workers: 1, ..Options::default() })
}

/// Puts a policy in force and checks its number.
fn swap(gateway: &Gateway, policy: &str, generation: u64) {
    gateway.write_policy(policy);
    let outcome = gateway.reload();
    assert_eq!(outcome.status(), 200, "{}", outcome.text());
    assert_eq!(gateway.status()["generation"]["number"], generation);
}

#[test]
fn a_reload_never_refills_a_bucket() {
    let limited = |text: &str| {
        format!(
            "filters: {{ few: {{ rate_limit: {{ rate: 1/hour, burst: 3, key: route }} }} }}\n\
             routes: [{{ filters: [few], respond: {{ status: 200, body: {text} }} }}]"
        )
    };
    let gateway = start(&limited("one"));
    for _ in 0..2 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    swap(&gateway, &limited("two"), 2);
    let last = gateway.get("/");
    assert_eq!((last.status(), last.text()), (200, "two"));
    assert_eq!(gateway.get("/").status(), 429);
    swap(&gateway, &limited("three"), 3);
    assert_eq!(gateway.get("/").status(), 429);
}

/// The probe before an upstream, and a route aside that changes.
fn with_a_route_aside(origin: &Origin, config: &str, aside: &str) -> String {
    format!(
        "upstreams: {{ u: {{ endpoints: ['{}'] }} }}\n\
         filters: {{ probe: {{ wasm: {{ module: {}, config: {config} }} }} }}\n\
         routes:\n\
         - {{ filters: [probe], forward: {{ upstream: u }} }}\n\
         - {{ match: {{ path: {{ prefix: /aside }} }}, respond: {{ status: 200, body: {aside} }} }}\n",
        origin.address(),
        guest::wat(PROBE).display()
    )
}

#[test]
fn vms_pools_and_connections_go_on() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = start(&with_a_route_aside(&origin, "v1", "one"));
    let mut client = gateway.client();
    for (number, aside) in [(1, "one"), (2, "two"), (3, "three")] {
        if number > 1 {
            swap(&gateway, &with_a_route_aside(&origin, "v1", aside), number);
        }
        assert_eq!(client.ask(get("/aside", &[])).text(), aside);
        let answer = client.ask(get("/", &[]));
        // One VM with one plugin has seen every request.
        let seen = (answer.header("x-requests"), answer.header("x-configured"));
        assert_eq!(seen, (Some(number.to_string().as_str()), Some("1")));
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_exchange_ends_under_the_policy_under_which_it_began() {
    let (held, gate) = (Gate::new(), Gate::new());
    let origin = {
        let (held, gate) = (held.clone(), gate.clone());
        Origin::start(move |exchange| {
            if exchange.request.target() == "/held" {
                held.open();
                gate.pass();
            }
            exchange.wire.send(response(200, &[], b"ok"))?;
            Ok(Next::Keep)
        })
    };
    let gateway = start(&with_a_route_aside(&origin, "v1", "one"));
    let mut early = gateway.client();
    early.send(get("/held", &[]));
    held.pass();
    swap(&gateway, &with_a_route_aside(&origin, "v2", "two"), 2);
    assert_eq!(gateway.get("/").header("x-filter"), Some("v2"));
    assert_eq!(gateway.status()["generations_retiring"], 1);

    gate.open();
    assert_eq!(early.response().header("x-filter"), Some("v1"));
    wait_for("the old generation to be freed", || {
        (gateway.status()["generations_retiring"] == 0).then_some(())
    });
    // The same connection is under the new policy from its next request on.
    assert_eq!(early.ask(get("/", &[])).header("x-filter"), Some("v2"));
    let log = gateway.stop().access_log;
    let generation = |path: &str| log.iter().find(|line| line["path"] == path).unwrap()["generation"].clone();
    assert_eq!(generation("/held"), 1);
}

/// A response that streams holds its generation to its last byte.
#[test]
fn a_response_body_holds_its_generation() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |exchange| {
            exchange.wire.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf")?;
            gate.pass();
            exchange.wire.send("more")?;
            Ok(Next::Keep)
        })
    };
    let gateway = start(&with_a_route_aside(&origin, "v1", "one"));
    let mut client: Client = gateway.client();
    client.send(get("/", &[]));
    assert_eq!(client.head().header("x-filter"), Some("v1"));
    assert_eq!(client.wire.exact(4).unwrap(), b"half");
    swap(&gateway, &with_a_route_aside(&origin, "v2", "two"), 2);
    assert_eq!(gateway.status()["generations_retiring"], 1);
    gate.open();
    assert_eq!(client.wire.exact(4).unwrap(), b"more");
    wait_for("the old generation to be freed", || {
        (gateway.status()["generations_retiring"] == 0).then_some(())
    });
}

/// Sixteen old generations may serve their last requests; what is older is cut, and counted.
#[test]
fn the_oldest_of_too_many_generations_are_cut() {
    let (origin, arrived, gate) = Origin::holding("late");
    let policy = |version: u64| with_a_route_aside(&origin, "v1", &format!("v{version}"));
    let gateway = start(&policy(1));
    let mut waiting: Vec<Client> = Vec::new();
    for version in 1..=18 {
        if version > 1 {
            swap(&gateway, &policy(version), version);
        }
        let mut client = gateway.client();
        client.send(get("/", &[]));
        origin.wait_for_requests(version as usize);
        waiting.push(client);
    }
    arrived.pass();
    // Generation 1 was one too many.
    waiting.remove(0).assert_closed();
    gateway.wait_for_metric("tollgate_client_connections_cut_total", 1.0);
    wait_for("sixteen old generations", || (gateway.status()["generations_retiring"] == 16).then_some(()));
    gate.open();
    for mut client in waiting {
        assert_eq!(client.response().text(), "late");
    }
    wait_for("the old generations to be freed", || {
        (gateway.status()["generations_retiring"] == 0).then_some(())
    });
}
