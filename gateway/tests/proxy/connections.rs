//! Connections on both sides: kept, lost, shared out.

use crate::support::{
    FORWARD_ALL, Gate, Gateway, Next, Options, Origin, get, post, refusing_address, response, upstream,
};

/// One worker, so that all requests share its pools.
const ONE_WORKER: Options = Options { workers: 1, log: "info" };

#[test]
fn connections_are_kept_on_both_sides() {
    let origin = Origin::echo();
    let gateway = Gateway::start_with(&format!("{}{FORWARD_ALL}", upstream(&origin)), &ONE_WORKER);
    let mut client = gateway.client();
    for _ in 0..5 {
        assert_eq!(client.ask(post("/", &[], b"one")).text(), "one");
    }
    assert_eq!(gateway.get("/").status(), 200, "another client");
    assert_eq!((origin.connections(), origin.requests().len()), (1, 6));
}

#[test]
fn a_client_that_wants_to_close_is_let_go() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let answer = client.ask(get("/", &[("connection", "close")]));
    assert_eq!(answer.header("connection"), Some("close"));
    client.assert_closed();
}

#[test]
fn a_client_that_leaves_ends_the_work_of_its_upstream() {
    for begun in [false, true] {
        let origin = Origin::start(move |exchange| {
            if begun {
                exchange.wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")?;
            }
            exchange.wait_until_closed()
        });
        let gateway = Gateway::before(&origin);
        let mut client = gateway.client();
        client.send(get("/", &[]));
        origin.wait_for_requests(1);
        if begun {
            client.wire.until(b"half").unwrap();
        }
        drop(client);
        origin.wait_until_unconnected();
        let log = gateway.wait_for_access_log(1);
        let status = begun.then_some(200);
        assert_eq!(log[0].get("status").and_then(serde_json::Value::as_u64), status, "{log:?}");
        assert_eq!(gateway.stop().access_log.len(), 1);
    }
}

#[test]
fn an_upload_that_breaks_off_breaks_off_at_the_upstream() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.wire.send(response(200, &[], b"whole"))?;
        Ok(Next::Keep)
    });
    let gateway = Gateway::before(&origin);
    for half in [
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let mut client = gateway.client();
        client.send(half);
        drop(client);
    }
    gateway.wait_for_access_log(2);
    origin.wait_until_unconnected();
    assert!(origin.requests().iter().all(|request| request.body.is_empty()), "it was taken for whole");
}

#[test]
fn an_upstream_that_dies_in_its_body_cuts_the_client() {
    for head in ["content-length: 10", "transfer-encoding: chunked"] {
        let origin = Origin::start(move |exchange| {
            exchange.wire.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n4\r\nhalf\r\n"))?;
            Ok(Next::Close)
        });
        let gateway = Gateway::before(&origin);
        let mut client = gateway.client();
        client.send(get("/", &[]));
        assert!(client.try_response().is_err(), "{head}: the half looked whole");
        let log = gateway.stop().access_log;
        assert_eq!((log.len(), &log[0]["status"]), (1, &200.into()));
        assert_eq!(log[0]["error"], "upstream_body");
    }
}

/// The first exchange of each connection ends well, then the origin closes it.
fn one_exchange_a_connection() -> Origin {
    Origin::start(|exchange| {
        exchange.read_body()?;
        let answer = response(200, &[], &exchange.request.body);
        exchange.wire.send(answer)?;
        Ok(Next::Close)
    })
}

#[test]
fn a_kept_connection_that_was_closed_meanwhile_is_replaced() {
    let origin = one_exchange_a_connection();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for round in 1..=3 {
        // Nothing of it has been sent, so it is safe for any method.
        assert_eq!(client.ask(post("/", &[], b"once")).text(), "once");
        assert_eq!(client.ask(get("/", &[])).status(), 200);
        origin.wait_until_unconnected();
        assert_eq!(origin.requests().len(), 2 * round);
    }
}

/// The second request of the first connection is read, and then the connection is closed.
#[test]
fn only_what_may_be_sent_twice_is_sent_twice() {
    for (request, statuses, seen) in [(get("/", &[]), [200, 200], 3), (post("/", &[], b"x"), [200, 502], 2)] {
        let origin = Origin::start(|exchange| {
            exchange.read_body()?;
            if (exchange.connection, exchange.number) == (0, 1) {
                return Ok(Next::Close);
            }
            exchange.wire.send(response(200, &[], b"ok"))?;
            Ok(Next::Keep)
        });
        let gateway = Gateway::before(&origin);
        let mut client = gateway.client();
        let got = [client.ask(&request).status(), client.ask(&request).status()];
        assert_eq!((got, origin.requests().len()), (statuses, seen));
    }
}

