//! Client connections that have had no request for a while: parked, and nobody notices.

use std::sync::Barrier;

use rustix::process::Signal;

use crate::support::{Client, Gateway, Options, Origin, get, post, upstream, wait_for};

const PARKED: &str = "tollgate_client_connections_parked";
const ACTIVE: &str = "tollgate_client_connections_active";
const ACCEPTED: &str = r#"tollgate_client_connections_total{outcome="accepted"}"#;
const HERE: &str = "- { match: { path: { exact: /here } }, respond: { status: 200, body: here } }\n";

/// `/here` is answered by the gateway; one worker: what its sweep has done to one connection it has done to all.
fn start(origin: &Origin, limits: &str) -> Gateway {
    let policy = format!(
        "limits: {{ {limits} }}\n{}routes:\n{HERE}- {{ forward: {{ upstream: u }} }}\n",
        upstream(origin)
    );
    Gateway::start_with(&policy, &Options { workers: 1, log: "info" })
}

/// A connection that has had an answer and is parked, the only one.
fn parked(gateway: &Gateway) -> Client {
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/here", &[])).text(), "here");
    gateway.wait_for_metric(PARKED, 1.0);
    client
}

#[test]
fn it_serves_the_next_request_again_and_again() {
    let gateway = start(&Origin::echo(), "connections: 10");
    let mut client = gateway.client();
    // It has not asked for anything yet.
    gateway.wait_for_metric(PARKED, 1.0);
    for body in ["one", "two", "three"] {
        let answer = client.ask(post("/", &[], body.as_bytes()));
        assert_eq!((answer.text(), answer.header("connection")), (body, None));
        assert_eq!(client.ask(get("/here", &[])).text(), "here");
        // It was none as soon as the first answer came.
        gateway.wait_for_metric(PARKED, 1.0);
    }
    assert_eq!((gateway.metric(ACCEPTED), gateway.metric(ACTIVE)), (Some(1.0), Some(1.0)));
}

/// Two requests at once, sent when the first of the others is parked: some come before, some after, some between.
#[test]
fn nothing_is_lost_at_the_moment_of_parking() {
    const CLIENTS: usize = 48;
    let gateway = start(&Origin::echo(), "connections: 100");
    let together = Barrier::new(CLIENTS);
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (gateway, together) = (&gateway, &together);
            let mut client = gateway.client();
            scope.spawn(move || {
                for round in 0..3 {
                    assert_eq!(client.ask(get("/here", &[])).text(), "here");
                    together.wait();
                    wait_for("the first to be parked", || {
                        gateway.metric(PARKED).filter(|parked| *parked > 0.0)
                    });
                    let body = format!("client {number} round {round}");
                    let mut requests = post("/", &[], body.as_bytes());
                    requests.extend(get("/here", &[]));
                    client.send(requests);
                    let answers = [client.response(), client.response()];
                    assert!(
                        answers.iter().all(|answer| answer.header("connection").is_none()),
                        "{answers:?}"
                    );
                    assert_eq!(answers.each_ref().map(|answer| answer.text()), [body.as_str(), "here"]);
                    together.wait();
                }
            });
        }
    });
    // They have closed in any order.
    gateway.wait_for_metric(ACTIVE, 0.0);
    assert_eq!((gateway.metric(ACCEPTED), gateway.metric(PARKED)), (Some(48.0), Some(0.0)));
}

/// hyper has read it already, with the request before.
#[test]
fn half_a_head_is_not_lost() {
    let gateway = start(&Origin::echo(), "header_read_timeout: 1m");
    let mut client = gateway.client();
    let next = post("/", &[], b"whole");
    client.send([&get("/here", &[])[..], &next[..20]].concat());
    assert_eq!(client.response().text(), "here");
    // Another that is idle for a shorter time is parked: the sweep has been by.
    let other = parked(&gateway);
    client.send(&next[20..]);
    assert_eq!(client.response().text(), "whole");
    drop(other);
    gateway.wait_for_metric(ACTIVE, 1.0);
    gateway.wait_for_metric(PARKED, 1.0);
}

