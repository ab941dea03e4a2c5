//! The barest reverse proxy on hyper: keep-alive on both sides, no routing, no limits, no logging. It
//! shows what hyper alone costs, so that a gateway can be measured against it.
//!
//! Usage: `hyper-proxy LISTEN UPSTREAM [THREADS]`, addresses as `ip:port`. Threads share nothing: each
//! has its own runtime, its own listener (`SO_REUSEPORT`) and its own pool.

use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;
use tokio::net::{TcpSocket, TcpStream};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Upstream connections that have answered: the one that has waited longest comes first.
struct Pool {
    upstream: SocketAddr,
    idle: RefCell<VecDeque<SendRequest<Incoming>>>,
}

impl Pool {
    /// A connection that can take a request now. One still busy with a body goes back to the end.
    async fn take(&self) -> Result<SendRequest<Incoming>, BoxError> {
        let idle = self.idle.borrow().len();
        for _ in 0..idle {
            let Some(sender) = self.idle.borrow_mut().pop_front() else { break };
            if sender.is_ready() {
                return Ok(sender);
            }
            if !sender.is_closed() {
                self.idle.borrow_mut().push_back(sender);
            }
        }
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>, BoxError> {
        request.headers_mut().remove(header::CONNECTION);
        let mut sender = self.take().await?;
        let mut response = sender.send_request(request).await?;
        response.headers_mut().remove(header::CONNECTION);
        self.idle.borrow_mut().push_back(sender);
        Ok(response)
    }
}

async fn serve(listen: SocketAddr, upstream: SocketAddr) -> Result<(), BoxError> {
    let pool = Rc::new(Pool { upstream, idle: RefCell::default() });
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(listen)?;
    let listener = socket.listen(4096)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let pool = Rc::clone(&pool);
        let service = service_fn(move |request| {
            let pool = Rc::clone(&pool);
            async move { pool.forward(request).await }
        });
        tokio::task::spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn run(listen: SocketAddr, upstream: SocketAddr) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(listen, upstream))
}

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream, rest @ ..] = arguments.as_slice() else {
        return Err("usage: hyper-proxy LISTEN UPSTREAM [THREADS]".into());
    };
    let (listen, upstream) = (listen.parse()?, upstream.parse()?);
    let threads: usize = rest.first().map_or(Ok(1), |text| text.parse())?;
    for _ in 1..threads {
        thread::spawn(move || run(listen, upstream).map_err(|error| eprintln!("hyper-proxy: {error}")));
    }
    run(listen, upstream)
}
