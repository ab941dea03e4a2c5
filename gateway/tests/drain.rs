//! The end of the gateway: what runs is finished, what is idle is closed, and nothing takes for ever.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;

use rustix::process::Signal;
use support::{Client, Gate, Gateway, Next, Options, Origin, get, wait_for};

fn forwarding(origin: &Origin, limits: &str) -> String {
    format!(
        "limits: {{ {limits} }}\n\
         upstreams: {{ u: {{ endpoints: ['{}'] }} }}\n\
         routes:\n\
         - {{ forward: {{ upstream: u }} }}\n\
         - {{ match: {{ path: {{ exact: /here }} }}, respond: {{ status: 200, body: here }} }}\n",
        origin.address()
    )
}

/// A gateway with one request that waits for its upstream, told to end.
fn draining(origin: &Origin, arrived: &Gate, limits: &str, signal: Signal) -> (Gateway, Client) {
    let gateway = Gateway::start(&forwarding(origin, limits));
    let mut client = gateway.client();
    client.send(get("/", &[]));
    arrived.pass();
    gateway.signal(signal);
    wait_for("draining", || (gateway.admin_get("/readyz").text() == "draining\n").then_some(()));
    (gateway, client)
}

#[test]
fn what_runs_is_finished() {
    for signal in [Signal::TERM, Signal::INT] {
        let (origin, arrived, gate) = Origin::holding("finished");
        let (gateway, mut client) = draining(&origin, &arrived, "drain_timeout: 5m", signal);
        assert_eq!(gateway.admin_get("/readyz").status(), 503);
        assert_eq!(gateway.admin_get("/livez").status(), 200);
        gate.open();
        let answer = client.response();
        assert_eq!((answer.status(), answer.text()), (200, "finished"));
        client.assert_closed();
        let stopped = gateway.wait();
        assert_eq!(stopped.status.code(), Some(0), "{signal:?}: {}", stopped.log.join("\n"));
        assert_eq!(stopped.access_log.len(), 1, "the last request is logged");
    }
}

#[test]
fn a_body_that_streams_is_finished() {
    let (sent, gate) = (Gate::new(), Gate::new());
    let origin = {
        let (sent, gate) = (sent.clone(), gate.clone());
        Origin::start(move |exchange| {
            exchange.wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")?;
            sent.open();
            gate.pass();
            exchange.wire.send("4\r\nmore\r\n0\r\n\r\n")?;
            Ok(Next::Keep)
        })
    };
    let (gateway, mut client) = draining(&origin, &sent, "drain_timeout: 5m", Signal::TERM);
    gate.open();
    assert_eq!(client.response().text(), "halfmore");
    assert_eq!(gateway.wait().status.code(), Some(0));
}

#[test]
fn new_connections_are_refused() {
    let (origin, arrived, gate) = Origin::holding("finished");
    let (gateway, mut client) = draining(&origin, &arrived, "drain_timeout: 5m", Signal::TERM);
    // Workers stop one after the other; when all have, there is nobody to connect to.
    wait_for("refusal", || TcpStream::connect(gateway.address()).err());
    gate.open();
    assert_eq!(client.response().status(), 200);
    assert_eq!(gateway.wait().status.code(), Some(0));
}

#[test]
fn idle_connections_are_closed() {
    let (origin, arrived, gate) = Origin::holding("finished");
    let gateway = Gateway::start(&forwarding(&origin, "drain_timeout: 5m"));
    let mut used = gateway.client();
    assert_eq!(used.ask(get("/here", &[])).text(), "here");
    let mut busy = gateway.client();
    busy.send(get("/", &[]));
    arrived.pass();
    gateway.signal(Signal::TERM);
    // Long before the busy one has ended.
    used.assert_closed();
    gate.open();
    assert_eq!(busy.response().status(), 200);
    assert_eq!(gateway.wait().status.code(), Some(0));
}

/// A head that never comes to its end has its own limit, also at the end.
#[test]
fn half_a_request_does_not_hold_the_gateway() {
    let (origin, _, _) = Origin::holding("finished");
    let policy = forwarding(&origin, "drain_timeout: 5m, header_read_timeout: 300ms");
    let gateway = Gateway::start_with(&policy, &Options { workers: 1, ..Options::default() });
    let mut slow = gateway.client();
    slow.send("GET / HTTP/1.1\r\nhost: test.example\r\nx-more");
    // What came later is answered, so the worker has seen it.
    assert_eq!(gateway.get("/here").status(), 200);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().status.code(), Some(0));
}

#[test]
fn the_limit_cuts_what_does_not_end() {
    let (origin, arrived, gate) = Origin::holding("finished");
    let gateway = Gateway::start(&forwarding(&origin, "drain_timeout: 100ms"));
    let mut client = gateway.client();
    client.send(get("/", &[]));
    arrived.pass();
    gateway.signal(Signal::TERM);
    client.assert_closed();
    let stopped = gateway.wait();
    assert_eq!(stopped.status.code(), Some(0), "{}", stopped.log.join("\n"));
    assert_eq!(stopped.access_log.len(), 1, "a request that was cut is logged");
    gate.open();
}

#[test]
fn a_second_signal_ends_at_once() {
    let (origin, arrived, gate) = Origin::holding("finished");
    let (gateway, mut client) = draining(&origin, &arrived, "drain_timeout: 5m", Signal::TERM);
    gateway.signal(Signal::INT);
    client.assert_closed();
    let stopped = gateway.wait();
    assert_eq!(stopped.status.signal(), None, "it ends by itself: {}", stopped.status);
    assert_eq!(stopped.status.code(), Some(128 + 2));
    gate.open();
}

#[test]
fn nothing_to_finish_takes_no_signal_more() {
    let gateway = Gateway::start("routes: [{ respond: { status: 200 } }]");
    assert_eq!(gateway.get("/").status(), 200);
    assert_eq!(gateway.stop().access_log.len(), 1);
}
