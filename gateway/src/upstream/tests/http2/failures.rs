//! Streams, bodies and connections that break.

use super::*;

#[tokio::test]
async fn a_reset_stream_leaves_the_others_alone() {
    on_worker(async {
        let origin = handling(100, |request, mut respond, _| async move {
            match request.method() == Method::DELETE {
                true => respond.send_reset(Reason::INTERNAL_ERROR),
                false => respond_with(respond, "ok"),
            }
        })
        .await;
        let pool = http2_to(&origin);
        let error = within(pool.send(request(Method::DELETE))).await.unwrap_err();
        assert!(matches!(&error, SendError::Reset { reason: 2, .. }), "{error:?}");
        assert_eq!((error.retry(), error.blame()), (Retry::IfIdempotent, Blame::Upstream));
        assert_eq!(answered(&pool, get()).await.1, ConnectionUse::Reused);
    })
    .await;
}

#[tokio::test]
async fn a_slow_response_is_given_up_and_its_stream_reset() {
    on_worker(async {
        let reset = Rc::new(Cell::new(None));
        let seen = Rc::clone(&reset);
        let origin = handling(100, move |request, mut respond, _| {
            let seen = Rc::clone(&seen);
            async move {
                match request.method() == Method::DELETE {
                    true => seen.set(std::future::poll_fn(|cx| respond.poll_reset(cx)).await.ok()),
                    false => respond_with(respond, "ok"),
                }
            }
        })
        .await;
        let response_timeout = Duration::from_millis(50);
        let pool = pool(Upstream { response_timeout, ..http2(&[origin.address]) });
        let error = within(pool.send(request(Method::DELETE))).await.unwrap_err();
        assert!(matches!(&error, SendError::ResponseTimeout { .. }), "{error:?}");
        assert_eq!(pool.stats().response_timeouts, 1);
        within(async {
            while reset.get().is_none() {
                assert_eq!(answered(&pool, get()).await.0, 200);
            }
        })
        .await;
        assert_eq!(reset.get(), Some(Reason::CANCEL));
        assert_eq!(origin.accepted(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_reset() {
    on_worker(async {
        let reset = Rc::new(Gate::default());
        let seen = Rc::clone(&reset);
        let origin = handling(100, move |_, mut respond, _| {
            let seen = Rc::clone(&seen);
            async move {
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                stream.send_data(Bytes::from_static(b"x"), false).unwrap();
                let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
                assert_eq!(reason.unwrap(), Reason::CANCEL);
                seen.open();
            }
        })
        .await;
        let pool = http2_to(&origin);
        drop(within(pool.send(get())).await.unwrap());
        within(reset.until(|gate| gate.is_open.get())).await;
        assert_eq!(pool.stats().idle, 1);
    })
    .await;
}

#[tokio::test]
async fn a_request_body_that_fails_is_the_clients_fault() {
    on_worker(async {
        let origin = handling(100, |request, _respond, _| async move {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.data().await {}
        })
        .await;
        let (sender, body) = channel();
        let pool = http2_to(&origin);
        let send = pool.send(request(Method::POST).map(|_| body));
        let fail = async {
            sender.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
            sender.send(Err("cut off".into())).await.unwrap();
        };
        let (result, ()) = within(async { tokio::join!(send, fail) }).await;
        let error = result.unwrap_err();
        assert!(matches!(&error, SendError::RequestBody { .. }), "{error:?}");
        assert_eq!((error.retry(), error.blame()), (Retry::Never, Blame::Client));
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_does_not_speak_http2_is_told_so() {
    on_worker(async {
        let origin = Origin::start(async |mut peer, _| {
            peer.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            peer.until_closed().await;
        })
        .await;
        let error = within(http2_to(&origin).send(get())).await.unwrap_err();
        assert!(matches!(&error, SendError::Protocol { .. }), "{error:?}");
        assert_eq!((error.retry(), error.blame()), (Retry::Never, Blame::Upstream));
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_replaced_and_idempotent_requests_are_repeated() {
    on_worker(async {
        let origin = Origin::start(async |peer, number| {
            let mut connection = serve(peer).await;
            let mut count = 0;
            while let Some(Ok((_, respond))) = connection.accept().await {
                count += 1;
                if number % 2 == 0 && count == 2 {
                    // Without a word: the socket is dropped.
                    return;
                }
                respond_with(respond, "ok");
            }
        })
        .await;
        let pool = http2_to(&origin);
        for (used, body) in [(ConnectionUse::New, "ok"), (ConnectionUse::New, "ok")] {
            let answer = answered(&pool, get()).await;
            assert_eq!((answer.1, &*answer.2), (used, body));
        }
        assert_eq!((origin.accepted(), pool.stats().stale_retries), (2, 1));
    })
    .await;
}
