//! An upstream that speaks HTTP/2: the `h2` crate's server, on a thread of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use tokio::task::{LocalSet, spawn_local};

/// An upstream. It accepts for as long as the test process lives.
pub struct Http2Origin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

/// One exchange.
pub struct Http2Exchange {
    pub request: Request<RecvStream>,
    pub respond: SendResponse<Bytes>,
}

impl Http2Origin {
    /// Runs `handler` for each request, all at once.
    pub fn start<F>(handler: impl Fn(Http2Exchange) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, accept(listener, count, handler));
        });
        Self { address, connections }
    }

    /// For `endpoints` in a policy.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn accept<F>(
    listener: TcpListener,
    count: Arc<AtomicUsize>,
    handler: impl Fn(Http2Exchange) -> F + 'static,
) where
    F: Future<Output = ()> + 'static,
{
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let handler = std::rc::Rc::new(handler);
    while let Ok((stream, _)) = listener.accept().await {
        count.fetch_add(1, Ordering::SeqCst);
        stream.set_nodelay(true).unwrap();
        let handler = std::rc::Rc::clone(&handler);
        spawn_local(async move {
            // The other end may be gone at any point: that is for the test to see.
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                spawn_local(handler(Http2Exchange { request, respond }));
            }
        });
    }
}

impl Http2Exchange {
    /// The whole request body, and its trailers.
    pub async fn read(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        let body = self.request.body_mut();
        let mut bytes = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
            bytes.extend_from_slice(&piece);
        }
        (bytes, body.trailers().await.unwrap())
    }

    /// Answers.
    pub fn respond(&mut self, head: Response<()>, body: impl Into<Bytes>, trailers: Option<HeaderMap>) {
        let mut stream = self.respond.send_response(head, false).unwrap();
        stream.send_data(body.into(), trailers.is_none()).unwrap();
        if let Some(trailers) = trailers {
            stream.send_trailers(trailers).unwrap();
        }
    }
}
