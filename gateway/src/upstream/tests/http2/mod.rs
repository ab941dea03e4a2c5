//! HTTP/2 against a real server: the `h2` crate's, which does exactly what a test says.

mod connections;
mod failures;

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
