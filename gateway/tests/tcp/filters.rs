//! What network filters see, change and close.

use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::guests::{Callback, diary, next_byte, on, sign, tell};
use crate::peers::{Client, End, Server};
use crate::support::{Gateway, wait_for};
use crate::{Policy, end, filtered, line};

#[test]
fn a_filter_rewrites_data() {
    let server = Server::echo();
    let gateway = filtered(&next_byte(), server.address);
    let mut client = Client::connect(gateway.address());
    client.send("HAL");
    client.expect("IBM");
    // Much, and in whatever pieces it comes.
    let data = vec![b'a'; 8 << 20];
    let writer = {
        let mut client = Client::over(client.stream.try_clone().unwrap());
        std::thread::spawn(move || {
            client.send(&data);
            client.finish();
        })
    };
    let (back, how) = client.rest();
    writer.join().unwrap();
    assert_eq!((back.len(), how), (8 << 20, End::Close));
    assert!(back.iter().all(|byte| *byte == b'b'));
}

#[test]
fn the_client_meets_the_chain_in_order_and_the_upstream_in_reverse() {
    let server = Server::echo();
    let (a, b) = (sign('a'), sign('b'));
    let policy = Policy { filters: &[("a", &a, ""), ("b", &b, "")], ..Policy::default() };
    let gateway = policy.start(server.address);
    let mut client = Client::connect(gateway.address());
    client.send("x");
    client.finish();
    assert_eq!(client.rest(), (b"xabba".to_vec(), End::Close));
}

#[test]
fn a_filter_refuses_by_source() {
    // Closes unless the source address ends in "1:PORT", that is, is 127.0.0.1.
    let module = crate::guests::network(&format!(
        r#"(data (i32.const 16) "source\00address") {}"#,
        crate::guests::export(
            Callback::New,
            "(if (call $property (i32.const 16) (i32.const 14) (i32.const 0) (i32.const 4)) (then unreachable))
    (if (i32.ne (i32.load8_u (i32.add (i32.load (i32.const 0)) (i32.const 8))) (i32.const 49)) (then
      (drop (call $close (i32.const 2)))
      (return (i32.const 1))))
    (i32.const 0)"
        )
    ));
    let server = Server::echo();
    let gateway = filtered(&module, server.address);
    let mut other = from("127.0.0.2:0", &gateway);
    other.expect_closed();
    assert_eq!(server.accepted(), 0, "the upstream is not reached");
    from("127.0.0.1:0", &gateway).echo("here");
    let log = gateway.wait_for_access_log(1);
    assert_eq!(end(&log[0]), ("filter_closed", "f", "new_connection"));
    assert_eq!((&log[0]["client"], &log[0]["upstream"]), (&"127.0.0.2".into(), &().into()));
}

/// A client with an address of its own.
pub(crate) fn from(address: &str, gateway: &Gateway) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&address.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&gateway.address().into()).unwrap();
    Client::over(TcpStream::from(socket))
}

/// By either of its names, in either direction: what came before is delivered, and both ends are told.
#[test]
fn a_filter_closes_from_each_side() {
    for (callback, buffer) in [(Callback::Downstream, 2), (Callback::Upstream, 3)] {
        for stream in [2, 3] {
            let code = format!(
                "(if (i32.eq (call $first (i32.const {buffer})) (i32.const 33))
      (then (drop (call $close (i32.const {stream})))))
    (i32.const 0)"
            );
            let server = Server::echo();
            let gateway = filtered(&on(callback, &code), server.address);
            let mut client = Client::connect(gateway.address());
            client.echo("before");
            client.send("!");
            client.expect_end(End::Close);
            drop(client);
            let line = line(gateway);
            let phase = if buffer == 2 { "downstream_data" } else { "upstream_data" };
            assert_eq!(end(&line), ("filter_closed", "f", phase));
            let reason = ["closed the downstream connection", "closed the upstream connection"][stream - 2];
            assert_eq!(line["ended_by"]["reason"], reason);
        }
    }
}

#[test]
fn an_answer_closes_the_connection() {
    let code = "(drop (call $respond (i32.const 403) (i32.const 16) (i32.const 6) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const -1)))
    (i32.const 1)";
    let module = crate::guests::network(&format!(
        r#"(data (i32.const 16) "denied") {}"#,
        crate::guests::export(Callback::Downstream, code)
    ));
    let server = Server::echo();
    let gateway = filtered(&module, server.address);
    let mut client = Client::connect(gateway.address());
    client.send("x");
    client.expect_end(End::Close);
    drop(client);
    assert_eq!(line(gateway)["ended_by"]["reason"], "denied");
}

