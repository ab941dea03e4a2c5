//! What is sent, what may come back, and how long it may take.

use http::StatusCode;

use super::*;

/// What the upstream gets for `request`.
async fn sent(definition: impl FnOnce(Upstream) -> Upstream, request: Request<TestBody>) -> String {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let sender = std::cell::Cell::new(Some(sender));
    let origin = Origin::start(move |mut peer, _| {
        let sender = sender.take();
        async move {
            let request = peer.request().await.unwrap();
            peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
            sender.unwrap().send(request).unwrap();
        }
    })
    .await;
    let pool = pool(definition(super::definition(&[origin.address])));
    assert_eq!(answered(&pool, request).await.0, 204);
    within(receiver).await.unwrap().replace(&origin.address.port().to_string(), "PORT")
}

#[tokio::test]
async fn the_host_field_is_as_the_policy_says() {
    on_worker(async {
        let host = |host: HostHeader| sent(|upstream| Upstream { host, ..upstream }, get());
        assert!(host(HostHeader::Client).await.contains("\r\nhost: client.test\r\n"));
        assert!(host(HostHeader::Endpoint).await.contains("\r\nhost: 127.0.0.1:PORT\r\n"));
        assert!(host(HostHeader::Fixed("x.test".into())).await.contains("\r\nhost: x.test\r\n"));
    })
    .await;
}

#[tokio::test]
async fn bodies_are_framed_by_what_is_known_of_them() {
    on_worker(async {
        let bare = sent(|upstream| upstream, get()).await;
        assert_eq!(bare, "GET /a?b=1 HTTP/1.1\r\nhost: client.test\r\n\r\n");
        let known = sent(|upstream| upstream, post("abc")).await;
        assert!(known.contains("content-length: 3\r\n") && known.ends_with("\r\n\r\nabc"), "{known}");
        for method in [Method::POST, Method::GET] {
            let (sender, body) = channel();
            sender.send(Ok(Bytes::from_static(b"abc"))).await.unwrap();
            drop(sender);
            let chunked = sent(|upstream| upstream, request(method).map(|_| body)).await;
            assert!(chunked.contains("transfer-encoding: chunked\r\n"), "{chunked}");
            assert!(chunked.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{chunked}");
        }
        let mut old = get();
        *old.version_mut() = http::Version::HTTP_10;
        assert!(sent(|upstream| upstream, old).await.starts_with("GET /a?b=1 HTTP/1.1\r\n"));
    })
    .await;
}

#[tokio::test]
async fn trailers_come_through() {
    on_worker(async {
        let origin = Origin::answering(&[
            "HTTP/1.1 200 OK\r\ntrailer: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: 1\r\n\r\n",
        ])
        .await;
        let pool = pool_to(&origin);
        for _ in 0..2 {
            let answer = within(pool.send(get())).await.unwrap();
            let body = within(answer.response.into_body().collect()).await.unwrap();
            assert_eq!(body.trailers().unwrap()["x"], "1");
        }
        assert_eq!(origin.accepted(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_a_response_is_a_protocol_error() {
    on_worker(async {
        let long: &'static str = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(70_000)).leak();
        let many: &'static str = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: a\r\n".repeat(101)).leak();
        for nonsense in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            long,
            many,
        ] {
            let origin = Origin::start(move |mut peer, _| async move {
                peer.request().await.unwrap();
                peer.send(nonsense).await;
                peer.until_closed().await;
            })
            .await;
            let error = within(pool_to(&origin).send(get())).await.unwrap_err();
            assert!(matches!(&error, SendError::Protocol { .. }), "{error:?}");
            assert_eq!((error.retry(), error.blame()), (Retry::Never, Blame::Upstream));
            origin.ended(1).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_response_that_does_not_come_is_a_timeout() {
    on_worker(async {
        let origin = Origin::start(async |mut peer, _| {
            peer.request().await.unwrap();
            peer.send("HTTP/1.1 200").await;
            peer.until_closed().await;
        })
        .await;
        // The clock jumps to the next deadline as soon as nothing else can happen: that of the
        // connection must not be it.
        let pool = pool(Upstream { connect_timeout: Duration::MAX, ..definition(&[origin.address]) });
        tokio::time::pause();
        let error = pool.send(get()).await.unwrap_err();
        tokio::time::resume();
        assert!(matches!(&error, SendError::ResponseTimeout { .. }), "{error:?}");
        assert_eq!(error.retry(), Retry::IfIdempotent);
        assert_eq!(pool.stats().response_timeouts, 1);
        origin.ended(1).await;
    })
    .await;
}

#[tokio::test]
async fn a_truncated_body_is_an_error_and_not_an_end() {
    on_worker(async {
        for head in ["content-length: 9", "transfer-encoding: chunked"] {
            let origin = Origin::start(move |mut peer, _| async move {
                peer.request().await.unwrap();
                peer.send(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n2\r\nok")).await;
            })
            .await;
            let pool = pool_to(&origin);
            let answer = within(pool.send(get())).await.unwrap();
            assert_eq!(answer.response.status(), StatusCode::OK);
            assert!(within(answer.response.into_body().collect()).await.is_err());
            assert_eq!(pool.stats().idle, 0);
        }
    })
    .await;
}
