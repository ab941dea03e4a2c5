//! HTTP/2 against a real server: the `h2` crate's, which does exactly what a test says.

use std::cell::{Cell, RefCell};

use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::origin::Peer;
use super::*;

type ServerConnection = h2::server::Connection<TcpStream, Bytes>;
type Received = Request<RecvStream>;

async fn serve(peer: Peer) -> ServerConnection {
    Builder::new().handshake(peer.into_stream()).await.unwrap()
}

/// An origin that runs `handler` for each request, all at once; its last argument tells how many
/// connections came before.
async fn handling<F>(
    streams_max: u32,
    handler: impl Fn(Received, SendResponse<Bytes>, usize) -> F + 'static,
) -> Origin
where
    F: Future<Output = ()> + 'static,
{
    let handler = Rc::new(handler);
    Origin::start(move |peer, number| {
        let handler = Rc::clone(&handler);
        async move {
            let mut builder = Builder::new();
            builder.max_concurrent_streams(streams_max);
            let mut connection = builder.handshake::<_, Bytes>(peer.into_stream()).await.unwrap();
            while let Some(Ok((request, respond))) = connection.accept().await {
                spawn_local(handler(request, respond, number));
            }
        }
    })
    .await
}

/// Answers 200 with a body.
fn respond_with(mut respond: SendResponse<Bytes>, body: impl Into<Bytes>) {
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    stream.send_data(body.into(), true).unwrap();
}

async fn read(mut body: RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    (bytes, body.trailers().await.unwrap())
}

fn http2(origins: &[std::net::SocketAddr]) -> Upstream {
    Upstream { protocol: Protocol::Http2, ..definition(origins) }
}

fn http2_to(origin: &Origin) -> TestPool {
    pool(http2(&[origin.address]))
}

/// A gate that a test opens.
#[derive(Default)]
struct Gate {
    waiting: Cell<usize>,
    is_open: Cell<bool>,
    changed: Notify,
}

impl Gate {
    async fn pass(&self) {
        self.waiting.set(self.waiting.get() + 1);
        self.changed.notify_waiters();
        self.until(|gate| gate.is_open.get()).await;
    }

    async fn holds(&self, count: usize) {
        within(self.until(|gate| gate.waiting.get() == count)).await;
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if condition(self) {
                return;
            }
            changed.await;
        }
    }

    fn open(&self) {
        self.is_open.set(true);
        self.changed.notify_waiters();
    }
}

#[tokio::test]
async fn requests_share_a_connection() {
    on_worker(async {
        let gate = Rc::new(Gate::default());
        let held = Rc::clone(&gate);
        let origin = handling(100, move |request, respond, _| {
            let held = Rc::clone(&held);
            async move {
                held.pass().await;
                respond_with(respond, request.uri().path().to_owned());
            }
        })
        .await;
        let pool = http2_to(&origin);
        let answers: Vec<_> = (0..20)
            .map(|number| {
                let pool = Rc::clone(&pool);
                let mut request = get();
                *request.uri_mut() = format!("/{number}").parse().unwrap();
                spawn_local(async move { answered(&pool, request).await })
            })
            .collect();
        gate.holds(20).await;
        gate.open();
        let mut new = 0;
        for (number, answer) in answers.into_iter().enumerate() {
            let (status, used, body) = answer.await.unwrap();
            assert_eq!((status, body), (200, format!("/{number}")));
            new += usize::from(used == ConnectionUse::New);
        }
        assert_eq!((origin.accepted(), new), (1, 1));
        let stats = UpstreamStats { reused: 19, connected: 1, idle: 1, ..UpstreamStats::default() };
        assert_eq!(pool.stats(), stats);
    })
    .await;
}

