//! Any number of messages each way.

use std::sync::mpsc;

use h2::Reason;

use crate::guests::{ONE, TWO, Talk, talking};
use crate::server::{Messages, echo, fields, frame, head, reset, well};
use crate::support::{DEADLINE, Gate, Http2Exchange, Http2Origin, Origin, get, refusing_address, wait_for};
use crate::{begin, policy, start};

/// What the guest reports of its stream.
fn report(talk: &Talk<'_>, server: &Http2Origin) -> String {
    let origin = Origin::echo();
    let gateway = begin(&talking(talk), &origin, server.address());
    assert_eq!(gateway.get("/").status(), 200);
    let report = origin.requests()[0].header("x-answer").unwrap().to_owned();
    gateway.stop();
    report
}

/// The guest answers the first message, and closes its side at the second.
#[test]
fn messages_go_both_ways() {
    let server = Http2Origin::start(echo);
    let close = "(drop (call $close (local.get $stream)))";
    let message = format!(
        "(if (i32.eq (i32.load8_u (i32.const 16384)) (i32.const 104))
          (then (i32.store8 (i32.const 16384) (i32.const 0)) {TWO})
          (else {close}))"
    );
    let talk = Talk { message: &message, ..Talk::default() };
    assert_eq!(report(&talk, &server), "ihimonemtwotbyecA");
    // All at once, the last with the flag; what comes behind it is BAD_ARGUMENT.
    let opened = format!(
        "{ONE} (drop (call $grpc_send (local.get $stream) (i32.const 100) (i32.const 3) (i32.const 1)))
        (i32.store (i32.const 4) (i32.const 0))
        (call $note (i32.add (i32.const 48)
          (call $grpc_send (local.get $stream) (i32.const 96) (i32.const 3) (i32.const 0))))"
    );
    let talk = Talk { opened: &opened, ..Talk::default() };
    assert_eq!(report(&talk, &server), "2ihimonemtwotbyecA");
}

/// A server may end a stream whatever the client still has to say.
#[test]
fn the_server_ends_it() {
    let early = Http2Origin::start(|mut exchange| async move {
        let mut stream = exchange.respond.send_response(head(), false).unwrap();
        stream.send_data([frame(b"a"), frame(b"b")].concat().into(), false).unwrap();
        stream.send_trailers(fields(&[("grpc-status", "9"), ("grpc-message", "early")])).unwrap();
    });
    assert_eq!(report(&Talk::default(), &early), "ihimambtcJearly");
    let all_in_one = Http2Origin::start(|mut exchange| async move {
        let mut head = head();
        head.headers_mut().extend(fields(&[("grpc-status", "12"), ("x-trail", "no")]));
        exchange.respond.send_response(head, true).unwrap();
    });
    assert_eq!(report(&Talk::default(), &all_in_one), "itnocM");
    let breaks = Http2Origin::start(|mut exchange| async move {
        let mut stream = exchange.respond.send_response(head(), false).unwrap();
        let message = Messages::new().next(&mut exchange).await.unwrap().unwrap();
        stream.send_data(frame(&message), false).unwrap();
        stream.send_reset(Reason::INTERNAL_ERROR);
    });
    let report = report(&Talk::default(), &breaks);
    // What came before it may be lost with it.
    assert!(report.ends_with("cNthe server reset the stream"), "{report}");
}

#[test]
fn a_server_that_is_not_there() {
    let (address, _held) = refusing_address();
    let origin = Origin::echo();
    let gateway = begin(&talking(&Talk::default()), &origin, address);
    assert_eq!(gateway.get("/").status(), 200);
    assert_eq!(origin.requests()[0].header("x-answer"), Some("cOno connection to the server"));
    gateway.stop();
}

/// A server that tells how each of its streams was reset.
fn watched() -> (Http2Origin, mpsc::Receiver<Reason>) {
    let (resets, told) = mpsc::channel();
    let server = Http2Origin::start(move |mut exchange: Http2Exchange| {
        let resets = resets.clone();
        async move {
            let mut stream = exchange.respond.send_response(head(), false).unwrap();
            let message = Messages::new().next(&mut exchange).await.unwrap().unwrap();
            stream.send_data(frame(&message), false).unwrap();
            resets.send(reset(&mut stream).await).unwrap();
        }
    });
    (server, told)
}

