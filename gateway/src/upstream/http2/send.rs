//! Sends one request: the order of it all over HTTP/2.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::{CONNECTION, HOST};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, Version};
use hyper::body::Incoming;

use super::super::RequestStream;
use super::super::body::PooledBody;
use super::super::error::{SendError, Sent};
use super::super::pick::Candidates;
use super::super::pool::{EndpointPool, UpstreamPool};
use super::super::send::{Answer, ConnectionUse, broken_off, no_endpoint};
use super::connection::{SharedConnection, StreamLease};
use super::failure;
use super::shared::Turn;
use super::upload::{StreamBody, Upload};

/// How often a request that no endpoint has looked at is sent again.
const REPEATS_MAX: u32 = 3;

/// A request that may be sent more than once; `None` for the body: there is none.
type Outgoing<B> = Request<Option<B>>;

/// What an exchange came to.
enum Outcome<B> {
    Answered(Response<Incoming>),
    /// It may be sent again.
    Again(Box<Outgoing<B>>, SendError),
    Failed(SendError),
}

impl<B: RequestStream> UpstreamPool<B> {
    /// Sends a request over HTTP/2; see [`UpstreamPool::send`]. `timeout` is the wait for the head of
    /// the response, from the end of the request; `None`: for ever.
    pub(in super::super) async fn send_http2(
        &self,
        mut candidates: Candidates,
        request: Request<B>,
        timeout: Option<Duration>,
    ) -> Result<Answer<B>, SendError> {
        let (mut request, host) = prepare(request);
        let mut repeats = 0;
        let mut last = None;
        while let Some((index, endpoint)) = self.candidate(&mut candidates) {
            let (lease, used) = match self.place(endpoint).await {
                Ok(place) => place,
                Err(error) => {
                    last = Some(error);
                    candidates.failed(index);
                    continue;
                }
            };
            address(&mut request, endpoint, host.as_ref());
            match self.exchange_http2(endpoint, &lease, used, request, timeout).await {
                Outcome::Answered(response) => return Ok(answer(endpoint, response, lease, used)),
                Outcome::Again(again, _) if repeats < REPEATS_MAX => {
                    self.counters.stale_retries.add_one();
                    repeats += 1;
                    request = *again;
                }
                Outcome::Again(_, error) | Outcome::Failed(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| no_endpoint(&self.definition.name)))
    }

    /// A place on a connection to `endpoint`.
    async fn place(&self, endpoint: &EndpointPool<B>) -> Result<(StreamLease<B>, ConnectionUse), SendError> {
        let _dialling = match endpoint.shared.turn().await? {
            Turn::Place(lease) => {
                self.counters.reused.add_one();
                return Ok((lease, ConnectionUse::Reused));
            }
            Turn::Dial(dialling) => dialling,
        };
        match self.open_http2(endpoint).await {
            Ok(connection) => Ok((endpoint.shared.add(connection), ConnectionUse::New)),
            Err(error) => {
                endpoint.shared.failed(&error);
                Err(error)
            }
        }
    }

    async fn open_http2(&self, endpoint: &EndpointPool<B>) -> Result<Rc<SharedConnection<B>>, SendError> {
        let stream = self.dial(endpoint).await?;
        let after = self.definition.connect_timeout;
        match tokio::time::timeout(after, SharedConnection::open(stream)).await {
            Ok(opened) => opened.map_err(|source| failure::of(&endpoint.name, source)),
            Err(_) => Err(SendError::ConnectTimeout { endpoint: endpoint.name.clone(), after }),
        }
    }

    async fn exchange_http2(
        &self,
        endpoint: &EndpointPool<B>,
        lease: &StreamLease<B>,
        used: ConnectionUse,
        request: Outgoing<B>,
        timeout: Option<Duration>,
    ) -> Outcome<B> {
        let copy = request.body().is_none().then(|| bare_copy(&request));
        let is_idempotent = request.method().is_idempotent();
        let upload = Rc::new(Upload::default());
        let request = request.map(|body| StreamBody::new(body, &upload));
        let response = pin!(lease.connection().send(request));
        let expired = async {
            upload.over().await;
            match timeout {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            biased;
            result = response => result,
            () = expired => {
                self.counters.response_timeouts.add_one();
                let after = timeout.unwrap_or_default();
                return Outcome::Failed(SendError::ResponseTimeout { endpoint: endpoint.name.clone(), after });
            }
        };
        let mut error = match result {
            Ok(response) => return Outcome::Answered(response),
            Err(error) => error,
        };
        if let Some(request) = error.take_message() {
            lease.connection().retire();
            let request = request.map(StreamBody::into_body);
            return Outcome::Again(Box::new(request), broken_off(endpoint, error.into_error()));
        }
        if upload.has_failed() {
            return Outcome::Failed(SendError::RequestBody { source: error.into_error() });
        }
        let error = failure::of(&endpoint.name, error.into_error());
        let SendError::Closed { sent, .. } = &error else { return Outcome::Failed(error) };
        let may_repeat = match sent {
            Sent::Nothing => true,
            Sent::Something => is_idempotent && used == ConnectionUse::Reused,
        };
        match copy.filter(|_| may_repeat) {
            Some(request) => Outcome::Again(Box::new(request), error),
            None => Outcome::Failed(error),
        }
    }
}

/// The request as HTTP/2 has it, and the Host that the client named.
fn prepare<B: RequestStream>(request: Request<B>) -> (Outgoing<B>, Option<HeaderValue>) {
    let mut request = request.map(|body| (!body.is_end_stream()).then_some(body));
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    // It says at most `te`, which HTTP/2 needs no leave for; hyper would take what it names away.
    headers.remove(CONNECTION);
    let host = headers.remove(HOST);
    (request, host)
}

/// Sets `:scheme` and `:authority`: the Host field of the policy, else the client's, else the endpoint's
/// name.
fn address<B: RequestStream>(
    request: &mut Outgoing<B>,
    endpoint: &EndpointPool<B>,
    client: Option<&HeaderValue>,
) {
    let host = endpoint.host.as_ref().or(client);
    let authority = host
        .and_then(|host| Authority::try_from(host.as_bytes()).ok())
        .or_else(|| Authority::try_from(endpoint.name.text().as_bytes()).ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = authority.is_some().then_some(Scheme::HTTP);
    parts.authority = authority;
    // A target is a path or `*`, and those three together are always a URI.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// A copy of a request that has no body.
fn bare_copy<B>(request: &Outgoing<B>) -> Outgoing<B> {
    let mut copy = Request::new(None);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn answer<B: RequestStream>(
    endpoint: &Rc<EndpointPool<B>>,
    response: Response<Incoming>,
    lease: StreamLease<B>,
    used: ConnectionUse,
) -> Answer<B> {
    let mut response = response.map(|body| PooledBody::of_stream(body, lease));
    *response.version_mut() = Version::HTTP_11;
    Answer::new(response, used, endpoint)
}
