//! Connections that are kept, and when they are not.

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_is_kept_after_every_kind_of_response() {
    on_worker(async {
        let origin = Origin::answering(&[
            OK,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ])
        .await;
        let pool = pool_to(&origin);
        assert_eq!(answered(&pool, get()).await, (200, ConnectionUse::New, "ok".into()));
        for (status, body) in [(200, "ok"), (204, ""), (304, ""), (200, ""), (200, "ok"), (200, "ok")] {
            assert_eq!(answered(&pool, get()).await, (status, ConnectionUse::Reused, body.into()));
        }
        assert_eq!(origin.accepted(), 1);
        let stats = UpstreamStats { reused: 6, connected: 1, idle: 1, ..UpstreamStats::default() };
        assert_eq!(pool.stats(), stats);
    })
    .await;
}

#[tokio::test]
async fn a_head_response_has_no_body_and_keeps_the_connection() {
    on_worker(async {
        let origin = Origin::answering(&["HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"]).await;
        let pool = pool_to(&origin);
        for _ in 0..2 {
            let answer = within(pool.send(request(Method::HEAD))).await.unwrap();
            assert_eq!(answer.response.headers()["content-length"], "99");
            assert!(http_body::Body::is_end_stream(answer.response.body()));
        }
        assert_eq!(origin.accepted(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_connection_is_not_kept_when_the_upstream_says_so() {
    on_worker(async {
        let origin = Origin::start(async |mut peer, number| {
            peer.request().await.unwrap();
            peer.send(match number {
                0 => "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
                1 => "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
                _ => "HTTP/1.1 200 OK\r\n\r\nok",
            })
            .await;
            // Except for the last, which is delimited by it, the end is the pool's doing.
            if number < 2 {
                peer.until_closed().await;
            }
        })
        .await;
        let pool = pool_to(&origin);
        for number in 1..=3 {
            assert_eq!(answered(&pool, get()).await, (200, ConnectionUse::New, "ok".into()));
            origin.ended(number).await;
        }
        assert_eq!(pool.stats().idle, 0);
    })
    .await;
}

#[tokio::test]
async fn idle_connections_are_limited() {
    on_worker(async {
        let origin = Origin::answering(&[OK]).await;
        let max = NonZeroU32::new(2).unwrap();
        let pool = pool(Upstream { idle_connections_max: max, ..definition(&[origin.address]) });
        let three = tokio::join!(pool.send(get()), pool.send(get()), pool.send(get()));
        for answer in [three.0, three.1, three.2] {
            answer.unwrap().response.into_body().collect().await.unwrap();
        }
        origin.ended(1).await;
        assert_eq!((origin.accepted(), pool.stats().idle), (3, 2));
    })
    .await;
}

#[tokio::test]
async fn idle_connections_age() {
    on_worker(async {
        let origin = Origin::answering(&[OK]).await;
        let pool = pool_to(&origin);
        answered(&pool, get()).await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::time::resume();
        assert_eq!(answered(&pool, get()).await.1, ConnectionUse::New);
        origin.ended(1).await;

        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::time::resume();
        pool.sweep();
        assert_eq!(pool.stats().idle, 0);
        origin.ended(2).await;
    })
    .await;
}

#[tokio::test]
async fn a_closed_idle_connection_is_noticed() {
    on_worker(async {
        let origin = Origin::start(async |mut peer, _| {
            peer.request().await.unwrap();
            peer.send(OK).await;
        })
        .await;
        let pool = pool_to(&origin);
        answered(&pool, get()).await;
        within(async {
            while pool.stats().idle > 0 {
                tokio::task::yield_now().await;
                pool.sweep();
            }
        })
        .await;
        assert_eq!(answered(&pool, post("x")).await.1, ConnectionUse::New);
    })
    .await;
}

#[tokio::test]
async fn a_closed_idle_connection_costs_no_request() {
    on_worker(async {
        let close = Rc::new(tokio::sync::Notify::new());
        let wait = Rc::clone(&close);
        let origin = Origin::start(move |mut peer, number| {
            let wait = Rc::clone(&wait);
            async move {
                peer.request().await.unwrap();
                peer.send(OK).await;
                if number == 0 {
                    wait.notified().await;
                }
            }
        })
        .await;
        let pool = pool_to(&origin);
        answered(&pool, get()).await;
        assert_eq!(pool.stats().idle, 1);
        close.notify_one();
        origin.ended(1).await;
        // Enough turns of the runtime for it to hear of the end.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        // Not idempotent and with a body, but nothing of it was sent yet.
        let (sender, body) = channel();
        sender.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
        drop(sender);
        let answer = answered(&pool, request(Method::POST).map(|_| body)).await;
        assert_eq!(answer, (200, ConnectionUse::New, "ok".into()));
        assert_eq!(pool.stats().stale_retries, 1);
    })
    .await;
}

/// An origin that closes each connection in the moment its second request has arrived.
async fn closing_at_the_second_request(reset: bool) -> Origin {
    Origin::start(move |mut peer, _| async move {
        peer.request().await.unwrap();
        peer.send(OK).await;
        peer.head().await;
        if reset {
            peer.reset();
        }
    })
    .await
}

#[tokio::test]
async fn a_stale_connection_is_replaced_once_for_an_idempotent_request() {
    on_worker(async {
        for (method, reset) in [(Method::GET, false), (Method::GET, true), (Method::DELETE, false)] {
            let origin = closing_at_the_second_request(reset).await;
            let pool = pool_to(&origin);
            answered(&pool, get()).await;
            let answer = answered(&pool, request(method)).await;
            assert_eq!(answer, (200, ConnectionUse::New, "ok".into()));
            assert_eq!((origin.accepted(), pool.stats().stale_retries), (2, 1));
        }
    })
    .await;
}

#[tokio::test]
async fn the_second_copy_of_a_request_is_the_same() {
    on_worker(async {
        let seen = Rc::new(std::cell::RefCell::new(Vec::new()));
        let record = Rc::clone(&seen);
        let origin = Origin::start(move |mut peer, number| {
            let record = Rc::clone(&record);
            async move {
                peer.request().await.unwrap();
                peer.send(OK).await;
                while let Some(request) = peer.request().await {
                    record.borrow_mut().push(request);
                    if number == 0 {
                        return;
                    }
                    peer.send(OK).await;
                }
            }
        })
        .await;
        let pool = pool_to(&origin);
        answered(&pool, get()).await;
        // The second connection answers its first request outside of the record; make it idle.
        let mut request = get();
        request.headers_mut().append("x", "1".parse().unwrap());
        request.headers_mut().append("x", "2".parse().unwrap());
        answered(&pool, request).await;
        let mut request = get();
        request.headers_mut().append("x", "1".parse().unwrap());
        request.headers_mut().append("x", "2".parse().unwrap());
        answered(&pool, request).await;
        let seen = seen.borrow();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], seen[1]);
        assert_eq!(seen[0], "GET /a?b=1 HTTP/1.1\r\nhost: client.test\r\nx: 1\r\nx: 2\r\n\r\n");
    })
    .await;
}

#[tokio::test]
async fn a_request_that_may_have_been_acted_on_is_not_repeated() {
    on_worker(async {
        for request in [post("x"), request(Method::POST), post("x").map(|body| body)] {
            let origin = closing_at_the_second_request(false).await;
            let pool = pool_to(&origin);
            answered(&pool, get()).await;
            let error = within(pool.send(request)).await.unwrap_err();
            assert!(matches!(&error, SendError::Closed { sent: Sent::Something, .. }), "{error:?}");
            assert_eq!((error.retry(), error.blame()), (Retry::IfIdempotent, Blame::Upstream));
            assert_eq!(origin.accepted(), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_new_connection_that_closes_is_an_error_at_once() {
    on_worker(async {
        let origin = Origin::start(async |mut peer, _| {
            peer.request().await;
        })
        .await;
        let error = within(pool_to(&origin).send(get())).await.unwrap_err();
        assert!(matches!(&error, SendError::Closed { .. }), "{error:?}");
        assert_eq!(origin.accepted(), 1);
    })
    .await;
}

#[tokio::test]
async fn pools_are_carried_over_by_definition() {
    on_worker(async {
        let origin = Origin::answering(&[OK]).await;
        let first = Arc::new(definition(&[origin.address]));
        let old: Upstreams<TestBody> = Upstreams::build(&[Arc::clone(&first)], None);
        answered(old.get("test").unwrap(), get()).await;

        let same = Upstreams::build(&[Arc::new(definition(&[origin.address]))], Some(&old));
        assert!(Rc::ptr_eq(old.get("test").unwrap(), same.get("test").unwrap()));
        let changed = Upstream { idle_timeout: Duration::from_secs(9), ..definition(&[origin.address]) };
        let changed = Upstreams::build(&[Arc::new(changed)], Some(&old));
        assert_eq!(changed.get("test").unwrap().stats().idle, 0);
        assert!(changed.get("other").is_none());
        assert_eq!(changed.iter().count(), 1);

        assert_eq!(answered(same.get("test").unwrap(), get()).await.1, ConnectionUse::Reused);
        // The last owner closes what is idle.
        drop((old, same));
        origin.ended(1).await;
    })
    .await;
}

/// What is published of a pool is told apart by who it is, also from one that is gone, whose place in memory
/// it may have.
#[tokio::test]
async fn no_two_pools_are_taken_for_one() {
    let definitions = [Protocol::Http1, Protocol::Redis].map(|protocol| Upstream {
        protocol,
        name: format!("{protocol:?}").into(),
        ..definition(&[([127, 0, 0, 1], 1).into()])
    });
    let definitions = definitions.map(Arc::new);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..10 {
        let upstreams: Upstreams<TestBody> = Upstreams::build(&definitions, None);
        let ids = definitions.iter().map(|it| upstreams.stats(&it.name).unwrap().0);
        assert!(ids.clone().all(|id| seen.insert(id)));
        let same = Upstreams::build(&definitions, Some(&upstreams));
        assert!(ids.eq(definitions.iter().map(|it| same.stats(&it.name).unwrap().0)));
    }
}
