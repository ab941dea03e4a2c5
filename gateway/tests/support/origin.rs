//! An upstream under the test's control.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::DEADLINE;
use super::gate::Gate;
use super::message::{Message, Wire};

/// An upstream. It accepts for as long as the test process lives.
#[derive(Clone)]
pub struct Origin {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// What becomes of a connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next request.
    Keep,
    /// The end.
    Close,
}

/// One request, as its handler sees it: the head has arrived.
pub struct Exchange<'a> {
    /// The request; its body once [`Exchange::read_body`] was called.
    pub request: Message,
    /// The number of its connection, from 0.
    pub connection: usize,
    /// Its own number on this connection, from 0.
    pub number: usize,
    pub wire: &'a mut Wire,
    index: usize,
    seen: &'a Seen,
}

#[derive(Default)]
struct Seen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    connections: usize,
    open: usize,
    requests: Vec<Message>,
}

impl Origin {
    /// `handler` is called for each request, on a thread of its connection. An error of it closes.
    pub fn start(handler: impl Fn(&mut Exchange<'_>) -> io::Result<Next> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let origin = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let (seen, handler) = (Arc::clone(&origin.seen), Arc::new(handler));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                let number = seen.update(|state| {
                    state.connections += 1;
                    state.open += 1;
                    state.connections - 1
                });
                thread::spawn(move || {
                    // The other end may be gone at any point: that is for the test to see.
                    let _ = serve(stream.unwrap(), number, &seen, &*handler);
                    seen.update(|state| state.open -= 1);
                });
            }
        });
        origin
    }

    /// Reads each request to its end and answers with these bytes.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |exchange| {
            exchange.read_body()?;
            exchange.wire.send(&bytes)?;
            Ok(Next::Keep)
        })
    }

    /// Answers with 200 and the body of the request.
    pub fn echo() -> Self {
        Self::start(|exchange| {
            exchange.read_body()?;
            let answer = response(200, &[], &exchange.request.body);
            exchange.wire.send(answer)?;
            Ok(Next::Keep)
        })
    }

    /// Answers with `body` when the second gate opens; the first opens with the first request.
    pub fn holding(body: &'static str) -> (Self, Gate, Gate) {
        let (arrived, gate) = (Gate::new(), Gate::new());
        let (here, there) = (arrived.clone(), gate.clone());
        let origin = Self::start(move |exchange| {
            here.open();
            there.pass();
            exchange.wire.send(response(200, &[], body.as_bytes()))?;
            Ok(Next::Keep)
        });
        (origin, arrived, gate)
    }

    /// For `endpoints` in a policy.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Message> {
        self.seen.state.lock().unwrap().requests.clone()
    }

    /// The one request so far.
    pub fn request(&self) -> Message {
        let [request] = self.requests().try_into().unwrap();
        request
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.seen.state.lock().unwrap().connections
    }

    /// Waits until so many requests have arrived, heads at least.
    pub fn wait_for_requests(&self, count: usize) {
        self.seen.wait("requests", |state| state.requests.len() >= count);
    }

    /// Waits until no connection is open any more.
    pub fn wait_until_unconnected(&self) {
        self.seen.wait("the end of all connections", |state| state.open == 0);
    }
}

fn serve(
    stream: TcpStream,
    connection: usize,
    seen: &Seen,
    handler: &dyn Fn(&mut Exchange<'_>) -> io::Result<Next>,
) -> io::Result<()> {
    let mut wire = Wire::new(stream);
    // An idle connection waits for as long as the gateway keeps it.
    wire.stream().set_read_timeout(None)?;
    let mut numbers = 0..;
    while let (Some(request), Some(number)) = (wire.head()?, numbers.next()) {
        let index = seen.update(|state| {
            state.requests.push(request.clone());
            state.requests.len() - 1
        });
        let mut exchange = Exchange { request, connection, number, wire: &mut wire, index, seen };
        if handler(&mut exchange)? == Next::Close {
            break;
        }
    }
    Ok(())
}

impl Exchange<'_> {
    /// Reads the request to its end.
    pub fn read_body(&mut self) -> io::Result<()> {
        self.wire.body(&mut self.request)?;
        let request = self.request.clone();
        self.seen.update(|state| state.requests[self.index] = request);
        Ok(())
    }

    /// Waits until the gateway closes the connection.
    pub fn wait_until_closed(&mut self) -> io::Result<Next> {
        while self.wire.fill()? > 0 {}
        Ok(Next::Close)
    }
}

impl Seen {
    fn update<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let result = f(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }

    fn wait(&self, what: &str, mut is_met: impl FnMut(&State) -> bool) {
        let state = self.state.lock().unwrap();
        let (state, waited) =
            self.changed.wait_timeout_while(state, DEADLINE, |state| !is_met(state)).unwrap();
        assert!(!waited.timed_out(), "waited in vain for {what}: {} of them", state.requests.len());
    }
}

/// A response with a Content-Length.
pub fn response(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Any\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    let mut bytes = (text + "\r\n").into_bytes();
    bytes.extend(body);
    bytes
}

/// An address that refuses connections for as long as the socket is held: bound, not listening.
pub fn refusing_address() -> (SocketAddr, Socket) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}

/// An address at which connecting takes for ever, for as long as the result is held: its queue of
/// connections is full and nobody accepts.
pub fn deaf_address() -> (SocketAddr, Vec<Socket>) {
    let (address, listener) = refusing_address();
    listener.listen(0).unwrap();
    let mut held = vec![listener];
    for _ in 0..64 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if socket.connect_timeout(&address.into(), Duration::from_millis(200)).is_err() {
            return (address, held);
        }
        held.push(socket);
    }
    panic!("the queue of {address} does not fill");
}
