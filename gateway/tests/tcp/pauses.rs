//! Filters that hold a connection, or its data, back.

use crate::guests::{Callback, asking, delayed, gather, later, on};
use crate::peers::{Client, End, Server};
use crate::support::{Origin, response};
use crate::{Policy, end, filtered, line};

#[test]
fn data_is_held_until_there_is_enough() {
    for callback in [Callback::Downstream, Callback::Upstream] {
        let server = Server::echo();
        let gateway = filtered(&gather(callback, 6), server.address);
        let mut client = Client::connect(gateway.address());
        for piece in ["ab", "cd", "ef"] {
            client.send(piece);
        }
        client.expect("abcdef");
        // The end lets go what is less.
        client.send("gh");
        client.finish();
        assert_eq!(client.rest(), (b"gh".to_vec(), End::Close));
    }
}

#[test]
fn a_new_connection_is_held_until_a_timer() {
    let server = Server::echo();
    let gateway = filtered(&delayed(3), server.address);
    let mut client = Client::connect(gateway.address());
    // Sent before the filter lets it in.
    client.echo("early");
    assert_eq!(server.accepted(), 1);
}

/// Nobody reads from it while it is held, and yet it is noticed.
#[test]
fn a_client_that_breaks_while_it_is_held_is_gone() {
    let server = Server::echo();
    let gateway = filtered(&on(Callback::New, "(i32.const 1)"), server.address);
    let mut client = Client::connect(gateway.address());
    client.send("held");
    gateway.wait_for_metric(r#"tollgate_tcp_connections_active{service="t"}"#, 1.0);
    client.reset();
    assert_eq!(end(&gateway.wait_for_access_log(1)[0]).0, "client_reset");
    assert_eq!(server.accepted(), 0);
}

#[test]
fn data_is_let_go_by_a_timer() {
    let server = Server::echo();
    let gateway = filtered(&later("(drop (call $continue (i32.const 2)))"), server.address);
    let mut client = Client::connect(gateway.address());
    client.echo("one");
    client.echo("two");
    client.send("three");
    client.finish();
    assert_eq!(client.rest(), (b"three".to_vec(), End::Close));
}

#[test]
fn a_timer_closes() {
    let server = Server::echo();
    let gateway = filtered(&later("(drop (call $close (i32.const 2)))"), server.address);
    let mut client = Client::connect(gateway.address());
    client.send("x");
    client.expect_end(End::Close);
    drop(client);
    assert_eq!(end(&line(gateway)), ("filter_closed", "f", "background"));
}

/// What it holds goes on or not by `on_failure`, at once.
#[test]
fn a_timer_that_fails_ends_what_it_holds() {
    let module = later("unreachable");
    let server = Server::echo();
    let gateway = filtered(&module, server.address);
    let mut client = Client::connect(gateway.address());
    client.send("x");
    client.expect_end(End::Reset);
    assert_eq!(end(&line(gateway)), ("filter_failed", "f", "downstream_data"));
    let policy = Policy { filters: &[("f", &module, ", on_failure: open")], ..Policy::default() };
    let gateway = policy.start(server.address);
    let mut client = Client::connect(gateway.address());
    client.echo("x");
    client.echo("on it goes");
}

#[test]
fn a_new_connection_waits_for_the_answer_of_a_server() {
    for (status, is_let_in) in [(200, true), (403, false)] {
        let auth = Origin::answering(response(status, &[], b""));
        let server = Server::echo();
        let module = asking();
        let text =
            Policy { filters: &[("f", &module, ", allow: { upstreams: [auth] }")], ..Policy::default() }
                .text(server.address);
        let upstreams = format!("upstreams: {{ auth: {{ endpoints: ['{}'] }}, ", auth.address());
        let gateway = crate::start(&text.replace("upstreams: { u", &(upstreams + "u")));
        let mut client = Client::connect(gateway.address());
        if is_let_in {
            client.echo("in");
            assert_eq!(auth.request().target(), "/check");
        } else {
            client.expect_closed();
            assert_eq!(server.accepted(), 0);
            assert_eq!(end(&line(gateway)), ("filter_closed", "f", "background"));
        }
    }
}

#[test]
fn what_is_held_has_a_limit() {
    for (callback, phase) in
        [(Callback::Downstream, "downstream_data"), (Callback::Upstream, "upstream_data")]
    {
        for on_failure in ["closed", "open"] {
            let server = Server::echo();
            let module = gather(callback, u32::MAX / 2);
            let more = format!(", on_failure: {on_failure}");
            let policy = Policy {
                filters: &[("f", &module, &more)],
                service: ", buffer_bytes: 16B",
                ..Policy::default()
            };
            let gateway = policy.start(server.address);
            let mut client = Client::connect(gateway.address());
            client.send([b'x'; 16]);
            // As much as it may hold; at its end it goes on.
            client.finish();
            assert_eq!(client.rest(), (vec![b'x'; 16], End::Close));
            let mut client = Client::connect(gateway.address());
            client.send([b'x'; 17]);
            client.expect_end(End::Reset);
            gateway.wait_for_metric(r#"tollgate_tcp_connections_total{service="t",end="buffer_limit"}"#, 1.0);
            let log = gateway.stop().access_log;
            assert_eq!(end(&log[1]), ("buffer_limit", "f", phase));
            assert_eq!(log[1]["ended_by"]["reason"], "holds back more than 16 bytes");
        }
    }
}