#[test]
fn callbacks_come_in_order() {
    let server = Server::echo();
    let gateway = filtered(&diary(), server.address);
    let mut client = Client::connect(gateway.address());
    client.echo("x");
    client.finish();
    client.expect_end(End::Close);
    let words = wait_for("the end of the connection", || {
        let log = gateway.log();
        let text = |line: &String| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            let fields = event.get("fields").unwrap_or(&event);
            Some(fields.get("text")?.as_str()?.to_owned())
        };
        let words: Vec<String> = log.iter().filter_map(text).collect();
        words.last().is_some_and(|word| word.starts_with("log")).then_some(words)
    });
    // Who closed: 1 is the gateway, 2 the other end.
    assert_eq!(words[1..], ["down0", "up  0", "down1", "up  1", "dclo2", "uclo2", "done0", "log 0"]);
    assert!(words[0].starts_with("new "), "{words:?}");
}

#[test]
fn properties_tell_about_the_connection() {
    let server = Server::echo();
    let told = |path: &[&str]| {
        let gateway = filtered(&tell(path), server.address);
        let mut client = Client::connect(gateway.address());
        let local = client.stream.local_addr().unwrap();
        client.send("x");
        client.finish();
        let (mut bytes, _) = client.rest();
        assert_eq!(bytes.pop(), Some(b'x'));
        (bytes, local, gateway.address())
    };
    let (value, client, _) = told(&["source", "address"]);
    assert_eq!(String::from_utf8(value).unwrap(), client.to_string());
    let (value, client, _) = told(&["source", "port"]);
    assert_eq!(value, u64::from(client.port()).to_le_bytes());
    let (value, _, gateway) = told(&["destination", "address"]);
    assert_eq!(String::from_utf8(value).unwrap(), gateway.to_string());
    let (value, ..) = told(&["upstream", "address"]);
    assert_eq!(String::from_utf8(value).unwrap(), server.address.to_string());
    let (value, ..) = told(&["connection", "id"]);
    assert_eq!(value, 1_u64.to_le_bytes());
}

/// Connections of HTTP and of TCP services have one row of numbers.
#[test]
fn a_connection_has_a_number_of_its_own() {
    // Logs `numbered` and the number as one character.
    let tell =
        "(if (call $property (i32.const 16) (i32.const 13) (i32.const 0) (i32.const 4)) (then unreachable))
    (i32.store8 (i32.const 40) (i32.add (i32.const 48) (i32.load8_u (i32.load (i32.const 0)))))
    (drop (call $log (i32.const 2) (i32.const 32) (i32.const 9)))
    (i32.const 0)";
    let module = crate::guests::network(&format!(
        r#"(data (i32.const 16) "connection\00id") (data (i32.const 32) "numbered") {}
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {tell})"#,
        crate::guests::export(Callback::New, tell)
    ));
    let server = Server::echo();
    let gateway = crate::start(&format!(
        "version: 1\n\
         admin: {{ address: '127.0.0.1:0' }}\n\
         listeners: [{{ address: '127.0.0.1:0', tcp: {{ name: t, filters: [f], forward: {{ upstream: u }} }} }}, \
         {{ address: '127.0.0.1:0' }}]\n\
         upstreams: {{ u: {{ endpoints: ['{}'] }} }}\n\
         filters: {{ f: {{ wasm: {{ module: '{}' }} }} }}\n\
         routes: [{{ name: all, filters: [f], respond: {{ status: 200 }} }}]\n",
        server.address,
        module.display()
    ));
    let [tcp, http] = *gateway.addresses() else { panic!("two listeners") };
    for _ in 0..2 {
        let mut client = Client::connect(tcp);
        client.send("x");
        client.expect("x");
        assert_eq!(crate::support::Client::connect(http).ask(crate::support::get("/", &[])).status(), 200);
    }
    let log = gateway.stop().log;
    let numbers: Vec<_> =
        log.iter().filter_map(|line| line.split_once("numbered")?.1.chars().next()).collect();
    let different: std::collections::HashSet<_> = numbers.iter().collect();
    assert_eq!((numbers.len(), different.len()), (4, 4), "{numbers:?}");
}
