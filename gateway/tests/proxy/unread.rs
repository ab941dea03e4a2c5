//! Answers that come before the request has been read: they arrive, whatever the client still sends.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::bodies::{MORE_THAN_BUFFERS, write_until_stalled};
use crate::support::{Gate, Gateway, Options, Origin, get, response, upstream};

/// `/denied` is answered by the gateway; one worker, so that its state is one.
fn start(origin: &Origin) -> Gateway {
    let policy = format!(
        "{}routes:\n- {{ match: {{ path: {{ exact: /denied }} }}, respond: {{ status: 403, body: denied }} }}\n\
         - {{ forward: {{ upstream: u }} }}\n",
        upstream(origin)
    );
    Gateway::start_with(&policy, &Options { workers: 1, log: "info" })
}

fn head(path: &str, length: usize, more: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n{more}\r\n")
}

/// Answers by 413 before it has read anything.
fn hasty_origin() -> Origin {
    Origin::start(|exchange| {
        exchange.wire.send(response(413, &[], b"too much"))?;
        exchange.wait_until_closed()
    })
}

#[test]
fn a_short_rest_is_read_and_the_connection_kept() {
    let origin = hasty_origin();
    let gateway = start(&origin);
    for (path, status) in [("/denied", 403), ("/upload", 413)] {
        let mut client = gateway.client();
        client.send(head(path, 200_000, ""));
        client.send([b'x'; 1000]);
        assert_eq!(client.response().status(), status);
        client.send(vec![b'x'; 199_000]);
        assert_eq!(client.ask(get("/denied", &[])).status(), 403, "after {path}");
        // In chunks, and with the next request right behind.
        client.send(format!("POST {path} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\n"));
        assert_eq!(client.response().status(), status);
        client.send("abc\r\n0\r\n\r\n");
        assert_eq!(client.ask(get("/denied", &[])).status(), 403, "after {path}");
    }
}

/// A close with unread bytes would be a reset, which fails the writes and may take the answer with it.
#[test]
fn a_long_rest_is_thrown_away_until_the_client_has_sent_it() {
    let origin = hasty_origin();
    let gateway = start(&origin);
    for (path, status) in [("/denied", 403), ("/upload", 413)] {
        let mut client = gateway.client();
        client.send(head(path, 20 << 20, ""));
        client.send(vec![b'x'; 20 << 20]);
        assert_eq!(client.response().status(), status);
        client.assert_closed();
        // More than it is worth, though nobody said so beforehand.
        let mut client = gateway.client();
        client.send(format!("POST {path} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"));
        client.send(format!("{:x}\r\n", 20 << 20));
        client.send(vec![b'x'; 20 << 20]);
        assert_eq!(client.response().status(), status);
        client.assert_closed();
    }
}

#[test]
fn a_head_that_is_refused_is_told_while_the_client_still_sends() {
    let gateway = start(&Origin::echo());
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\n");
    client.send(format!("x: {}\r\n\r\n", "y".repeat(8 << 20)));
    assert_eq!(client.response().status(), 431);
    client.assert_closed();
}

/// What is never sent is not waited for.
#[test]
fn a_client_that_was_not_told_to_go_on_is_not_waited_for() {
    let gateway = start(&Origin::echo());
    let mut client = gateway.client();
    client.send(head("/denied", 1000, "expect: 100-continue\r\n"));
    assert_eq!(client.response().status(), 403);
    client.assert_closed();
}

#[test]
fn a_client_that_never_ends_is_cut() {
    let gateway = start(&Origin::echo());
    let mut client = gateway.client();
    client.send(head("/denied", usize::MAX >> 1, ""));
    let piece = vec![b'x'; 1 << 20];
    let deadline = Instant::now() + Duration::from_secs(30);
    while client.wire.stream().write_all(&piece).is_ok() {
        assert!(Instant::now() < deadline, "still read");
    }
}

/// The upstream's connection holds the body, and lets go of it in a task of its own.
#[test]
fn an_answer_in_the_middle_of_an_upload_ends_it() {
    let answer = Gate::new();
    let opened = answer.clone();
    let origin = Origin::start(move |exchange| {
        opened.pass();
        exchange.wire.send(response(413, &[], b"too much"))?;
        exchange.wait_until_closed()
    });
    let gateway = start(&origin);
    let mut client = gateway.client();
    client.send("POST /upload HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(format!("{MORE_THAN_BUFFERS:x}\r\n"));
    assert!(write_until_stalled(client.wire.stream(), MORE_THAN_BUFFERS) < MORE_THAN_BUFFERS);
    answer.open();
    assert_eq!(client.response().status(), 413);
    // By its deadline, which is before the idle timeout, the wire fails this test.
    client.assert_closed();
}

/// Nothing of the rest is read if the connection ends with the answer.
#[test]
fn a_connection_that_is_not_kept_does_not_wait_for_the_rest() {
    let gateway = start(&Origin::echo());
    for head in [
        "POST /denied HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n",
        "POST /denied HTTP/1.0\r\nhost: h\r\ncontent-length: 1000\r\n\r\n",
    ] {
        let mut client = gateway.client();
        client.send(head);
        assert_eq!(client.response().status(), 403);
        client.assert_closed();
    }
}