#[test]
fn a_client_that_leaves_is_counted_out() {
    let gateway = start(&Origin::echo(), "connections: 10");
    let client = parked(&gateway);
    assert_eq!(gateway.metric(ACTIVE), Some(1.0));
    drop(client);
    gateway.wait_for_metric(ACTIVE, 0.0);
    gateway.wait_for_metric(PARKED, 0.0);
}

#[test]
fn the_idle_timeout_goes_on() {
    let gateway = start(&Origin::echo(), "idle_timeout: 6s");
    let mut client = parked(&gateway);
    client.assert_closed();
    gateway.wait_for_metric(ACTIVE, 0.0);
    gateway.wait_for_metric(PARKED, 0.0);
}

#[test]
fn a_head_has_its_time_from_its_first_byte() {
    let gateway = start(&Origin::echo(), "header_read_timeout: 100ms");
    let mut client = parked(&gateway);
    client.send("GET / HTTP/1.1\r\nhost:");
    assert_eq!(client.response().status(), 408);
    client.assert_closed();
    gateway.wait_for_metric(ACTIVE, 0.0);
}

/// Also half a head that came with the request before it, and of which no more comes.
#[test]
fn half_a_head_has_its_time_too() {
    let gateway = start(&Origin::echo(), "header_read_timeout: 100ms");
    let mut client = gateway.client();
    client.send([&get("/here", &[])[..], b"GET /"].concat());
    assert_eq!(client.response().text(), "here");
    assert_eq!(client.response().status(), 408);
    client.assert_closed();
}

#[test]
fn it_counts_as_open() {
    let gateway = start(&Origin::echo(), "connections: 2");
    let mut first = gateway.client();
    let second = gateway.client();
    gateway.wait_for_metric(PARKED, 2.0);
    gateway.client().assert_closed();
    assert_eq!(first.ask(get("/here", &[])).text(), "here", "those that are in stay in");
    drop(second);
    gateway.wait_for_metric(ACTIVE, 1.0);
    assert_eq!(gateway.get("/here").text(), "here");
}

#[test]
fn a_drain_closes_it_at_once() {
    let (origin, arrived, gate) = Origin::holding("finished");
    let gateway = start(&origin, "drain_timeout: 5m");
    let mut idle = parked(&gateway);
    let mut busy = gateway.client();
    busy.send(get("/", &[]));
    arrived.pass();
    gateway.signal(Signal::TERM);
    // Long before the busy one has ended.
    idle.assert_closed();
    gate.open();
    assert_eq!(busy.response().text(), "finished");
    assert_eq!(gateway.wait().status.code(), Some(0));
}

/// It holds nothing of the policy that its last request had.
#[test]
fn it_outlives_policies() {
    let gateway = start(&Origin::echo(), "connections: 10");
    let mut client = parked(&gateway);
    for number in 0..20 {
        let policy = format!("routes: [{{ respond: {{ status: 200, body: 'policy {number}' }} }}]");
        gateway.write_policy(&policy);
        assert_eq!(gateway.reload().status(), 200);
    }
    assert_eq!(client.ask(get("/here", &[])).text(), "policy 19");
    gateway.wait_for_metric("tollgate_generations_retiring", 0.0);
}

#[test]
fn what_it_held_goes_back_to_the_system() {
    const CLIENTS: usize = 400;
    let gateway = start(&Origin::echo(), "connections: 1000");
    let first = parked(&gateway);
    let before = private_kib(&gateway);
    let clients: Vec<_> = (1..CLIENTS)
        .map(|_| {
            let mut client = gateway.client();
            assert_eq!(client.ask(get("/here", &[])).text(), "here");
            client
        })
        .collect();
    gateway.wait_for_metric(PARKED, CLIENTS as f64);
    // Served, each takes more than eight KiB.
    wait_for("less than three KiB each", || {
        (private_kib(&gateway) < before + 3 * CLIENTS as u64).then_some(())
    });
    drop((first, clients));
    gateway.wait_for_metric(ACTIVE, 0.0);
}

/// Memory of the gateway that it has written to and shares with no other process.
fn private_kib(gateway: &Gateway) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", gateway.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
