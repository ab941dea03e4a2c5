//! Endpoints that refuse, hang or have to be looked up.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

/// A port that is taken, so that nobody else gets it, and refuses connections.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[tokio::test]
async fn a_refusing_endpoint_is_skipped_for_a_while() {
    on_worker(async {
        let origin = Origin::answering(&[OK]).await;
        let (_socket, refusing) = refusing();
        let pool = pool(definition(&[refusing, origin.address]));
        for _ in 0..4 {
            assert_eq!(answered(&pool, get()).await.0, 200);
        }
        assert_eq!((pool.stats().connect_failures, pool.stats().paused_endpoints), (1, 1));
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(6)).await;
        tokio::time::resume();
        for _ in 0..2 {
            assert_eq!(answered(&pool, get()).await.0, 200);
        }
        assert_eq!(pool.stats().connect_failures, 2);
        assert_eq!(origin.accepted(), 6);
    })
    .await;
}

#[tokio::test]
async fn requests_take_turns_over_endpoints() {
    on_worker(async {
        let origins = [Origin::answering(&[OK]).await, Origin::answering(&[OK]).await];
        let pool = pool(definition(&[origins[0].address, origins[1].address]));
        for turn in 0..4 {
            let answer = within(pool.send(get())).await.unwrap();
            assert_eq!(answer.endpoint().port, origins[turn % 2].address.port());
            answer.response.into_body().collect().await.unwrap();
        }
        assert_eq!(origins.map(|origin| origin.accepted()), [2, 2]);
    })
    .await;
}

#[tokio::test]
async fn all_endpoints_are_tried_even_if_all_refused_before() {
    on_worker(async {
        let (_one, first) = refusing();
        let (_two, second) = refusing();
        let pool = pool(definition(&[first, second]));
        for failures in [2, 4] {
            let error = within(pool.send(get())).await.unwrap_err();
            assert!(matches!(&error, SendError::Connect { .. }), "{error:?}");
            assert_eq!((error.retry(), error.blame()), (Retry::Safe, Blame::Upstream));
            assert_eq!(pool.stats().connect_failures, failures);
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_body_survives_a_refused_connection() {
    on_worker(async {
        let (_socket, refusing) = refusing();
        let origin = Origin::start(async |mut peer, _| {
            assert!(peer.request().await.unwrap().ends_with("\r\n\r\nbody"));
            peer.send(OK).await;
        })
        .await;
        let pool = pool(definition(&[refusing, origin.address]));
        assert_eq!(answered(&pool, post("body")).await.0, 200);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_does_not_come_is_a_timeout() {
    on_worker(async {
        // Nobody accepts, and the queue is full: further connections hang.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let fillers: Vec<_> = (0..4).map(|_| tokio::task::spawn_local(TcpStream::connect(address))).collect();
        tokio::task::yield_now().await;
        // The clock jumps to the deadline as soon as nothing else can happen.
        tokio::time::pause();
        let pool = pool(definition(&[address]));
        let error = pool.send(get()).await.unwrap_err();
        assert!(matches!(&error, SendError::ConnectTimeout { .. }), "{error:?}");
        assert_eq!(error.retry(), Retry::Safe);
        assert_eq!(pool.stats().paused_endpoints, 1);
        drop(fillers);
    })
    .await;
}

#[tokio::test]
async fn names_are_looked_up() {
    on_worker(async {
        let origin = Origin::answering(&[OK]).await;
        let port = origin.address.port();
        let of = |host: &str| {
            let endpoints = vec![Endpoint { host: host.into(), port }];
            pool(Upstream { endpoints, ..definition(&[]) })
        };
        assert_eq!(answered(&of("localhost"), get()).await.0, 200);
        let error = within(of("does-not-exist.invalid").send(get())).await.unwrap_err();
        assert!(matches!(error, SendError::Dns { .. } | SendError::ConnectTimeout { .. }), "{error:?}");
    })
    .await;
}
