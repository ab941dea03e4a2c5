//! Sends one request: the order of it all.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::body::PooledBody;
use super::connect::{connect, is_endpoint_down};
use super::connection::{Connection, Failure};
use super::error::{EndpointName, SendError, Sent};
use super::pick::Candidates;
use super::pool::{EndpointPool, UpstreamPool};
use super::wire::{Recording, RequestBody};
use super::{RequestStream, replay};
use crate::policy::upstream::Protocol;

/// A response and where it came from.
pub struct Answer<B: RequestStream> {
    /// The response, its version set to HTTP/1.1. Framing and hop-by-hop fields are still on it.
    pub response: Response<PooledBody<B>>,
    /// Whether the connection was new.
    pub connection: ConnectionUse,
    endpoint: Rc<EndpointPool<B>>,
}

/// Whether a connection was made for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionUse {
    /// An idle one was used.
    Reused,
    /// A new one was made.
    New,
}

impl<B: RequestStream> Answer<B> {
    /// A response from `endpoint`.
    pub(super) fn new(
        response: Response<PooledBody<B>>,
        connection: ConnectionUse,
        endpoint: &Rc<EndpointPool<B>>,
    ) -> Self {
        Self { response, connection, endpoint: Rc::clone(endpoint) }
    }

    /// The endpoint that answered.
    #[must_use]
    pub fn endpoint(&self) -> &EndpointName {
        &self.endpoint.name
    }
}

/// A request with the body that hyper gets.
type Outgoing<B> = Request<RequestBody<B>>;

/// How a request is sent.
enum Prepared<B, F> {
    Http1(Candidates, Box<Outgoing<B>>),
    Http2(Pin<Box<F>>),
}

/// What an exchange came to.
enum Outcome<B: RequestStream> {
    Answered(Response<Incoming>, Box<Connection<B>>),
    /// The kept connection had been closed; here is the request again.
    Stale(Box<Outgoing<B>>, SendError),
    Failed(SendError),
}

impl<B: RequestStream> UpstreamPool<B> {
    /// Sends `request` to an endpoint and waits for the head of the response.
    ///
    /// The target must be in origin form (or `*`), the Host field set, hop-by-hop fields gone. The
    /// Host field is replaced if the policy says so; the version becomes the upstream's. A body whose
    /// length neither it nor Content-Length tells is sent in chunks, whatever the method.
    ///
    /// Informational responses from the upstream are dropped. A kept connection that turns out to
    /// be closed is replaced once, if the endpoint has seen nothing of the request or if the
    /// request is idempotent and has no body. Dropping the future, or the response body, closes
    /// the connection, or resets the stream. Must be called within a `LocalSet` or a local runtime.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(&self, request: Request<B>) -> impl Future<Output = Result<Answer<B>, SendError>> {
        self.send_preferring(None, request)
    }

    /// The same, with the endpoint of this index in the policy tried first, unless it is skipped now.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send_preferring(
        &self,
        endpoint: Option<usize>,
        request: Request<B>,
    ) -> impl Future<Output = Result<Answer<B>, SendError>> {
        let candidates = self.turn.take(self.endpoints.len(), endpoint);
        // A future is copied as a whole into the one that waits for it, and so on outwards. So the
        // request is in a box before there is one, and what is rare is boxed as well.
        let prepared = match self.definition.protocol {
            Protocol::Http2 => {
                let timeout = Some(self.definition.response_timeout);
                Prepared::Http2(Box::pin(self.send_http2(candidates, request, timeout)))
            }
            Protocol::Http1 | Protocol::Redis => Prepared::Http1(candidates, prepare(request)),
        };
        async move {
            match prepared {
                Prepared::Http1(candidates, request) => self.send_http1(candidates, request).await,
                Prepared::Http2(answer) => answer.await,
            }
        }
    }

    async fn send_http1(
        &self,
        mut candidates: Candidates,
        mut request: Box<Outgoing<B>>,
    ) -> Result<Answer<B>, SendError> {
        let mut last = None;
        while let Some((index, endpoint)) = self.candidate(&mut candidates) {
            if let Some(host) = &endpoint.host {
                request.headers_mut().insert(HOST, host.clone());
            }
            if let Some(connection) = endpoint.take() {
                self.counters.reused.add_one();
                let recording = recording_for(&request);
                match self.exchange(endpoint, connection, request, recording).await {
                    Outcome::Answered(response, connection) => {
                        return answer(endpoint, response, connection, ConnectionUse::Reused);
                    }
                    Outcome::Failed(error) => return Err(error),
                    Outcome::Stale(again, _) => {
                        self.counters.stale_retries.add_one();
                        request = again;
                    }
                }
            }
            match Box::pin(self.open(endpoint)).await {
                Ok(connection) => {
                    return Box::pin(self.send_on_new(endpoint, connection, request)).await;
                }
                Err(error) => last = Some(error),
            }
            candidates.failed(index);
        }
        // A policy has at least one endpoint, so there was an attempt.
        Err(last.unwrap_or_else(|| no_endpoint(&self.definition.name)))
    }

    pub(super) fn candidate(&self, candidates: &mut Candidates) -> Option<(usize, &Rc<EndpointPool<B>>)> {
        let is_paused = |index: usize| {
            self.endpoints.get(index).is_some_and(|endpoint| endpoint.is_paused(Instant::now()))
        };
        let index = candidates.next(self.endpoints.len(), is_paused)?;
        self.endpoints.get(index).map(|endpoint| (index, endpoint))
    }

    async fn send_on_new(
        &self,
        endpoint: &Rc<EndpointPool<B>>,
        connection: Box<Connection<B>>,
        request: Box<Outgoing<B>>,
    ) -> Result<Answer<B>, SendError> {
        match self.exchange(endpoint, connection, request, Recording::Off).await {
            Outcome::Answered(response, connection) => {
                answer(endpoint, response, connection, ConnectionUse::New)
            }
            Outcome::Failed(error) | Outcome::Stale(_, error) => Err(error),
        }
    }

    async fn open(&self, endpoint: &EndpointPool<B>) -> Result<Box<Connection<B>>, SendError> {
        let stream = self.dial(endpoint).await?;
        Connection::open(stream).await.map_err(|source| broken(&endpoint.name, source))
    }

    /// Connects, and notes how that went.
    pub(super) async fn dial(&self, endpoint: &EndpointPool<B>) -> Result<TcpStream, SendError> {
        match connect(&endpoint.name, &endpoint.resolver, self.definition.connect_timeout).await {
            Ok(stream) => {
                self.counters.connected.add_one();
                endpoint.resume();
                Ok(stream)
            }
            Err(error) => {
                self.counters.connect_failures.add_one();
                if is_endpoint_down(&error) {
                    endpoint.pause(self.definition.refused_pause);
                }
                tracing::debug!(upstream = &*self.definition.name, %error, "connection failed");
                Err(error)
            }
        }
    }

    async fn exchange(
        &self,
        endpoint: &EndpointPool<B>,
        connection: Box<Connection<B>>,
        request: Box<Outgoing<B>>,
        recording: Recording,
    ) -> Outcome<B> {
        let after = self.definition.response_timeout;
        match connection.exchange(request, recording, after).await {
            Ok((response, connection)) => Outcome::Answered(response, connection),
            Err(Failure::NotTaken(request, source)) => Outcome::Stale(request, broken_off(endpoint, source)),
            Err(Failure::Timeout) => {
                self.counters.response_timeouts.add_one();
                Outcome::Failed(SendError::ResponseTimeout { endpoint: endpoint.name.clone(), after })
            }
            Err(Failure::Broken(source, record)) => {
                let error = broken(&endpoint.name, source);
                let record = record.filter(|_| matches!(error, SendError::Closed { .. }));
                match record.and_then(|record| replay::request(&record)) {
                    Some(request) => Outcome::Stale(Box::new(request), error),
                    None => Outcome::Failed(error),
                }
            }
        }
    }
}

