//! Filters that fail, and what comes of their connection and of others.

use crate::guests::{Callback, on};
use crate::peers::{Client, End, Server};
use crate::support::wait_for;
use crate::{Policy, end, filtered, line};

/// Each callback in which a connection can still be ended, and its name.
const ENDING: [(Callback, &str); 3] = [
    (Callback::New, "new_connection"),
    (Callback::Downstream, "downstream_data"),
    (Callback::Upstream, "upstream_data"),
];

#[test]
fn a_trap_ends_the_connection_at_once() {
    for (callback, phase) in ENDING {
        let server = Server::echo();
        let gateway = filtered(&on(callback, "unreachable"), server.address);
        let mut client = Client::connect(gateway.address());
        if callback != Callback::New {
            // A connection that is new ends by itself; bytes sent after that would take the reset.
            client.send("x");
        }
        client.expect_end(End::Reset);
        let line = line(gateway);
        assert_eq!(end(&line), ("filter_failed", "f", phase));
        assert!(line["ended_by"]["reason"].as_str().unwrap().contains("unreachable"), "{line}");
    }
}

#[test]
fn a_spent_budget_ends_the_connection_at_once() {
    for (callback, phase) in ENDING {
        let server = Server::echo();
        let gateway = filtered(&on(callback, "(loop $ever (br $ever)) unreachable"), server.address);
        let mut client = Client::connect(gateway.address());
        if callback != Callback::New {
            // A connection that is new ends by itself; bytes sent after that would take the reset.
            client.send("x");
        }
        client.expect_end(End::Reset);
        assert_eq!(end(&line(gateway)), ("filter_failed", "f", phase));
    }
}

/// The connection goes on with every byte, those included that the filter was about to see.
#[test]
fn an_open_filter_that_fails_is_passed_by() {
    for (callback, phase) in ENDING {
        let module = on(callback, "unreachable");
        let server = Server::echo();
        let policy = Policy { filters: &[("f", &module, ", on_failure: open")], ..Policy::default() };
        let gateway = policy.start(server.address);
        let mut client = Client::connect(gateway.address());
        client.echo("one");
        client.echo("two");
        let traps = r#"tollgate_filter_failures_total{filter="f",kind="trap"}"#;
        assert_eq!(gateway.metric(traps), Some(1.0), "{phase}: {}", gateway.admin_get("/metrics").text());
        client.finish();
        client.expect_end(End::Close);
        assert_eq!(end(&line(gateway)), ("complete", "", ""));
    }
}

/// What an open filter holds in one direction goes on when it fails in the other.
#[test]
fn nothing_that_an_open_filter_held_is_lost() {
    let module = crate::guests::network(&format!(
        "{} {}",
        crate::guests::export(Callback::Downstream, "(i32.const 1)"),
        crate::guests::export(Callback::Upstream, "unreachable")
    ));
    // It speaks first, once it is connected.
    let server = Server::start(|mut stream| {
        std::io::Write::write_all(&mut stream, b"hello ")?;
        let mut copy = stream.try_clone()?;
        std::io::copy(&mut stream, &mut copy)?;
        stream.shutdown(std::net::Shutdown::Write)
    });
    let policy = Policy { filters: &[("f", &module, ", on_failure: open")], ..Policy::default() };
    let gateway = policy.start(server.address);
    let mut client = Client::connect(gateway.address());
    client.send("you");
    client.expect("hello you");
}

/// When the connection is over nothing can be ended any more, but it is told.
#[test]
fn failures_at_the_end_are_counted_and_logged() {
    for (callback, phase) in [
        (Callback::DownstreamClose, "downstream_close"),
        (Callback::UpstreamClose, "upstream_close"),
        (Callback::Done, "done"),
        (Callback::Log, "done"),
    ] {
        let server = Server::echo();
        let gateway = filtered(&on(callback, "unreachable"), server.address);
        for _ in 0..2 {
            let mut client = Client::connect(gateway.address());
            client.send("x");
            client.finish();
            assert_eq!(client.rest(), (b"x".to_vec(), End::Close), "{phase}");
        }
        gateway.wait_for_metric(r#"tollgate_filter_failures_total{filter="f",kind="trap"}"#, 2.0);
        let log = gateway.stop().access_log;
        assert_eq!(end(&log[0]), ("complete", "f", phase));
    }
}

/// Its VM is lost under a neighbour, which goes on in the next one.
#[test]
fn neighbours_go_on() {
    let module = on(
        Callback::Downstream,
        "(if (i32.eq (call $first (i32.const 2)) (i32.const 33)) (then unreachable)) (i32.const 0)",
    );
    let server = Server::echo();
    let gateway = filtered(&module, server.address);
    let mut neighbour = Client::connect(gateway.address());
    neighbour.echo("before");
    let mut client = Client::connect(gateway.address());
    client.send("!");
    client.expect_end(End::Reset);
    neighbour.echo("after");
    drop(neighbour);
    let log = gateway.wait_for_access_log(2);
    assert_eq!((end(&log[0]).0, end(&log[1]).0), ("filter_failed", "complete"));
}

/// A neighbour of which the lost VM held something fails, as nobody could let it go any more.
#[test]
fn neighbours_that_were_held_fail() {
    let module = on(
        Callback::Downstream,
        "(if (i32.eq (call $first (i32.const 2)) (i32.const 33)) (then unreachable)) (i32.const 1)",
    );
    let server = Server::echo();
    let gateway = filtered(&module, server.address);
    let mut neighbour = Client::connect(gateway.address());
    neighbour.send("held");
    wait_for("the filter to see it", || {
        let calls = r#"tollgate_filter_calls_total{filter="f",phase="downstream_data",outcome="pause"}"#;
        (gateway.metric(calls) == Some(1.0)).then_some(())
    });
    let mut client = Client::connect(gateway.address());
    client.send("!");
    client.expect_end(End::Reset);
    neighbour.expect_end(End::Reset);
    let log = gateway.wait_for_access_log(2);
    assert!(log.iter().all(|line| end(line) == ("filter_failed", "f", "downstream_data")), "{log:?}");
}

#[test]
fn a_filter_that_keeps_failing_rests() {
    let module = on(Callback::New, "unreachable");
    let server = Server::echo();
    let more = ", circuit: { failures: 2, rest: 10s, longest_rest: 10s }";
    let gateway = Policy { filters: &[("f", &module, more)], ..Policy::default() }.start(server.address);
    for _ in 0..3 {
        Client::connect(gateway.address()).expect_end(End::Reset);
    }
    let log = gateway.stop().access_log;
    assert!(log[1]["ended_by"]["reason"].as_str().unwrap().contains("unreachable"), "{log:?}");
    assert_eq!(log[2]["ended_by"]["reason"], "the filter rests after failures");
}
