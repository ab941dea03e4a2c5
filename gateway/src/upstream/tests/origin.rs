//! An upstream that does exactly what a test says, byte by byte.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;

const DEADLINE: Duration = Duration::from_secs(10);

/// A listening upstream.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    accepted: Cell<usize>,
    ended: Cell<usize>,
    changed: Notify,
}

/// One accepted connection.
pub(crate) struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Origin {
    /// Runs `script` on each connection; its argument is the connection and how many came before.
    pub(crate) async fn start<F>(script: impl Fn(Peer, usize) -> F + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Rc::new(State::default());
        let shared = Rc::clone(&state);
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = shared.accepted.replace(shared.accepted.get() + 1);
                let script = script(Peer { stream, buffer: Vec::new() }, number);
                let shared = Rc::clone(&shared);
                spawn_local(async move {
                    script.await;
                    shared.ended.set(shared.ended.get() + 1);
                    shared.changed.notify_waiters();
                });
            }
        });
        Self { address, state }
    }

    /// One that answers each request with the next of `answers`, over and over, for ever.
    pub(crate) async fn answering(answers: &'static [&'static str]) -> Self {
        Self::start(move |mut peer, _| async move {
            for answer in answers.iter().cycle() {
                if peer.request().await.is_none() {
                    return;
                }
                peer.send(answer).await;
            }
        })
        .await
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.state.accepted.get()
    }

    /// Waits until `count` scripts have ended.
    pub(crate) async fn ended(&self, count: usize) {
        within(async {
            loop {
                let changed = self.state.changed.notified();
                if self.state.ended.get() >= count {
                    return;
                }
                changed.await;
            }
        })
        .await;
    }
}

impl Peer {
    /// The connection itself, for a server that speaks something else.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream.set_nodelay(true).unwrap();
        self.stream
    }

    /// The next request, head and body (by Content-Length or in chunks); `None` at the end.
    pub(crate) async fn request(&mut self) -> Option<String> {
        let head = self.until(b"\r\n\r\n").await?;
        let lower = head.to_ascii_lowercase();
        let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let body = if lower.contains("transfer-encoding: chunked") {
            self.until(b"0\r\n\r\n").await?
        } else {
            self.bytes(length.map_or(0, |length| length.parse().unwrap())).await?
        };
        Some(head + &body)
    }

    /// The head of the next request only.
    pub(crate) async fn head(&mut self) -> Option<String> {
        self.until(b"\r\n\r\n").await
    }

    async fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return self.bytes(at + end.len()).await;
            }
            self.fill().await?;
        }
    }

    /// This many bytes.
    pub(crate) async fn bytes(&mut self, count: usize) -> Option<String> {
        while self.buffer.len() < count {
            self.fill().await?;
        }
        let rest = self.buffer.split_off(count);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn fill(&mut self) -> Option<()> {
        let mut piece = [0; 16 * 1024];
        let count = self.stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        self.buffer.extend_from_slice(&piece[..count]);
        Some(())
    }

    /// Sends bytes; the peer may be gone.
    pub(crate) async fn send(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// Waits until the other side closes.
    pub(crate) async fn until_closed(&mut self) {
        while self.fill().await.is_some() {}
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Waits with a deadline, so that a test that would hang fails instead.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.unwrap()
}
