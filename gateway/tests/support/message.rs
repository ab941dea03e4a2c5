//! HTTP/1.1 messages off a socket, strictly: a test must see what was really sent.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::DEADLINE;

/// A request or a response.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// The request line or status line.
    pub start: String,
    /// Fields in the order sent, names as sent.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The fields behind a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// The value of a field that is there once at most.
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.headers_named(name);
        assert!(values.len() <= 1, "{name} is there more than once: {self:#?}");
        values.first().copied()
    }

    /// All values of a field.
    pub fn headers_named(&self, name: &str) -> Vec<&str> {
        let named = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a trailer.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        let named = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.trailers.iter().find(named).map(|(_, value)| value.as_str())
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        assert!(self.start.starts_with("HTTP/1."), "not a response: {}", self.start);
        self.start.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap()
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap()
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    }
}

/// A socket, and what was read from it too early.
pub struct Wire {
    stream: TcpStream,
    early: Vec<u8>,
}

impl Wire {
    /// Reads and writes fail after [`DEADLINE`].
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream, early: Vec::new() }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Ends this side's half.
    pub fn finish(&self) {
        // The other side may be gone.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next head; `None` at the end of the connection.
    pub fn head(&mut self) -> io::Result<Option<Message>> {
        if self.early.is_empty() && self.fill()? == 0 {
            return Ok(None);
        }
        let start = self.line()?;
        Ok(Some(Message { start, headers: self.fields()?, ..Message::default() }))
    }

    /// The body of a request, or of a response that has one.
    pub fn body(&mut self, message: &mut Message) -> io::Result<()> {
        if message.is_chunked() {
            assert_eq!(message.header("content-length"), None, "two framings: {message:?}");
            return self.chunks(message);
        }
        if let Some(length) = message.header("content-length") {
            message.body = self.exact(length.parse().unwrap())?;
        } else if message.start.starts_with("HTTP/") {
            while self.fill()? > 0 {}
            message.body = std::mem::take(&mut self.early);
        }
        Ok(())
    }

    fn chunks(&mut self, message: &mut Message) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap().trim(), 16).unwrap();
            if size == 0 {
                message.trailers = self.fields()?;
                return Ok(());
            }
            message.body.extend(self.exact(size)?);
            assert_eq!(self.exact(2)?, b"\r\n");
        }
    }

    /// Exactly so many bytes.
    pub fn exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.early.len() < count {
            self.fill_some()?;
        }
        Ok(self.early.drain(..count).collect())
    }

    /// Everything up to and with `end`.
    pub fn until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.early.windows(end.len()).position(|window| window == end) {
                return Ok(self.early.drain(..at + end.len()).collect());
            }
            self.fill_some()?;
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = self.until(b"\r\n")?;
        line.truncate(line.len() - 2);
        Ok(String::from_utf8(line).unwrap())
    }

    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(": ").unwrap_or_else(|| line.split_once(':').unwrap());
            fields.push((name.to_owned(), value.to_owned()));
        }
    }

    fn fill_some(&mut self) -> io::Result<()> {
        match self.fill()? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Reads what is there.
    pub fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        let count = self.stream.read(&mut piece).inspect_err(|error| {
            assert!(
                !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                "nothing came before the deadline; so far {:?}",
                String::from_utf8_lossy(&self.early)
            );
        })?;
        self.early.extend(&piece[..count]);
        Ok(count)
    }

    /// Waits for the end of the connection; whatever comes before is an error.
    pub fn assert_ends(&mut self) {
        // A reset is an end as well.
        let _ = self.fill();
        assert!(self.early.is_empty(), "more came: {:?}", String::from_utf8_lossy(&self.early));
    }
}