#[tokio::test]
async fn a_request_becomes_one_of_http2() {
    on_worker(async {
        let seen: Rc<RefCell<Vec<Received>>> = Rc::default();
        let record = Rc::clone(&seen);
        let origin = handling(100, move |request, respond, _| {
            record.borrow_mut().push(request);
            async move { respond_with(respond, "ok") }
        })
        .await;
        let fixed = HostHeader::Fixed("fixed.test".into());
        for host in [HostHeader::Client, HostHeader::Endpoint, fixed] {
            let mut request = get();
            let headers = request.headers_mut();
            headers.insert("connection", HeaderValue::from_static("te"));
            headers.insert("te", HeaderValue::from_static("trailers"));
            let pool = pool(Upstream { host, ..http2(&[origin.address]) });
            let answer = within(pool.send(request)).await.unwrap();
            assert_eq!(answer.response.version(), http::Version::HTTP_11);
        }
        let mut star = request(Method::OPTIONS);
        *star.uri_mut() = "*".parse().unwrap();
        answered(&http2_to(&origin), star).await;
        let seen = seen.borrow();
        let endpoint = origin.address.to_string();
        for (request, authority) in seen.iter().zip(["client.test", &endpoint, "fixed.test"]) {
            assert_eq!(*request.uri(), *format!("http://{authority}/a?b=1"));
            assert_eq!(
                *request.headers(),
                HeaderMap::from_iter([(http::header::TE, HeaderValue::from_static("trailers"))])
            );
        }
        assert_eq!((seen[3].method(), seen[3].uri().path()), (&Method::OPTIONS, "*"));
        assert_eq!(seen[3].uri().authority().unwrap(), "client.test");
    })
    .await;
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways() {
    on_worker(async {
        let origin = handling(100, |request, mut respond, _| async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            let (body, trailers) = read(request.into_body()).await;
            stream.send_data(body.into(), false).unwrap();
            stream.send_trailers(trailers.unwrap()).unwrap();
        })
        .await;
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        )]);
        // More than all windows together.
        let large = Bytes::from(vec![b'x'; 9_000_000]);
        let frames = [Frame::data(large.clone()), Frame::trailers(trailers.clone())];
        let body = Pieces(frames.into()).boxed_unsync();
        let request = request(Method::POST).map(|_| body);
        let answer = within(http2_to(&origin).send(request)).await.unwrap();
        let collected = within(answer.response.into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert!(collected.to_bytes() == large);
    })
    .await;
}

