//! Both ends of a TCP service: servers and clients.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::support::DEADLINE;

/// A server. It accepts for as long as the test process lives.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    /// `serve` runs on a thread of each connection.
    pub(crate) fn start(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (serve, accepted) = (Arc::new(serve), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&accepted);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, serve) = (stream.unwrap(), Arc::clone(&serve));
                count.fetch_add(1, Ordering::SeqCst);
                // A connection that breaks is the client's business.
                thread::spawn(move || serve(stream));
            }
        });
        Self { address, accepted }
    }

    /// Sends back what comes, and ends when that ends.
    pub(crate) fn echo() -> Self {
        Self::start(|mut stream| {
            let mut copy = stream.try_clone()?;
            io::copy(&mut stream, &mut copy)?;
            stream.shutdown(Shutdown::Write)
        })
    }

    /// Connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// A connection to the gateway. What must work panics when it does not.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Close,
    Reset,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Nothing follows.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Waits for exactly these bytes.
    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let mut read = vec![0; bytes.as_ref().len()];
        self.stream.read_exact(&mut read).unwrap();
        assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(bytes.as_ref()));
    }

    /// Sends bytes and waits until they come back.
    #[track_caller]
    pub(crate) fn echo(&mut self, bytes: &str) {
        self.send(bytes);
        self.expect(bytes);
    }

    /// What comes until the end, and how it ends.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => (bytes, End::Close),
            Err(error) => match error.kind() {
                ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => (bytes, End::Reset),
                _ => panic!("no end came: {error}"),
            },
        }
    }

    /// Waits for the end, without another byte.
    #[track_caller]
    pub(crate) fn expect_end(&mut self, end: End) {
        let (bytes, how) = self.rest();
        assert_eq!((String::from_utf8_lossy(&bytes).as_ref(), how), ("", end));
    }

    /// Waits for either end, without another byte: what was not read when a socket closes turns its end
    /// into a reset.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.rest().0), "");
    }

    /// Breaks the connection.
    pub(crate) fn reset(self) {
        reset(&self.stream);
    }
}

/// Has a connection break when it is dropped.
pub(crate) fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}
