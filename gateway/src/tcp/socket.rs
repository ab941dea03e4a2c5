//! A socket that says how its connection ended.

use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// One of the two sockets of a connection. Dropping it resets the connection unless it ended in order:
/// whatever takes the gateway's task away, the other side does not take a torn stream for a whole one.
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    in_order: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, in_order: false }
    }

    /// What was written is the whole; dropping it closes as usual.
    pub(super) fn ended_in_order(&mut self) {
        self.in_order = true;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.in_order {
            // One that is gone already needs none.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}
