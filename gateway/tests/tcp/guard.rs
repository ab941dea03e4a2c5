//! The shipped filter `tcp-guard`, by the example policy `policies/tcp.yaml`.

use std::path::Path;

use crate::filters::from;
use crate::peers::{Client, End, Server};
use crate::support::{Gateway, guest, wait_for};
use crate::{end, start};

/// PostgreSQL's request for TLS, and the beginning of a start-up.
const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";

/// The example, on ports of its own.
fn example(server: &Server) -> Gateway {
    let module = guest::shipped("tcp-guard");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/tcp.yaml");
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in [
        ("127.0.0.1:5432", "127.0.0.1:0".to_owned()),
        ("127.0.0.1:9901", "127.0.0.1:0".to_owned()),
        ("127.0.0.1:15432", server.address.to_string()),
        ("../filters/dist/tcp-guard.wasm", module.display().to_string()),
        ("client_bytes: 16777216", "client_bytes: 1000".to_owned()),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    start(&text)
}

#[test]
fn what_is_allowed_passes() {
    let server = Server::echo();
    let gateway = example(&server);
    let mut client = Client::connect(gateway.address());
    // Held until it is clear.
    client.send(&SSL_REQUEST[..3]);
    client.send(&SSL_REQUEST[3..]);
    client.expect(SSL_REQUEST);
    client.echo("anything at all");
    // A health check that says nothing.
    let mut silent = Client::connect(gateway.address());
    silent.finish();
    silent.expect_end(End::Close);
}

#[test]
fn what_is_not_is_closed() {
    let server = Server::echo();
    let gateway = example(&server);
    from("127.0.0.2:0", &gateway).expect_closed();
    assert_eq!(server.accepted(), 0);
    let mut client = Client::connect(gateway.address());
    client.send("GET / HTTP/1.1\r\n\r\n");
    client.expect_end(End::Close);
    let mut client = Client::connect(gateway.address());
    client.send(SSL_REQUEST);
    client.expect(SSL_REQUEST);
    client.send([b'x'; 993]);
    client.expect_end(End::Close);
    drop(client);
    let stopped = gateway.stop();
    let phases: Vec<_> = stopped.access_log.iter().map(end).collect();
    assert_eq!(
        phases,
        [
            ("filter_closed", "guard", "new_connection"),
            ("filter_closed", "guard", "downstream_data"),
            ("filter_closed", "guard", "downstream_data")
        ]
    );
    for reason in ["address may not connect", "no protocol that is allowed", "sent more than it may"] {
        assert!(stopped.log.iter().any(|line| line.contains(reason)), "{reason}: {:?}", stopped.log);
    }
}

#[test]
fn a_wrong_configuration_is_refused() {
    let server = Server::echo();
    let gateway = example(&server);
    let text = std::fs::read_to_string(gateway.policy_path()).unwrap();
    gateway.write_whole(&text.replace("protocols: [postgres", "protocols: [gopher, postgres"));
    let outcome = gateway.reload();
    assert_ne!(outcome.status(), 200, "{}", outcome.text());
    wait_for("the reason", || {
        gateway.log().iter().any(|line| line.contains("unknown variant `gopher`")).then_some(())
    });
    let mut client = Client::connect(gateway.address());
    client.send(SSL_REQUEST);
    client.expect(SSL_REQUEST);
}
