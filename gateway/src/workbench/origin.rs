//! What takes the place of upstreams: an origin on loopback that plays a script and keeps the last request.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::exchange::Sent;
use super::pieces::Pieces;
use crate::filter::RequestHead;
use crate::policy::cases::{Answer, Script};
use crate::policy::upstream::Protocol;

/// An origin; ends when dropped.
pub(super) struct Origin {
    address: SocketAddr,
    state: Rc<State>,
    task: AbortHandle,
}

struct State {
    answers: RefCell<VecDeque<Answer>>,
    after: Cell<AfterScript>,
    calls: Cell<u64>,
    last: RefCell<Option<Sent>>,
}

/// What becomes of requests beyond the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterScript {
    /// They fail.
    Fail,
    /// The script begins anew.
    Again,
}

impl Origin {
    /// Plays `script` over HTTP/1.1; see [`Origin::listen`].
    pub(super) async fn start(script: &Script, after: AfterScript) -> io::Result<Self> {
        let origin = Self::listen(Protocol::Http1).await?;
        origin.play(&script.answers, after);
        Ok(origin)
    }

    /// On a free port, with no answer yet. To be called in the runtime of one thread. One for Redis takes
    /// connections and closes them.
    pub(super) async fn listen(protocol: Protocol) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = Rc::new(State {
            answers: RefCell::default(),
            after: Cell::new(AfterScript::Fail),
            calls: Cell::new(0),
            last: RefCell::default(),
        });
        let task = tokio::task::spawn_local(serve(listener, protocol, Rc::clone(&state))).abort_handle();
        Ok(Self { address, state, task })
    }

    /// Puts these answers in the place of what is left.
    pub(super) fn play(&self, answers: &[Answer], after: AfterScript) {
        self.state.answers.replace(answers.iter().cloned().collect());
        self.state.after.set(after);
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests so far, those beyond the script among them.
    pub(super) fn calls(&self) -> u64 {
        self.state.calls.get()
    }

    /// The request that came last, which is forgotten.
    pub(super) fn take_last(&self) -> Option<Sent> {
        self.state.last.take()
    }

    /// Forgets what came.
    pub(super) fn forget(&self) {
        self.state.calls.set(0);
        self.state.last.take();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, protocol: Protocol, state: Rc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        match protocol {
            Protocol::Http1 => drop(tokio::task::spawn_local(serve_http1(stream, Rc::clone(&state)))),
            Protocol::Http2 => drop(tokio::task::spawn_local(serve_http2(stream, Rc::clone(&state)))),
            Protocol::Redis => drop(stream),
        }
    }
}

async fn serve_http1(stream: TcpStream, state: Rc<State>) {
    let is_kept = state.after.get() == AfterScript::Again;
    let service = service_fn(move |request| answer(Rc::clone(&state), request));
    // A request without an answer ends its connection, and its sender sees one that failed: it is not
    // sent again, as one on a connection that was used before would be.
    let served =
        http1::Builder::new().keep_alive(is_kept).serve_connection(TokioIo::new(stream), service).await;
    drop(served);
}

async fn serve_http2(stream: TcpStream, state: Rc<State>) {
    let service = service_fn(move |request| answer(Rc::clone(&state), request));
    // As above; of a stream the sender sees a reset.
    drop(http2::Builder::new(OnThisThread).serve_connection(TokioIo::new(stream), service).await);
}

/// Runs what hyper spawns where the origin runs.
#[derive(Clone, Copy)]
struct OnThisThread;

impl<F: Future<Output = ()> + 'static> Executor<F> for OnThisThread {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// The script is over.
#[derive(Debug, thiserror::Error)]
#[error("the script has no answer left")]
struct NoAnswer;

async fn answer(state: Rc<State>, request: Request<Incoming>) -> Result<Response<Pieces>, NoAnswer> {
    // Read to its end, so that the connection can be used again.
    let sent = received(request).await;
    state.calls.set(state.calls.get() + 1);
    state.last.replace(Some(sent));
    let answer = state.answers.borrow_mut().pop_front().ok_or(NoAnswer)?;
    if state.after.get() == AfterScript::Again {
        state.answers.borrow_mut().push_back(answer.clone());
    }
    if !answer.delay.is_zero() {
        tokio::time::sleep(answer.delay).await;
    }
    let mut response = Response::new(Pieces::new(&answer.body, answer.trailers.as_ref()));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

/// The whole request; of one that breaks off, what came of it. The authority of HTTP/2 is told as `host`.
async fn received(request: Request<Incoming>) -> Sent {
    let (mut head, body) = request.into_parts();
    if let Some(authority) = head.uri.authority()
        && !head.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(HOST, host);
    }
    let target = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let head = RequestHead { method: head.method, target, headers: head.headers };
    let collected = body.collect().await.ok();
    let trailers = collected.as_ref().and_then(|body| body.trailers().cloned());
    let body = collected.map_or_else(Bytes::new, |body| body.to_bytes());
    Sent { head, body, trailers }
}