/// After that the guest is told nothing, and goes on by itself.
#[test]
fn a_guest_cancels_its_stream() {
    let (server, resets) = watched();
    let talk = Talk { message: "(drop (call $cancel (local.get $stream))) (call $go)", ..Talk::default() };
    assert_eq!(report(&talk, &server), "ihimone");
    assert_eq!(resets.recv_timeout(DEADLINE).unwrap(), Reason::CANCEL);
}

/// With its filter gone, nobody waits for a stream any more: it is reset.
#[test]
fn a_stream_ends_with_its_filter() {
    let (server, resets) = watched();
    let origin = Origin::echo();
    // The request goes on at the first message, the stream stays.
    let talk = Talk { message: "(call $go)", ..Talk::default() };
    let gateway = begin(&talking(&talk), &origin, server.address());
    assert_eq!(gateway.get("/").status(), 200);
    gateway.write_policy(&format!("{}{}", crate::support::upstream(&origin), crate::support::FORWARD_ALL));
    assert_eq!(gateway.reload().status(), 200);
    assert_eq!(resets.recv_timeout(DEADLINE).unwrap(), Reason::CANCEL);
    wait_for("the old generation to be freed", || {
        (gateway.status()["generations_retiring"] == 0).then_some(())
    });
    gateway.stop();
}

#[test]
fn a_trap_ends_the_stream_and_the_exchange() {
    let (server, resets) = watched();
    let origin = Origin::echo();
    let talk = Talk { message: "unreachable", ..Talk::default() };
    let gateway = begin(&talking(&talk), &origin, server.address());
    assert_eq!(gateway.get("/").status(), 503);
    assert_eq!(resets.recv_timeout(DEADLINE).unwrap(), Reason::CANCEL);
    gateway.stop();
}

/// A server that reads nothing: a message is refused when too much waits, none is lost.
#[test]
fn what_waits_to_be_sent_is_limited() {
    const SIZE: usize = 32 * 1024;
    let gate = Gate::new();
    let held = gate.clone();
    let (counts, counted) = mpsc::channel();
    let server = Http2Origin::start(move |mut exchange: Http2Exchange| {
        let (held, counts) = (held.clone(), counts.clone());
        async move {
            let mut stream = exchange.respond.send_response(head(), false).unwrap();
            tokio::task::spawn_blocking(move || held.pass()).await.unwrap();
            let (mut messages, mut count) = (Messages::new(), 0);
            while let Some(message) = messages.next(&mut exchange).await.unwrap() {
                assert_eq!(message.len(), SIZE);
                count += 1;
            }
            counts.send(count).unwrap();
            stream.send_trailers(well()).unwrap();
        }
    });
    // The guest sends until the host says BAD_ARGUMENT.
    let opened = format!(
        "(local.set $status (i32.const 48))
        (loop $more
          (if (i32.eqz (call $grpc_send (local.get $stream) (i32.const 65536) (i32.const {SIZE}) (i32.const 0)))
            (then (local.set $status (i32.add (local.get $status) (i32.const 1))) (br $more))))
        (i32.store (i32.const 4) (i32.const 0))
        (call $note (local.get $status))
        (drop (call $close (local.get $stream)))"
    );
    let origin = Origin::echo();
    let talk = Talk { opened: &opened, ..Talk::default() };
    let limit = ", calls: { request_bytes: 160KiB }";
    let gateway = start(&policy(&talking(&talk), &origin, server.address(), limit));
    let mut client = gateway.client();
    client.send(get("/", &[]));
    gate.open();
    assert_eq!(client.response().status(), 200);
    let report = origin.requests()[0].header("x-answer").unwrap().to_owned();
    let taken = u32::from(report.as_bytes()[0] - b'0');
    assert_eq!(taken, 4, "a fifth, with its prefix, does not fit: {report}");
    assert_eq!(counted.recv_timeout(DEADLINE).unwrap(), taken);
    assert_eq!(&report[1..], "ihitbyecA");
    gateway.stop();
}
