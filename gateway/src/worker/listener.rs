//! Listening sockets: one per worker and address, with SO_REUSEPORT, so that the kernel spreads
//! connections and no worker waits for another.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::serve;
use super::state::Worker;
use crate::generation::Serves;
use crate::policy::listener::ListenerId;
use crate::tcp;

const BACKLOG: i32 = 4096;
/// After an error of `accept`, such as no free file descriptor.
const PAUSE: Duration = Duration::from_millis(50);

/// One worker's socket for a listener.
pub(super) struct Bound {
    /// The listener.
    pub(super) id: ListenerId,
    pub(super) socket: std::net::TcpListener,
}

/// Binds one worker's socket.
pub(super) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until the task is aborted. An error never ends it.
pub(super) async fn accept(listener: TcpListener, id: ListenerId, worker: Rc<Worker>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => welcome(stream, peer, id, &worker),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Serves HTTP on a connection that was accepted elsewhere.
pub(super) fn adopt(stream: std::net::TcpStream, peer: SocketAddr, worker: &Rc<Worker>) {
    let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
    match stream {
        Ok(stream) if worker.admit() => serve::start(stream, peer, worker),
        // Closed at once, as if it had been accepted here.
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "a connection could not be adopted"),
    }
}

fn welcome(stream: TcpStream, peer: SocketAddr, id: ListenerId, worker: &Rc<Worker>) {
    if !worker.admit() {
        // Closed at once, and not queued: a full gateway must say so.
        return;
    }
    // Without it small answers wait for the client's acknowledgement; failing it, they do.
    let _ = stream.set_nodelay(true);
    let generation = worker.generation();
    match generation.serves(id) {
        Some(Serves::Http) => serve::start(stream, peer, worker),
        Some(Serves::Tcp(runtime)) => {
            let runtime = Rc::clone(runtime);
            tcp::start(stream, peer, worker, generation, &runtime);
        }
        // `reload::immutable` lets no policy through that lacks a listener.
        None => worker.release(),
    }
}
