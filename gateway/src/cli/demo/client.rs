//! Requests of the tour: HTTP/1.1 over hyper, one connection at a time.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No answer of the tour is larger.
const BODY_MAX: usize = 1 << 20;
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A connection that is kept open.
#[derive(Debug)]
pub(super) struct Client {
    address: SocketAddr,
    sender: SendRequest<Empty<Bytes>>,
}

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("no connection to {address}: {source}")]
    Connect { address: SocketAddr, source: std::io::Error },
    #[error("the exchange with {address} failed: {source}")]
    Exchange { address: SocketAddr, source: hyper::Error },
    #[error("the body from {address} failed: {source}")]
    Body { address: SocketAddr, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{address} did not answer within {ANSWER_MAX:?}")]
    Late { address: SocketAddr },
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, RequestError> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|source| RequestError::Connect { address, source })?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|source| RequestError::Exchange { address, source })?;
        // Its errors reach the sender.
        tokio::spawn(connection);
        Ok(Self { address, sender })
    }

    pub(super) async fn send(&mut self, method: &Method, path: &str) -> Result<Reply, RequestError> {
        let address = self.address;
        timeout(ANSWER_MAX, self.exchange(method, path)).await.map_err(|_| RequestError::Late { address })?
    }

    async fn exchange(&mut self, method: &Method, path: &str) -> Result<Reply, RequestError> {
        let address = self.address;
        let failed = |source| RequestError::Exchange { address, source };
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method.clone();
        // The tour's paths are its own and valid; were one not, the root would be asked for.
        *request.uri_mut() = path.parse().unwrap_or_default();
        if let Ok(host) = address.to_string().parse() {
            request.headers_mut().insert(HOST, host);
        }
        self.sender.ready().await.map_err(failed)?;
        let (head, body) = self.sender.send_request(request).await.map_err(failed)?.into_parts();
        let body = Limited::new(body, BODY_MAX).collect().await;
        let body = body.map_err(|source| RequestError::Body { address, source })?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }
}

/// One request on a connection of its own.
pub(super) async fn request(address: SocketAddr, method: &Method, path: &str) -> Result<Reply, RequestError> {
    Client::connect(address).await?.send(method, path).await
}

impl Reply {
    /// The value of a header, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is not.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}
