//! Without filters: bytes both ways, half-closed connections, breaks, slow readers.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::peers::{Client, End, Server, reset};
use crate::support::{deaf_address, refusing_address, wait_for};
use crate::{Policy, end, line};

/// Bytes that no two places have alike, so that what is lost or moved is seen.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

#[test]
fn large_data_goes_both_ways_at_once() {
    const LENGTH: usize = 32 << 20;
    let server = Server::echo();
    let gateway = Policy::default().start(server.address);
    let mut client = Client::connect(gateway.address());
    let data = pattern(LENGTH);
    let writer = {
        let (mut stream, data) = (client.stream.try_clone().unwrap(), data.clone());
        thread::spawn(move || {
            stream.write_all(&data).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        })
    };
    let (back, how) = client.rest();
    writer.join().unwrap();
    assert!(back == data, "{} of {LENGTH} bytes came back, or others", back.len());
    assert_eq!(how, End::Close);
    gateway.wait_for_metric(r#"tollgate_tcp_bytes_total{service="t",direction="in"}"#, LENGTH as f64);
    gateway.wait_for_metric(r#"tollgate_tcp_bytes_total{service="t",direction="out"}"#, LENGTH as f64);
    gateway.wait_for_metric(r#"tollgate_tcp_connections_total{service="t",end="complete"}"#, 1.0);
    gateway.wait_for_metric(r#"tollgate_tcp_connections_active{service="t"}"#, 0.0);
    let line = line(gateway);
    assert_eq!(end(&line), ("complete", "", ""));
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&LENGTH.into(), &LENGTH.into()));
    assert_eq!((&line["service"], &line["client"]), (&"t".into(), &"127.0.0.1".into()));
    assert_eq!(line["upstream"]["endpoint"], server.address.to_string());
    assert_eq!((&line["upstream"]["name"], &line["generation"]), (&"u".into(), &1.into()));
}

/// The server hears the end, and answers afterwards.
#[test]
fn a_half_closed_connection_goes_on() {
    let server = Server::start(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        write!(stream, "{} bytes", all.len())
    });
    let gateway = Policy::default().start(server.address);
    let mut client = Client::connect(gateway.address());
    client.send("twelve bytes");
    client.finish();
    assert_eq!(client.rest(), (b"12 bytes".to_vec(), End::Close));
    // And the other way round.
    let server = Server::start(|mut stream| {
        stream.write_all(b"hello")?;
        stream.shutdown(Shutdown::Write)?;
        let mut all = String::new();
        stream.read_to_string(&mut all)?;
        assert_eq!(all, "goodbye");
        Ok(())
    });
    let gateway = Policy::default().start(server.address);
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.rest(), (b"hello".to_vec(), End::Close));
    client.send("goodbye");
    client.finish();
    let line = line(gateway);
    assert_eq!((end(&line).0, &line["bytes_in"], &line["bytes_out"]), ("complete", &7.into(), &5.into()));
}

#[test]
fn what_breaks_on_one_side_is_broken_on_the_other() {
    let (told, hears) = channel();
    let server = Server::start(move |mut stream| {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)?;
        told.send(stream.read(&mut byte).map_err(|error| error.kind())).unwrap();
        Ok(())
    });
    let gateway = Policy::default().start(server.address);
    let mut client = Client::connect(gateway.address());
    client.echo("x");
    client.reset();
    assert_eq!(hears.recv().unwrap(), Err(ErrorKind::ConnectionReset));
    assert_eq!(end(&line(gateway)).0, "client_reset");

    let server = Server::start(|mut stream| {
        stream.read_exact(&mut [0])?;
        reset(&stream);
        Ok(())
    });
    let gateway = Policy::default().start(server.address);
    let mut client = Client::connect(gateway.address());
    client.send("x");
    client.expect_end(End::Reset);
    assert_eq!(end(&line(gateway)).0, "upstream_reset");
}

/// A client that does not read keeps the server from writing: the gateway does not gather it all.
#[test]
fn a_slow_reader_slows_the_writer() {
    const LENGTH: usize = 64 << 20;
    let (told, hears) = channel();
    let server = Server::start(move |mut stream| {
        stream.set_write_timeout(Some(Duration::from_millis(500)))?;
        let data = pattern(LENGTH);
        let mut written = 0;
        while written < LENGTH {
            match stream.write(&data[written..]) {
                Ok(count) => written += count,
                Err(_) => break,
            }
        }
        told.send(written).unwrap();
        stream.set_write_timeout(None)?;
        stream.write_all(&data[written..])?;
        stream.shutdown(Shutdown::Write)
    });
    let gateway = Policy::default().start(server.address);
    let mut client = Client::connect(gateway.address());
    let written = hears.recv().unwrap();
    assert!(written < LENGTH / 2, "{written} bytes were taken from the server though nobody read");
    let (back, how) = client.rest();
    assert!(back == pattern(LENGTH) && how == End::Close, "{} bytes came", back.len());
}

#[test]
fn another_endpoint_is_tried() {
    let (refusing, _held) = refusing_address();
    let server = Server::echo();
    let upstream = Policy::default().text(refusing).replace("']", &format!("', '{}']", server.address));
    let gateway = crate::start(&upstream);
    for _ in 0..4 {
        Client::connect(gateway.address()).echo("here");
    }
    assert_eq!(server.accepted(), 4);
}

#[test]
fn a_client_is_told_that_there_is_no_upstream() {
    let (refusing, _held) = refusing_address();
    let gateway = Policy::default().start(refusing);
    Client::connect(gateway.address()).expect_end(End::Reset);
    let text = line(gateway);
    assert_eq!((end(&text).0, &text["upstream"]["name"]), ("no_upstream", &"u".into()));

    let (deaf, _held) = deaf_address();
    let gateway = Policy { upstream: ", connect_timeout: 50ms", ..Policy::default() }.start(deaf);
    Client::connect(gateway.address()).expect_end(End::Reset);
    assert_eq!(end(&line(gateway)).0, "no_upstream");
}

#[test]
fn a_connection_that_idles_is_cut() {
    let server = Server::echo();
    let gateway = Policy { service: ", idle_timeout: 200ms", ..Policy::default() }.start(server.address);
    let mut client = Client::connect(gateway.address());
    client.echo("x");
    client.expect_end(End::Reset);
    let text = line(gateway);
    assert_eq!((end(&text).0, &text["bytes_in"]), ("idle_timeout", &1.into()));
}

#[test]
fn connections_are_limited() {
    let server = Server::echo();
    let gateway = Policy { service: ", connections: 1", ..Policy::default() }.start(server.address);
    let mut first = Client::connect(gateway.address());
    first.echo("x");
    Client::connect(gateway.address()).expect_closed();
    first.echo("y");
    drop(first);
    wait_for("room for another", || {
        let mut next = Client::connect(gateway.address());
        // One that is closed at once may be gone before this is sent.
        let _ = next.stream.write_all(b"z");
        let _ = next.stream.shutdown(Shutdown::Write);
        (next.rest().0 == b"z").then_some(())
    });
    assert!(gateway.metric(r#"tollgate_tcp_connections_total{service="t",end="refused"}"#).unwrap() >= 1.0);
}
