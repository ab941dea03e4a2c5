//! The order of a connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::relay::Relay;
use super::session::{Session, end_of};
use super::socket::Socket;
use crate::filter::Side;
use crate::filter::network::Connection;
use crate::generation::{Generation, TcpRuntime};
use crate::telemetry::metrics::ConnectionEnd;
use crate::worker::Worker;

/// Begins to serve a connection that the worker has counted in. It counts it out when it is over.
pub(crate) fn start(
    client: TcpStream,
    peer: SocketAddr,
    worker: &Rc<Worker>,
    generation: Rc<Generation>,
    runtime: &Rc<TcpRuntime>,
) {
    let Some(local) = client.local_addr().ok().filter(|_| runtime.admit()) else {
        return worker.release();
    };
    let id = worker.request_ids().next_id();
    let max = runtime.service.buffer_bytes_max.get();
    let connection = Connection::new(id, worker.next_connection(), peer, local, max);
    let session = Session::new(Rc::clone(worker), generation, Rc::clone(runtime), connection);
    tokio::task::spawn_local(serve(Socket::new(client), session));
}

async fn serve(mut client: Socket, mut session: Session) {
    let end = pass(&mut client, &mut session).await;
    tracing::debug!(connection_id = session.connection.id.as_str(), end = end.as_str(), "a connection ended");
    session.end(end);
}

/// Filters, upstream, both directions.
async fn pass(client: &mut Socket, session: &mut Session) -> ConnectionEnd {
    let idle = session.runtime.service.idle_timeout;
    match unless_broken(&client.stream, within(idle, session.passage.enter())).await {
        Some(Some(Ok(()))) => {}
        Some(Some(Err(stop))) => {
            let end = end_of(&stop);
            if is_in_order(end) {
                client.ended_in_order();
            }
            return end;
        }
        Some(None) => return ConnectionEnd::IdleTimeout,
        None => return broken(session),
    }
    let started = Instant::now();
    let pool = Rc::clone(&session.runtime.pool);
    let Some(connected) = unless_broken(&client.stream, pool.tunnel()).await else { return broken(session) };
    let mut upstream = match connected {
        Ok((stream, endpoint)) => {
            session.note_upstream(Some(&endpoint), Some(started.elapsed()));
            Socket::new(stream)
        }
        Err(error) => {
            session.note_upstream(error.endpoint(), None);
            return ConnectionEnd::NoUpstream;
        }
    };
    let end = Relay::new(&mut client.stream, &mut upstream.stream, session, idle).run().await;
    if is_in_order(end) {
        client.ended_in_order();
        upstream.ended_in_order();
    }
    end
}

/// Does `work` until the client's connection breaks: nobody reads from it yet, who would notice.
async fn unless_broken<T>(client: &TcpStream, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        _ = client.ready(Interest::ERROR) => None,
    }
}

fn broken(session: &Session) -> ConnectionEnd {
    session.left(Side::Request);
    ConnectionEnd::ClientReset
}

async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => timeout(limit, work).await.ok(),
        None => Some(work.await),
    }
}

/// Whether what has passed is the whole; else the other side must be told by a reset.
fn is_in_order(end: ConnectionEnd) -> bool {
    match end {
        ConnectionEnd::Complete | ConnectionEnd::Refused | ConnectionEnd::FilterClosed => true,
        ConnectionEnd::ClientReset
        | ConnectionEnd::UpstreamReset
        | ConnectionEnd::NoUpstream
        | ConnectionEnd::IdleTimeout
        | ConnectionEnd::FilterFailed
        | ConnectionEnd::BufferLimit
        | ConnectionEnd::Drained => false,
    }
}