/// Frames, one after the other.
struct Pieces(std::collections::VecDeque<Frame<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

#[tokio::test]
async fn a_full_connection_gets_a_second_one() {
    on_worker(async {
        let gate = Rc::new(Gate::default());
        let held = Rc::clone(&gate);
        let origin = handling(2, move |_, respond, _| {
            let held = Rc::clone(&held);
            async move {
                held.pass().await;
                respond_with(respond, "ok");
            }
        })
        .await;
        let pool = http2_to(&origin);
        let answers: Vec<_> = (0..5)
            .map(|_| {
                let pool = Rc::clone(&pool);
                spawn_local(async move { answered(&pool, get()).await.0 })
            })
            .collect();
        gate.holds(5).await;
        assert_eq!(origin.accepted(), 3);
        gate.open();
        for answer in answers {
            assert_eq!(answer.await.unwrap(), 200);
        }
        assert_eq!(pool.stats().idle, 3);
    })
    .await;
}

#[tokio::test]
async fn all_who_wait_for_a_connection_hear_that_it_failed() {
    on_worker(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let refusing = listener.local_addr().unwrap();
        drop(listener);
        let pool = pool(http2(&[refusing]));
        let (first, second, third) =
            within(async { tokio::join!(pool.send(get()), pool.send(get()), pool.send(get())) }).await;
        for answer in [first, second, third] {
            let error = answer.unwrap_err();
            assert!(matches!(&error, SendError::Connect { .. }), "{error:?}");
            assert_eq!((error.retry(), error.blame()), (Retry::Safe, Blame::Upstream));
        }
        let stats = pool.stats();
        assert_eq!((stats.connect_failures, stats.paused_endpoints), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn the_next_endpoint_is_tried() {
    on_worker(async {
        let origin = handling(100, |_, respond, _| async move { respond_with(respond, "ok") }).await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let refusing = listener.local_addr().unwrap();
        drop(listener);
        let pool = pool(http2(&[refusing, origin.address]));
        for _ in 0..3 {
            assert_eq!(answered(&pool, get()).await.0, 200);
        }
        assert_eq!(origin.accepted(), 1);
    })
    .await;
}

#[tokio::test]
async fn after_goaway_a_new_connection_is_made_and_running_streams_end_well() {
    on_worker(async {
        let gate = Rc::new(Gate::default());
        let held = Rc::clone(&gate);
        let origin = Origin::start(move |peer, number| {
            let held = Rc::clone(&held);
            async move {
                let mut connection = serve(peer).await;
                let mut count = 0;
                while let Some(Ok((_, respond))) = connection.accept().await {
                    count += 1;
                    if number == 0 && count == 1 {
                        let held = Rc::clone(&held);
                        spawn_local(async move {
                            held.pass().await;
                            respond_with(respond, "late");
                        });
                        connection.graceful_shutdown();
                    } else {
                        respond_with(respond, "ok");
                    }
                }
            }
        })
        .await;
        let pool = http2_to(&origin);
        let slow = {
            let pool = Rc::clone(&pool);
            spawn_local(async move { answered(&pool, get()).await })
        };
        gate.holds(1).await;
        // The GOAWAY may or may not have been read: a request that meets it is sent again.
        within(async {
            while origin.accepted() < 2 {
                assert_eq!(answered(&pool, post("x")).await.2, "ok");
            }
        })
        .await;
        gate.open();
        assert_eq!(within(slow).await.unwrap().2, "late");
        origin.ended(1).await;
        assert_eq!(answered(&pool, get()).await.1, ConnectionUse::Reused);
    })
    .await;
}

#[tokio::test]
async fn a_refused_stream_is_opened_again_if_there_is_no_body() {
    on_worker(async {
        let refused = Rc::new(Cell::new(0));
        let count = Rc::clone(&refused);
        let origin = handling(100, move |_, mut respond, _| {
            count.set(count.get() + 1);
            let refuse = count.get() == 1;
            async move {
                match refuse {
                    true => respond.send_reset(Reason::REFUSED_STREAM),
                    false => respond_with(respond, "ok"),
                }
            }
        })
        .await;
        let pool = http2_to(&origin);
        // Not idempotent, but the peer says that it did nothing.
        assert_eq!(answered(&pool, request(Method::POST)).await.2, "ok");
        assert_eq!((refused.get(), pool.stats().stale_retries), (2, 1));

        refused.set(0);
        let error = within(pool.send(post("x"))).await.unwrap_err();
        assert!(matches!(&error, SendError::Closed { sent: Sent::Nothing, .. }), "{error:?}");
        assert_eq!(error.retry(), Retry::Safe);
        assert_eq!(origin.accepted(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_refuses_everything_is_not_asked_for_ever() {
    on_worker(async {
        let asked = Rc::new(Cell::new(0));
        let count = Rc::clone(&asked);
        let origin = handling(100, move |_, mut respond, _| {
            count.set(count.get() + 1);
            async move { respond.send_reset(Reason::REFUSED_STREAM) }
        })
        .await;
        let error = within(http2_to(&origin).send(get())).await.unwrap_err();
        assert!(matches!(&error, SendError::Closed { sent: Sent::Nothing, .. }), "{error:?}");
        assert_eq!(asked.get(), 4);
    })
    .await;
}

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

#[tokio::test]
async fn idle_connections_age() {
    on_worker(async {
        let origin = handling(100, |_, respond, _| async move { respond_with(respond, "ok") }).await;
        let pool = http2_to(&origin);
        answered(&pool, get()).await;
        pool.sweep();
        assert_eq!(pool.stats().idle, 1);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::time::resume();
        pool.sweep();
        assert_eq!(pool.stats().idle, 0);
        origin.ended(1).await;
    })
    .await;
}