/// Many clients at once, on all workers: each gets its own answers.
#[test]
fn answers_go_to_those_who_asked() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    std::thread::scope(|scope| {
        for number in 0..32 {
            let mut client = gateway.client();
            scope.spawn(move || {
                for round in 0..50 {
                    let body = format!("client {number} round {round}").repeat(1 + number * round);
                    assert!(client.ask(post("/", &[], body.as_bytes())).body == body.as_bytes());
                }
            });
        }
    });
    assert_eq!(gateway.stop().access_log.len(), 32 * 50);
}

#[test]
fn endpoints_take_turns() {
    let origins = [(); 3].map(|()| Origin::echo());
    let endpoints = origins.each_ref().map(|origin| format!("'{}'", origin.address())).join(", ");
    let policy = format!("upstreams: {{ u: {{ endpoints: [{endpoints}] }} }}\n{FORWARD_ALL}");
    let gateway = Gateway::start_with(&policy, &ONE_WORKER);
    let mut client = gateway.client();
    for _ in 0..6 {
        assert_eq!(client.ask(get("/", &[])).status(), 200);
    }
    assert_eq!(origins.map(|origin| origin.requests().len()), [2, 2, 2]);
}

#[test]
fn an_endpoint_that_refuses_is_left_out_for_a_while() {
    let (refusing, _held) = refusing_address();
    let origin = Origin::echo();
    let policy = format!(
        "upstreams: {{ u: {{ endpoints: ['{refusing}', '{}'], refused_pause: 1h }} }}\n{FORWARD_ALL}",
        origin.address()
    );
    let gateway = Gateway::start_with(&policy, &ONE_WORKER);
    let mut client = gateway.client();
    for _ in 0..10 {
        assert_eq!(client.ask(post("/", &[], b"x")).status(), 200);
    }
    // It was tried once.
    gateway.wait_for_metric("tollgate_upstream_connections_failed_total{upstream=\"u\"}", 1.0);
    let status = gateway.status();
    assert_eq!(status["upstreams"][0]["endpoints"][0]["skipped"], true, "{status}");
    assert_eq!(status["upstreams"][0]["endpoints"][1]["skipped"], false, "{status}");
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once() {
    let origin = Origin::echo();
    let gateway =
        Gateway::start(&format!("limits: {{ connections: 2 }}\n{}{FORWARD_ALL}", upstream(&origin)));
    let mut first = gateway.client();
    let mut second = gateway.client();
    assert_eq!(first.ask(get("/", &[])).status(), 200);
    assert_eq!(second.ask(get("/", &[])).status(), 200);
    gateway.client().assert_closed();
    assert_eq!(first.ask(get("/", &[])).status(), 200, "those that are in stay in");
    drop(second);
    crate::support::wait_for("a place that is free again", || {
        let mut third = gateway.client();
        // It may be closed before the request is written.
        third.wire.send(get("/", &[])).ok()?;
        third.try_response().ok().filter(|answer| answer.status() == 200)
    });
}

#[test]
fn an_idle_client_is_let_go() {
    let origin = Origin::echo();
    let gateway =
        Gateway::start(&format!("limits: {{ idle_timeout: 100ms }}\n{}{FORWARD_ALL}", upstream(&origin)));
    gateway.client().assert_closed();
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/", &[])).status(), 200);
    client.assert_closed();
}

/// A request that takes longer than a client may idle is no idle client.
#[test]
fn a_busy_client_is_not_idle() {
    let answer = Gate::new();
    let origin = Origin::start({
        let answer = answer.clone();
        move |exchange| {
            answer.pass();
            exchange.wire.send(response(200, &[], b"late"))?;
            Ok(Next::Keep)
        }
    });
    let policy = format!("limits: {{ idle_timeout: 50ms }}\n{}{FORWARD_ALL}", upstream(&origin));
    let gateway = Gateway::start_with(&policy, &ONE_WORKER);
    let mut client = gateway.client();
    client.send(get("/", &[]));
    origin.wait_for_requests(1);
    // Another one, which idles from now on, is gone: so the sweep has been by.
    gateway.client().assert_closed();
    answer.open();
    assert_eq!(client.response().text(), "late");
}
