//! What hyper refuses, what it repairs and what the guard adds, over real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

/// Answers 200 with the framing fields and the body as they arrived, or what the guard says.
async fn guarded(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let mut response = Response::default();
    if check_request(&parts.method, &parts.headers).is_err() {
        *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
        return Ok(response);
    }
    let lengths = parts.headers.get_all(CONTENT_LENGTH).iter().count();
    match body.collect().await {
        Ok(body) => {
            let text = format!("{lengths} lengths, {} bytes", body.to_bytes().len());
            *response.body_mut() = Full::from(text);
        }
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}

/// A server for one connection.
async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper::service::service_fn(guarded);
        let _ =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    });
    address
}

/// All that the server answers until it closes; the sender ends its side after `raw`.
async fn exchange(raw: &[u8]) -> String {
    let mut stream = TcpStream::connect(serve().await).await.unwrap();
    stream.write_all(raw).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "current_thread")]
async fn requests() {
    const REFUSED: &str = "HTTP/1.1 400";
    const UNSUPPORTED: &str = "HTTP/1.1 501";
    let table: &[(&str, &str, &str)] = &[
        // hyper refuses
        ("POST / HTTP/1.1", "content-length: 3\r\ncontent-length: 4\r\n\r\nabcd", REFUSED),
        ("POST / HTTP/1.1", "content-length: 3, 4\r\n\r\nabcd", REFUSED),
        ("POST / HTTP/1.1", "content-length: +3\r\n\r\nabc", REFUSED),
        ("POST / HTTP/1.1", "content-length: -1\r\n\r\nabc", REFUSED),
        ("POST / HTTP/1.1", "content-length: 0x3\r\n\r\nabc", REFUSED),
        ("POST / HTTP/1.1", "content-length: 99999999999999999999\r\n\r\nabc", REFUSED),
        ("POST / HTTP/1.1", "transfer-encoding: gzip\r\n\r\nabc", REFUSED),
        ("POST / HTTP/1.1", "transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n", REFUSED),
        ("POST / HTTP/1.1", "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", REFUSED),
        ("POST / HTTP/1.1", "transfer-encoding : chunked\r\n\r\n0\r\n\r\n", REFUSED),
        ("POST / HTTP/1.0", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n", REFUSED),
        ("POST / HTTP/1.1", "content-length : 3\r\n\r\nabc", REFUSED),
        ("GET / HTTP/1.1", " x: leading space\r\n\r\n", REFUSED),
        ("GET / HTTP/1.1", "x y: space\r\n\r\n", REFUSED),
        ("GET / HTTP/1.1", "x: a\r\n folded\r\n\r\n", REFUSED),
        ("GET / HTTP/1.1", "x: a\rb: c\r\n\r\n", REFUSED),
        ("GET / HTTP/1.1", "x: a\0b\r\n\r\n", REFUSED),
        ("GET / HTTP/1.1", "no colon\r\n\r\n", REFUSED),
        ("GET  / HTTP/1.1", "\r\n", REFUSED),
        ("GET / HTTP/1.1 x", "\r\n", REFUSED),
        ("GET / HTTP/2.0", "\r\n", REFUSED),
        ("G@T / HTTP/1.1", "\r\n", REFUSED),
        // hyper fails the body, the reader of the body answers
        ("POST / HTTP/1.1", "transfer-encoding: chunked\r\n\r\nzz\r\n", REFUSED),
        ("POST / HTTP/1.1", "transfer-encoding: chunked\r\n\r\n-1\r\n", REFUSED),
        ("POST / HTTP/1.1", "transfer-encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n", REFUSED),
        ("POST / HTTP/1.1", "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", REFUSED),
        ("POST / HTTP/1.1", "content-length: 4\r\n\r\nabc", REFUSED),
        // hyper repairs
        ("POST / HTTP/1.1", "content-length: 3\r\ncontent-length: 3\r\n\r\nabc", "1 lengths, 3 bytes"),
        (
            "POST / HTTP/1.1",
            "content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "0 lengths, 0 bytes",
        ),
        (
            "POST / HTTP/1.1",
            "transfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\n",
            "0 lengths, 0 bytes",
        ),
        // the guard refuses
        ("POST / HTTP/1.1", "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", UNSUPPORTED),
        ("POST / HTTP/1.1", "transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", UNSUPPORTED),
        (
            "POST / HTTP/1.1",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            UNSUPPORTED,
        ),
        (
            "POST / HTTP/1.1",
            "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            UNSUPPORTED,
        ),
        ("POST / HTTP/1.1", "transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n", REFUSED),
        ("CONNECT a:80 HTTP/1.1", "\r\n", UNSUPPORTED),
        // good ones
        ("POST / HTTP/1.1", "content-length: 3\r\n\r\nabc", "1 lengths, 3 bytes"),
        ("POST / HTTP/1.1", "transfer-encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "0 lengths, 3 bytes"),
        ("GET / HTTP/1.1", "content-length: 3\r\n\r\nabc", "1 lengths, 3 bytes"),
        ("GET / HTTP/1.0", "\r\n", "0 lengths, 0 bytes"),
    ];
    let check = async {
        for (line, rest, expected) in table {
            let answer = exchange(format!("{line}\r\nhost: a\r\n{rest}").as_bytes()).await;
            assert!(answer.contains(expected), "{line} {rest:?}\n{answer}");
            let answers = answer.matches("HTTP/1.").count();
            assert_eq!(answers, 1, "one request gets one answer: {line} {rest:?}\n{answer}");
        }
    };
    LocalSet::new().run_until(check).await;
}

/// RFC 9112 §6.1: after Content-Length beside Transfer-Encoding nothing more may be read.
#[tokio::test(flavor = "current_thread")]
async fn a_connection_with_two_framings_is_closed() {
    let raw =
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
        GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = LocalSet::new().run_until(exchange(raw)).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

/// The upstream's side: what hyper's client makes of a response, after the repair.
async fn answered(raw: &'static str) -> Result<(HeaderMap, Bytes), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(raw.as_bytes()).await.unwrap();
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    spawn_local(connection);
    let request = Request::get("/").header("host", "a").body(Empty::<Bytes>::new()).unwrap();
    let text = |error: hyper::Error| error.to_string();
    let (mut parts, body) = sender.send_request(request).await.map_err(text)?.into_parts();
    repair_response(&mut parts.headers).map_err(|error| error.to_string())?;
    Ok((parts.headers, body.collect().await.map_err(text)?.to_bytes()))
}

#[tokio::test(flavor = "current_thread")]
async fn responses() {
    let refused = [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: 3x\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx : a\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "nonsense\r\n\r\n",
    ];
    let check = async {
        for raw in refused {
            assert!(answered(raw).await.is_err(), "{raw:?}");
        }
        let two = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let (headers, body) = answered(two).await.unwrap();
        assert_eq!((headers.get(CONTENT_LENGTH), &*body), (None, &b"abc"[..]));
    };
    LocalSet::new().run_until(check).await;
}
