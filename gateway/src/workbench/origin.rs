//! What answers a filter's side calls: an origin on loopback that plays a script.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::policy::cases::{Answer, Script};

/// An origin; ends when dropped.
pub(super) struct Origin {
    address: SocketAddr,
    state: Rc<State>,
    task: AbortHandle,
}

struct State {
    answers: RefCell<VecDeque<Answer>>,
    after: AfterScript,
    calls: Cell<u64>,
}

/// What becomes of calls beyond the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterScript {
    /// They fail.
    Fail,
    /// The script begins anew.
    Again,
}

impl Origin {
    /// Plays `script` on a free port. To be called in the runtime of the thread that the filter runs on.
    pub(super) async fn start(script: &Script, after: AfterScript) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let answers = RefCell::new(script.answers.iter().cloned().collect());
        let state = Rc::new(State { answers, after, calls: Cell::new(0) });
        let task = tokio::task::spawn_local(serve(listener, Rc::clone(&state))).abort_handle();
        Ok(Self { address, state, task })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls so far, those beyond the script among them.
    pub(super) fn calls(&self) -> u64 {
        self.state.calls.get()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Rc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Rc::clone(&state);
        let is_kept = state.after == AfterScript::Again;
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| answer(Rc::clone(&state), request));
            // A call without an answer ends its connection, and the filter sees a call that failed: it
            // is not sent again, as one on a connection that was used before would be.
            let _ = http1::Builder::new()
                .keep_alive(is_kept)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The script is over.
#[derive(Debug, thiserror::Error)]
#[error("the script has no answer left")]
struct NoAnswer;

async fn answer(state: Rc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, NoAnswer> {
    // Read to its end, so that the connection can be used again.
    let _ = request.into_body().collect().await;
    state.calls.set(state.calls.get() + 1);
    let answer = state.answers.borrow_mut().pop_front().ok_or(NoAnswer)?;
    if state.after == AfterScript::Again {
        state.answers.borrow_mut().push_back(answer.clone());
    }
    let mut body = BytesMut::new();
    answer.body.iter().for_each(|piece| body.extend_from_slice(piece));
    let mut response = Response::new(Full::new(body.freeze()));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}
