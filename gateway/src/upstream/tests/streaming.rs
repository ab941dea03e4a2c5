//! Bodies in both directions: back-pressure, aborts, and directions that outlast each other.

use std::cell::Cell;

use super::*;

const PIECE: Bytes = Bytes::from_static(&[b'x'; 64 * 1024]);

#[tokio::test]
async fn dropping_the_future_closes_the_connection() {
    on_worker(async {
        let arrived = Rc::new(tokio::sync::Notify::new());
        let tell = Rc::clone(&arrived);
        let origin = Origin::start(move |mut peer, _| {
            let tell = Rc::clone(&tell);
            async move {
                peer.request().await.unwrap();
                tell.notify_one();
                peer.until_closed().await;
            }
        })
        .await;
        let pool = pool_to(&origin);
        tokio::select! {
            answer = pool.send(get()) => panic!("{answer:?}"),
            () = within(arrived.notified()) => {}
        }
        origin.ended(1).await;
        assert_eq!(pool.stats().idle, 0);
    })
    .await;
}

#[tokio::test]
async fn dropping_the_body_closes_the_connection() {
    on_worker(async {
        let origin = Origin::start(async |mut peer, _| {
            peer.request().await.unwrap();
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok").await;
            peer.until_closed().await;
        })
        .await;
        let pool = pool_to(&origin);
        let mut answer = within(pool.send(get())).await.unwrap();
        let piece = within(answer.response.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(piece.into_data().unwrap(), "ok");
        drop(answer);
        origin.ended(1).await;
        assert_eq!(pool.stats().idle, 0);
    })
    .await;
}

#[tokio::test]
async fn a_response_is_not_read_faster_than_it_is_consumed() {
    on_worker(async {
        let sent = Rc::new(Cell::new(0_usize));
        let count = Rc::clone(&sent);
        let origin = Origin::start(move |mut peer, _| {
            let count = Rc::clone(&count);
            async move {
                peer.request().await.unwrap();
                peer.send("HTTP/1.1 200 OK\r\n\r\n").await;
                let piece = String::from_utf8(PIECE.to_vec()).unwrap();
                for _ in 0..1024 {
                    peer.send(&piece).await;
                    count.set(count.get() + piece.len());
                }
            }
        })
        .await;
        let pool = pool_to(&origin);
        let mut answer = within(pool.send(get())).await.unwrap();
        // The origin goes on until the buffers of the system are full.
        let mut before = usize::MAX;
        while before != sent.get() {
            before = sent.get();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        let total = 1024 * PIECE.len();
        assert!(before < total, "{before} of {total} bytes went nowhere");
        let mut received = 0;
        while let Some(frame) = within(answer.response.body_mut().frame()).await {
            received += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(received, total);
    })
    .await;
}

#[tokio::test]
async fn an_upload_does_not_wait_for_the_response_to_be_read() {
    on_worker(async {
        const PIECES: usize = 256;
        let uploaded = Rc::new(tokio::sync::Notify::new());
        let tell = Rc::clone(&uploaded);
        let origin = Origin::start(move |mut peer, _| {
            let tell = Rc::clone(&tell);
            async move {
                peer.head().await.unwrap();
                peer.send("HTTP/1.1 200 OK\r\n\r\nearly").await;
                peer.bytes(PIECES * PIECE.len()).await.unwrap();
                tell.notify_one();
                peer.send("late").await;
            }
        })
        .await;
        let pool = pool_to(&origin);
        let (sender, body) = channel();
        let mut request = request(Method::POST).map(|_| body);
        request.headers_mut().insert("content-length", (PIECES * PIECE.len()).into());
        let answer = within(pool.send(request)).await.unwrap();
        // Nobody reads the response meanwhile.
        for _ in 0..PIECES {
            within(sender.send(Ok(PIECE))).await.unwrap();
        }
        drop(sender);
        within(uploaded.notified()).await;
        let body = within(answer.response.into_body().collect()).await.unwrap().to_bytes();
        assert_eq!(body, "earlylate");
    })
    .await;
}

#[tokio::test]
async fn an_early_response_that_is_dropped_ends_the_upload() {
    on_worker(async {
        let origin = Origin::start(async |mut peer, _| {
            peer.head().await.unwrap();
            peer.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n").await;
            peer.until_closed().await;
        })
        .await;
        let pool = pool_to(&origin);
        let (sender, body) = channel();
        let answer = within(pool.send(request(Method::POST).map(|_| body))).await.unwrap();
        assert_eq!(answer.response.status(), 413);
        drop(answer);
        within(sender.closed()).await;
        origin.ended(1).await;
        assert_eq!(pool.stats().idle, 0);
    })
    .await;
}

#[tokio::test]
async fn a_connection_is_kept_after_an_upload() {
    on_worker(async {
        let origin = Origin::answering(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]).await;
        let pool = pool_to(&origin);
        assert_eq!(answered(&pool, post("abc")).await.1, ConnectionUse::New);
        for _ in 0..3 {
            let (sender, body) = channel();
            let feed = async {
                for _ in 0..10 {
                    sender.send(Ok(PIECE)).await.unwrap();
                }
                drop(sender);
            };
            let (_, answer) = tokio::join!(feed, answered(&pool, request(Method::POST).map(|_| body)));
            assert_eq!(answer, (200, ConnectionUse::Reused, "ok".into()));
        }
        assert_eq!(origin.accepted(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_failing_request_body_is_the_clients_fault() {
    on_worker(async {
        let origin = Origin::start(async |mut peer, _| peer.until_closed().await).await;
        let pool = pool_to(&origin);
        let (sender, body) = channel();
        sender.send(Err("cut off".into())).await.unwrap();
        let error = within(pool.send(request(Method::POST).map(|_| body))).await.unwrap_err();
        assert!(matches!(&error, SendError::RequestBody { .. }), "{error:?}");
        assert_eq!(error.body_error().unwrap().to_string(), "cut off");
        assert_eq!((error.retry(), error.blame()), (Retry::Never, Blame::Client));
        origin.ended(1).await;
    })
    .await;
}

/// The time for a response runs from the end of the request.
#[tokio::test]
async fn a_slow_upload_is_not_a_slow_response() {
    on_worker(async {
        let origin = Origin::answering(&["HTTP/1.1 204 No Content\r\n\r\n"]).await;
        let pool = pool(Upstream { connect_timeout: Duration::MAX, ..definition(&[origin.address]) });
        tokio::time::pause();
        let (sender, body) = channel();
        let feed = async {
            for _ in 0..3 {
                sender.send(Ok(Bytes::from_static(b"abc"))).await.unwrap();
                tokio::time::advance(Duration::from_secs(50)).await;
            }
            drop(sender);
        };
        let (_, answer) = tokio::join!(feed, pool.send(request(Method::POST).map(|_| body)));
        assert_eq!(answer.unwrap().response.status(), 204);
    })
    .await;
}
