//! What is asked, what is answered, and from which callbacks.

use std::collections::HashSet;

use crate::guests::{Ask, PLAIN, asking, background};
use crate::support::{Gate, Next, Origin, get, post, response, wait_for};
use crate::{begin, policy, start};

#[test]
fn a_request_waits_for_the_answer() {
    let origin = Origin::echo();
    let auth = Origin::answering(response(200, &[("x-more", "1")], b"alice"));
    let headers = [&PLAIN[..], &[("X-Any", "one"), ("connection", "x-any"), ("te", "trailers")]].concat();
    let ask = Ask { headers: &headers, body: 5, ..Ask::default() };
    let gateway = begin(&asking(&ask, 0), &origin, &auth);
    let mut client = gateway.client();
    for _ in 0..3 {
        let answer = client.ask(post("/", &[], b"body"));
        assert_eq!((answer.status(), answer.text()), (200, "body"));
    }
    assert!(origin.requests().iter().all(|request| request.header("x-answer") == Some("alice")));
    assert_eq!(auth.connections(), 1, "the pool keeps it");
    let asked = &auth.requests()[0];
    assert_eq!((asked.method(), asked.target()), ("GET", "/check?x=1"));
    assert_eq!((asked.header("host"), asked.body.as_slice()), (Some("auth.example"), &[0; 5][..]));
    for hop in ["x-any", "connection", "te", ":method"] {
        assert_eq!(asked.header(hop), None, "{hop}");
    }
    gateway.stop();
}

#[test]
fn a_response_waits_for_the_answer() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    // In chunks, and with trailers.
    let auth = Origin::answering(
        "HTTP/1.1 201 Any\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n3\r\nbob\r\n0\r\nx-t: 1\r\n\r\n",
    );
    let gateway = begin(&asking(&Ask::default(), 1), &origin, &auth);
    let answer = gateway.get("/");
    assert_eq!((answer.text(), answer.header("x-answer")), ("ok", Some("bob")));
    gateway.stop();
}

#[test]
fn an_answer_can_deny() {
    let origin = Origin::echo();
    let auth = Origin::answering(response(404, &[], b""));
    let gateway = begin(&asking(&Ask::default(), 0), &origin, &auth);
    assert_eq!(gateway.get("/").status(), 401);
    assert_eq!(origin.requests().len(), 0);
    let log = gateway.stop().access_log;
    assert_eq!((&log[0]["ended_by"]["filter"], &log[0]["status"]), (&"ask".into(), &401.into()));
}

/// Every call gets its own answer, though all are under way at once.
#[test]
fn calls_are_made_at_once() {
    const CALLS: usize = 24;
    let gate = Gate::new();
    let auth = {
        let gate = gate.clone();
        Origin::start(move |exchange| {
            gate.pass();
            exchange.wire.send(response(200, &[], exchange.connection.to_string().as_bytes()))?;
            Ok(Next::Keep)
        })
    };
    let origin = Origin::echo();
    let gateway = begin(&asking(&Ask::default(), 0), &origin, &auth);
    let mut clients: Vec<_> = (0..CALLS).map(|_| gateway.client()).collect();
    clients.iter_mut().for_each(|client| client.send(get("/", &[])));
    auth.wait_for_requests(CALLS);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
    let answers: HashSet<_> =
        origin.requests().iter().map(|request| request.header("x-answer").unwrap().to_owned()).collect();
    assert_eq!(answers.len(), CALLS);
    gateway.stop();
}

/// From the start of the plugin, and from its timer: the answer comes to the plugin.
#[test]
fn calls_outside_an_exchange() {
    let configure = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $once) (i32.const 1))"#;
    let vm_start = r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (call $once) (i32.const 1))"#;
    let tick = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $tick (i32.const 10))) (i32.const 1))
      (func (export "proxy_on_tick") (param i32) (call $once))"#;
    for callback in [configure, vm_start, tick] {
        let origin = Origin::echo();
        let auth = Origin::answering(response(200, &[], b"keys"));
        let gateway = begin(&background(callback), &origin, &auth);
        wait_for("the answer", || {
            gateway.get("/");
            (origin.requests().last()?.header("x-answer") == Some("keys")).then_some(())
        });
        assert_eq!(auth.requests().len(), 1, "the trial before the start asks nobody");
        gateway.stop();
    }
}

/// At the end of an exchange, even if the gateway is going down: nobody waits for the answer.
#[test]
fn calls_at_the_end_of_an_exchange() {
    let log = r#"(func (export "proxy_on_log") (param i32) (drop (call $ask (i32.const 0))))"#;
    let hold = Gate::new();
    let origin = {
        let hold = hold.clone();
        Origin::start(move |exchange| {
            if exchange.request.target() == "/held" {
                hold.pass();
            }
            exchange.wire.send(response(200, &[], b"ok"))?;
            Ok(Next::Keep)
        })
    };
    let auth = Origin::answering(response(200, &[], b"noted"));
    let limits = "limits: { drain_timeout: 50ms }\n".to_owned();
    let gateway = start(&(limits + &policy(&background(log), &origin, &auth.address().to_string(), "")));
    assert_eq!(gateway.get("/").text(), "ok");
    auth.wait_for_requests(1);
    let mut held = gateway.client();
    held.send(get("/held", &[]));
    origin.wait_for_requests(2);
    gateway.stop();
    hold.open();
}