/// Makes the request one that hyper writes as it should.
fn prepare<B: RequestStream>(request: Request<B>) -> Box<Outgoing<B>> {
    let mut request = Box::new(request.map(RequestBody::new));
    *request.version_mut() = Version::HTTP_11;
    let body = request.body();
    let is_length_known = body.is_end_stream() || body.size_hint().exact().is_some();
    // hyper drops a body of unknown length when the method is GET or HEAD.
    if !is_length_known && !request.headers().contains_key(CONTENT_LENGTH) {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    request
}

/// A request that may be sent twice is one that means the same twice, and has nothing but a head.
fn recording_for<B: RequestStream>(request: &Outgoing<B>) -> Recording {
    match request.method().is_idempotent() && request.body().is_end_stream() {
        true => Recording::On,
        false => Recording::Off,
    }
}

fn answer<B: RequestStream>(
    endpoint: &Rc<EndpointPool<B>>,
    response: Response<Incoming>,
    connection: Box<Connection<B>>,
    used: ConnectionUse,
) -> Result<Answer<B>, SendError> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(SendError::Protocol { endpoint: endpoint.name.clone(), source: None });
    }
    let mut response = response.map(|body| PooledBody::new(body, connection, endpoint));
    *response.version_mut() = Version::HTTP_11;
    Ok(Answer::new(response, used, endpoint))
}

/// What is said if not even one endpoint was tried.
pub(super) fn no_endpoint(upstream: &Arc<str>) -> SendError {
    let source = io::Error::new(io::ErrorKind::NotFound, "the upstream has no endpoint");
    SendError::Connect { endpoint: EndpointName::new(Arc::clone(upstream), 0), source }
}

/// The connection ended before it took the request.
pub(super) fn broken_off<B: RequestStream>(endpoint: &EndpointPool<B>, source: hyper::Error) -> SendError {
    SendError::Closed { endpoint: endpoint.name.clone(), sent: Sent::Nothing, source }
}

fn broken(endpoint: &EndpointName, source: hyper::Error) -> SendError {
    let endpoint = endpoint.clone();
    if source.is_user() {
        SendError::RequestBody { source }
    } else if source.is_parse() {
        SendError::Protocol { endpoint, source: Some(source) }
    } else {
        let sent = if source.is_canceled() { Sent::Nothing } else { Sent::Something };
        SendError::Closed { endpoint, sent, source }
    }
}

impl<B: RequestStream> fmt::Debug for Answer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("response", &self.response)
            .field("connection", &self.connection)
            .field("endpoint", &self.endpoint.name)
            .finish()
    }
}
