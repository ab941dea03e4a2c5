//! Bodies and trailers, both ways.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{DEADLINE, Gate, Gateway, Next, Origin, get, post, response};

/// Bytes that no repetition makes right by chance.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index.wrapping_mul(2_654_435_761) >> 7) as u8).collect()
}

fn chunked(target: &str, pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes =
        format!("POST {target} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
    for piece in pieces {
        bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
        bytes.extend_from_slice(piece);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

#[test]
fn request_bodies_arrive_in_either_framing() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let large = pattern(300_000);
    let table: [(Vec<u8>, &[u8]); 6] = [
        (get("/", &[]), b""),
        (post("/", &[], b""), b""),
        (post("/", &[], b"hello"), b"hello"),
        (post("/", &[], &large), &large),
        (chunked("/", &[]), b""),
        (chunked("/", &[b"hel", b"l", b"o"]), b"hello"),
    ];
    for (request, body) in &table {
        let answer = client.ask(request);
        assert_eq!((answer.status(), &*answer.body), (200, *body));
    }
    // A GET without a body is sent without framing; a length stays a length.
    let requests = origin.requests();
    assert_eq!(requests.len(), table.len());
    let framing = |index: usize| {
        (requests[index].header("content-length"), requests[index].header("transfer-encoding"))
    };
    assert_eq!(framing(0), (None, None));
    assert_eq!(framing(2), (Some("5"), None));
    assert_eq!(framing(5), (None, Some("chunked")));
}

#[test]
fn response_bodies_arrive_in_any_framing() {
    let table: [(&str, &str); 4] = [
        ("content-length: 5\r\n\r\nhello", "hello"),
        ("content-length: 0\r\n\r\n", ""),
        ("transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", "hello"),
        // Neither: the end of the connection ends it.
        ("\r\nhello", "hello"),
    ];
    for (rest, body) in table {
        let origin = Origin::start(move |exchange| {
            exchange.wire.send(format!("HTTP/1.1 200 OK\r\n{rest}"))?;
            Ok(Next::Close)
        });
        let gateway = Gateway::before(&origin);
        let mut client = gateway.client();
        for _ in 0..2 {
            assert_eq!(client.ask(get("/", &[])).text(), body, "{rest}");
        }
    }
}

#[test]
fn trailers_pass_both_ways() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        exchange.wire.send(
            "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\nx-sum: down\r\n\r\n",
        )?;
        Ok(Next::Keep)
    });
    let gateway = Gateway::before(&origin);
    let answer = gateway.ask(
        "POST / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\ntrailer: x-sum\r\n\
         transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: up\r\n\r\n",
    );
    assert_eq!(origin.request().trailer("x-sum"), Some("up"));
    assert_eq!(origin.request().text(), "hi");
    assert_eq!((answer.text(), answer.trailer("x-sum")), ("ok", Some("down")));
}

/// The first pieces are seen while the last are not yet sent, in both directions.
#[test]
fn bodies_are_streamed() {
    let origin = Origin::start(|exchange| {
        exchange.wire.until(b"first")?;
        exchange.wire.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nanswer")?;
        exchange.wire.until(b"last")?;
        exchange.wire.send("ed")?;
        Ok(Next::Keep)
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nfirst");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.wire.exact(6).unwrap(), b"answer");
    client.send("last");
    assert_eq!(client.wire.exact(2).unwrap(), b"ed");
}

/// An upstream may answer before it has read the request; its answer counts.
#[test]
fn an_early_answer_arrives() {
    let origin = Origin::start(|exchange| {
        exchange.wire.send(response(413, &[], b"too much"))?;
        exchange.wait_until_closed()
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\nbegin");
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (413, "too much"));
    drop(client);
    origin.wait_until_unconnected();
}

#[test]
fn large_bodies_arrive_whole() {
    let body = pattern(5 << 20);
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let answer = gateway.ask(post("/", &[], &body));
    assert!(answer.body == body);
    let pieces: Vec<&[u8]> = body.chunks(70_001).collect();
    assert!(gateway.ask(chunked("/", &pieces)).body == body);
}

/// More than all socket buffers on the way together hold, less than `limits.body_bytes`.
pub(crate) const MORE_THAN_BUFFERS: usize = 60 << 20;

/// Writes until nobody takes any more; returns how much that was.
pub(crate) fn write_until_stalled(mut stream: &TcpStream, total: usize) -> usize {
    let piece = [b'x'; 64 * 1024];
    let mut written = 0;
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while written < total {
        match stream.write(&piece[..piece.len().min(total - written)]) {
            Ok(count) => written += count,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                break;
            }
        }
    }
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    written
}

#[test]
fn a_slow_client_slows_the_upstream() {
    let (stalled, at_stall) = (Gate::new(), Arc::new(Mutex::new(0)));
    let origin = Origin::start({
        let (stalled, at_stall) = (stalled.clone(), Arc::clone(&at_stall));
        move |exchange| {
            exchange.wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {MORE_THAN_BUFFERS}\r\n\r\n"))?;
            let written = write_until_stalled(exchange.wire.stream(), MORE_THAN_BUFFERS);
            *at_stall.lock().unwrap() = written;
            stalled.open();
            exchange.wire.send(vec![b'x'; MORE_THAN_BUFFERS - written])?;
            Ok(Next::Keep)
        }
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(get("/", &[]));
    stalled.pass();
    assert!(*at_stall.lock().unwrap() < MORE_THAN_BUFFERS * 3 / 4, "the gateway took everything");
    assert_eq!(client.response().body.len(), MORE_THAN_BUFFERS);
}

#[test]
fn a_slow_upstream_slows_the_client() {
    let read = Gate::new();
    let origin = Origin::start({
        let read = read.clone();
        move |exchange| {
            read.pass();
            exchange.read_body()?;
            let answer = response(200, &[], exchange.request.body.len().to_string().as_bytes());
            exchange.wire.send(answer)?;
            Ok(Next::Keep)
        }
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {MORE_THAN_BUFFERS}\r\n\r\n"));
    let written = write_until_stalled(client.wire.stream(), MORE_THAN_BUFFERS);
    assert!(written < MORE_THAN_BUFFERS * 3 / 4, "the gateway took everything");
    read.open();
    client.send(vec![b'x'; MORE_THAN_BUFFERS - written]);
    assert_eq!(client.response().text(), MORE_THAN_BUFFERS.to_string());
}
