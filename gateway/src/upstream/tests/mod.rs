//! Pools and exchanges over real sockets.

mod connecting;
mod exchange;
mod http2;
mod keeping;
pub(super) mod origin;
mod streaming;

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use self::origin::{Origin, within};
use super::*;
use crate::policy::upstream::{Endpoint, HostHeader, Protocol};

type TestBody = UnsyncBoxBody<Bytes, BoxError>;
type TestPool = Rc<UpstreamPool<TestBody>>;

/// Runs a test as a worker would.
async fn on_worker(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

pub(super) fn definition(origins: &[std::net::SocketAddr]) -> Upstream {
    let endpoint = |address: &std::net::SocketAddr| Endpoint {
        host: address.ip().to_string().into(),
        port: address.port(),
    };
    Upstream {
        name: "test".into(),
        protocol: Protocol::Http1,
        endpoints: origins.iter().map(endpoint).collect(),
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(60),
        idle_connections_max: NonZeroU32::new(64).unwrap(),
        refused_pause: Duration::from_secs(5),
        host: HostHeader::Client,
    }
}

fn pool(definition: Upstream) -> TestPool {
    Rc::new(UpstreamPool::new(Arc::new(definition)))
}

fn pool_to(origin: &Origin) -> TestPool {
    pool(definition(&[origin.address]))
}

fn request(method: Method) -> Request<TestBody> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    Request::builder().method(method).uri("/a?b=1").header("host", "client.test").body(body).unwrap()
}

fn get() -> Request<TestBody> {
    request(Method::GET)
}

fn post(body: &'static str) -> Request<TestBody> {
    let body = Full::from(body).map_err(|never| match never {}).boxed_unsync();
    request(Method::POST).map(|_| body)
}

/// A request body that a test feeds, one piece ahead.
fn channel() -> (mpsc::Sender<Result<Bytes, BoxError>>, TestBody) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Fed(receiver).boxed_unsync())
}

struct Fed(mpsc::Receiver<Result<Bytes, BoxError>>);

impl Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// The whole response: status, whether the connection was kept, and the body.
async fn answered(pool: &TestPool, request: Request<TestBody>) -> (u16, ConnectionUse, String) {
    let answer = within(pool.send(request)).await.unwrap();
    let status = answer.response.status().as_u16();
    let body = within(answer.response.into_body().collect()).await.unwrap().to_bytes();
    (status, answer.connection, String::from_utf8_lossy(&body).into_owned())
}
