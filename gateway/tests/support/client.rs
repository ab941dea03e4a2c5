//! A connection to the gateway.

use std::io;
use std::net::{SocketAddr, TcpStream};

use super::message::{Message, Wire};

/// A client connection. What must work panics when it does not.
pub struct Client {
    pub wire: Wire,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self { wire: Wire::new(TcpStream::connect(address).unwrap()) }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes).unwrap();
    }

    /// Sends a request and waits for the whole answer.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        let is_head = request.as_ref().starts_with(b"HEAD ");
        self.send(request);
        if is_head { self.head() } else { self.response() }
    }

    /// The next whole answer that is not an interim one.
    pub fn response(&mut self) -> Message {
        self.try_response().unwrap()
    }

    /// The same, or how the connection ended before.
    pub fn try_response(&mut self) -> io::Result<Message> {
        let mut message = self.wire.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if !matches!(message.status(), 100..=199 | 204 | 304) {
            self.wire.body(&mut message)?;
        }
        Ok(message)
    }

    /// The head of the next answer, which has no body or one that the test reads.
    pub fn head(&mut self) -> Message {
        self.wire.head().unwrap().expect("an answer")
    }

    /// Waits for the gateway to close, without another byte.
    pub fn assert_closed(&mut self) {
        self.wire.assert_ends();
    }
}

/// A GET request with these fields and a Host.
pub fn get(target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    request("GET", target, headers, b"")
}

/// A POST request with a Content-Length.
pub fn post(target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let mut all = vec![("content-length", length.as_str())];
    all.extend(headers);
    request("POST", target, &all, body)
}

fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text += "host: test.example\r\n";
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    let mut bytes = (text + "\r\n").into_bytes();
    bytes.extend(body);
    bytes
}
