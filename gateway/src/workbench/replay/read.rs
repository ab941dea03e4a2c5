//! From the file to exchanges that can be played.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::Exchange;
use crate::filter::record::format::{Ending, Entry, Header, Message, Record, VERSION};
use crate::policy::cases::{Answer, Request};

/// The longest line, which is one exchange with its bodies.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Exchanges that are read.
const EXCHANGES_MAX: usize = 100_000;

/// A recording.
#[derive(Debug)]
pub struct Recorded {
    /// Its first line.
    pub header: Header,
    /// In the order of the file.
    pub exchanges: Vec<Exchange>,
    /// Its last line; `None`: the file was cut off.
    pub ending: Option<Ending>,
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is empty.
    #[error("it is empty; `tollgate filter record` writes recordings")]
    Empty,
    /// A line is no record.
    #[error("line {line}: {source}")]
    Json {
        /// Counted from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A line is longer than any exchange may be, or there are too many.
    #[error("line {line}: {what}")]
    TooMuch {
        /// Counted from 1.
        line: usize,
        /// What is.
        what: &'static str,
    },
    /// It was written in another format.
    #[error("it has version {0} of the format; this is version {VERSION}")]
    Version(u32),
    /// An exchange is not one that HTTP allows.
    #[error("line {line}: not {what}")]
    Http {
        /// Counted from 1.
        line: usize,
        /// What it should have been.
        what: &'static str,
    },
}

impl Recorded {
    /// Reads a recording to its end. Blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(mut from: impl BufRead) -> Result<Self, ReadError> {
        let mut lines = Lines { from: &mut from, number: 0, text: Vec::new() };
        let Some(first) = lines.next()? else { return Err(ReadError::Empty) };
        let header: Header =
            serde_json::from_slice(first).map_err(|source| ReadError::Json { line: 1, source })?;
        if header.tollgate_recording != VERSION {
            return Err(ReadError::Version(header.tollgate_recording));
        }
        let mut recorded = Self { header, exchanges: Vec::new(), ending: None };
        loop {
            let line = lines.number + 1;
            let Some(text) = lines.next()? else { return Ok(recorded) };
            match serde_json::from_slice(text).map_err(|source| ReadError::Json { line, source })? {
                Record::End(ending) => recorded.ending = Some(ending),
                Record::Exchange(_) if recorded.exchanges.len() == EXCHANGES_MAX => {
                    return Err(ReadError::TooMuch { line, what: "more than 100000 exchanges" });
                }
                Record::Exchange(entry) => {
                    let exchange = playable(line, *entry).map_err(|what| ReadError::Http { line, what })?;
                    recorded.exchanges.push(exchange);
                }
            }
        }
    }
}

/// Lines with a limit.
struct Lines<'a, R> {
    from: &'a mut R,
    number: usize,
    text: Vec<u8>,
}

impl<R: BufRead> Lines<'_, R> {
    fn next(&mut self) -> Result<Option<&[u8]>, ReadError> {
        self.text.clear();
        self.number += 1;
        let read = self.from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.text)?;
        match read as u64 {
            0 => Ok(None),
            LINE_BYTES_MAX => Err(ReadError::TooMuch { line: self.number, what: "more than 64 MiB" }),
            _ => Ok(Some(&self.text)),
        }
    }
}

fn playable(line: usize, entry: Entry) -> Result<Exchange, &'static str> {
    let sent = &entry.request;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let request = Request {
        method: Method::from_bytes(text(&sent.method).as_bytes()).map_err(|_| "a method")?,
        target: PathAndQuery::try_from(text(&sent.path)).map_err(|_| "a path")?,
        headers: fields(&sent.headers)?,
        body: body(sent),
        trailers: sent.trailers.as_deref().map(fields).transpose()?,
        client: entry.client,
        properties: Vec::new(),
    };
    let answer = match &entry.response {
        None => Answer::default(),
        Some(message) => Answer {
            status: StatusCode::from_u16(message.status.unwrap_or_default()).map_err(|_| "a status")?,
            headers: fields(&message.headers)?,
            body: body(message),
            trailers: message.trailers.as_deref().map(fields).transpose()?,
            ..Answer::default()
        },
    };
    Ok(Exchange { line, entry, request, answer })
}

fn fields(fields: &[(String, String)]) -> Result<HeaderMap, &'static str> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "a header name")?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| "a header value")?;
        map.try_append(name, value).map_err(|_| "a number of fields that HTTP allows")?;
    }
    Ok(map)
}

/// The body in one piece. One that was not kept is an empty piece, so that the filter is not told that
/// nothing follows the head.
fn body(message: &Message) -> Vec<Bytes> {
    match message.has_more {
        true => vec![message.body.as_ref().map(|body| body.kept()).unwrap_or_default()],
        false => Vec::new(),
    }
}
