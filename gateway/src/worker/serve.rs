//! Serving one client connection: hyper reads requests and writes answers, this tells it when to stop.
//!
//! A connection that has had no request for a while is taken out of hyper's hands, with its task and all buffers,
//! and parked ([`super::parking`]). hyper gives up its part as soon as it is told to shut down in order while it
//! waits for a head; it does not read from the socket any more, so what has come meanwhile is still there for
//! who serves the connection next. What hyper had read of a head, it gives back.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::connection::{ConnectionState, Identity, Notice};
use super::io::ClientIo;
use super::parking::Parked;
use super::refusal::{self, Refusal};
use super::state::Worker;
use crate::policy::limits::Limits;
use crate::proxy;

/// How long the last answer to a slow client may take to be written.
const FAREWELL: Duration = Duration::from_secs(1);
const TIMEOUT_ANSWER: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\
content-type: text/plain; charset=utf-8\r\ncontent-length: 17\r\n\r\nRequest timeout.\n";
/// hyper's default, for which it keeps heads on the stack.
const HEADERS_DEFAULT: u32 = 100;

/// Begins to serve a connection that was counted in.
pub(super) fn start(stream: TcpStream, peer: SocketAddr, worker: &Rc<Worker>) {
    let Ok(local) = stream.local_addr() else { return worker.release() };
    let identity = Identity { id: worker.next_connection(), peer, local };
    spawn(stream, ConnectionState::new(identity, Instant::now()), worker);
}

/// Serves one again that was parked.
pub(super) fn resume(parked: Parked, worker: &Rc<Worker>) {
    match TcpStream::from_std(parked.socket) {
        Ok(stream) => spawn(stream, ConnectionState::new(parked.identity, parked.since), worker),
        Err(error) => {
            tracing::warn!(%error, "a parked connection cannot be served");
            worker.release();
        }
    }
}

/// The connection is known to the worker from now on, so that a drain waits for it.
fn spawn(stream: TcpStream, state: Rc<ConnectionState>, worker: &Rc<Worker>) {
    worker.enlist(&state);
    let presence = Presence { worker: Rc::clone(worker), state, is_counted: true };
    tokio::task::spawn_local(serve(stream, presence));
}

/// Takes the connection off the worker's list and counts it out, however it ends.
struct Presence {
    worker: Rc<Worker>,
    state: Rc<ConnectionState>,
    /// Not if it goes on elsewhere.
    is_counted: bool,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.worker.strike(&self.state);
        if self.is_counted {
            self.worker.release();
        }
    }
}

/// Serves requests until either side has had enough, or none comes for a while.
async fn serve(stream: TcpStream, presence: Presence) {
    let mut next = Some((stream, Bytes::new()));
    while let Some((stream, read)) = next.take() {
        match converse(stream, read, &presence).await {
            Some((stream, read)) if read.is_empty() => return park(stream, presence),
            // A part of a head, which came with the request before: its rest must come in time.
            again => next = again,
        }
    }
}

/// Serves requests, the first of which begins with what was `read`. Gives the socket and what was read from it
/// if the connection may be parked.
async fn converse(stream: TcpStream, read: Bytes, presence: &Presence) -> Option<(TcpStream, Bytes)> {
    let Presence { worker, state, .. } = presence;
    let service = service_fn(|request| {
        state.begin_request();
        proxy::handle(Rc::clone(worker), Rc::clone(state), request)
    });
    let limits = worker.generation().blueprint.policy.limits.clone();
    let mut connection =
        server(&limits).serve_connection(ClientIo::new(stream, read, Rc::clone(state)), service);

    let ended = poll_fn(|cx| {
        while let Some(notice) = state.poll_notice(cx) {
            match notice {
                Notice::Finish => {
                    state.give_up_rest();
                    Pin::new(&mut connection).graceful_shutdown();
                }
                Notice::HeadTimeout => return Poll::Ready(Ended::HeadTimeout),
                Notice::Cut => return Poll::Ready(Ended::Cut),
                Notice::Park if state.is_at_rest() => {
                    Pin::new(&mut connection).graceful_shutdown();
                    state.set_parking(true);
                    let polled = Pin::new(&mut connection).poll(cx);
                    state.set_parking(false);
                    if let Poll::Ready(given_up) = polled {
                        return Poll::Ready(given_up.map_or_else(Ended::failed, |()| Ended::Idle));
                    }
                    // Not idle after all: it is closed when hyper is done.
                }
                Notice::Park => {}
            }
        }
        let polled = Pin::new(&mut connection).poll(cx);
        state.poll_rest(cx);
        polled.map(Ended::Served)
    })
    .await;
    match ended {
        Ended::Idle => {
            let parts = connection.into_parts();
            return Some((parts.io.into_inner(), parts.read_buf));
        }
        // Behind half an answer it would be taken for a part of that.
        Ended::HeadTimeout if state.has_unsent() => {}
        Ended::HeadTimeout => {
            refusal::note(worker, &state.peer, Refusal::Timeout, state.since().elapsed());
            farewell(connection.into_parts().io.into_inner()).await;
        }
        Ended::Served(Err(error)) => note_failure(presence, &error),
        Ended::Cut | Ended::Served(Ok(())) => {}
    }
    None
}

enum Ended {
    Served(hyper::Result<()>),
    HeadTimeout,
    Cut,
    /// No request is under way, and none comes.
    Idle,
}

impl Ended {
    fn failed(error: hyper::Error) -> Self {
        Self::Served(Err(error))
    }
}

fn note_failure(Presence { worker, state, .. }: &Presence, error: &hyper::Error) {
    if let Some(refusal) = Refusal::of(error) {
        refusal::note(worker, &state.peer, refusal, state.since().elapsed());
    }
    tracing::debug!(%error, peer = %state.peer_address, "a connection ended");
}

/// Leaves the connection to the worker's parking; without a place there it is served on.
fn park(stream: TcpStream, mut presence: Presence) {
    presence.is_counted = false;
    let worker = Rc::clone(&presence.worker);
    let (identity, since) = (presence.state.identity(), presence.state.since());
    drop(presence);
    match stream.into_std() {
        Ok(socket) => {
            if let Err(parked) = worker.park(Parked { socket, identity, since }) {
                resume(parked, &worker);
            }
        }
        Err(error) => {
            tracing::warn!(%error, "a connection cannot be parked");
            worker.release();
        }
    }
}

fn server(limits: &Limits) -> http1::Builder {
    let mut server = http1::Builder::new();
    server.header_read_timeout(None).max_buf_size((limits.header_bytes_max as usize).max(8192));
    if limits.header_count_max.get() != HEADERS_DEFAULT {
        server.max_headers(limits.header_count_max.get() as usize);
    }
    server
}

/// Tells a client that its head took too long, if it still listens.
async fn farewell(mut stream: TcpStream) {
    let answer = async {
        stream.write_all(TIMEOUT_ANSWER).await?;
        stream.shutdown().await
    };
    // It may be gone, or not read: then there is nobody to tell.
    let _ = tokio::time::timeout(FAREWELL, answer).await;
}
