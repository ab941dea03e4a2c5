//! The file of a recording: JSON, one value a line.
//!
//! The first line is a [`Header`], then an [`Entry`] for each exchange in the order of their ends, and
//! at last an [`Ending`]: a file without it was cut off. Bytes that are no UTF-8 are replaced in
//! heads, and written as hexadecimal digits in bodies.

use std::net::SocketAddr;

use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::redact::{Found, Redaction};
use super::tape::{Body, Captured, Half, Head, Line, Verdict};
use crate::telemetry::Timestamp;

/// The version of the format.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub tollgate_recording: u32,
    /// The filter.
    pub filter: String,
    /// The generation in force when it began.
    pub generation: u64,
    /// Bytes kept of each body.
    pub body_bytes: usize,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Exchanges in the file.
    pub exchanges: u64,
    /// Exchanges that were lost because they came faster than they were written.
    pub lost: u64,
    /// What ended it: `count`, `bytes` or `time`.
    pub ended_by: String,
}

/// A line after the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the types say it
pub enum Record {
    Exchange(Box<Entry>),
    End(Ending),
}

/// One exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it began.
    pub at: String,
    /// The client's end of its connection.
    pub client: SocketAddr,
    /// The request as it came to the filter.
    pub request: Message,
    /// The request as the filter left it; absent if it did not let it go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_out: Option<Message>,
    /// The response as it came to the filter; absent if it saw none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Message>,
    /// The response as the filter left it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_out: Option<Message>,
    /// What the filter made of it.
    pub verdict: Outcome,
    /// Names of fields and query parameters whose values are not in the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
}

/// What a filter made of an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the names say it
pub enum Outcome {
    Passed,
    Replied(Box<Message>),
    Failed(String),
    Closed,
}

/// A request or a response.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Of a request: path and query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Of a response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Its fields.
    pub headers: Vec<(String, String)>,
    /// Whether something follows its head.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_more: bool,
    /// Its body; absent if the filter looks at none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Content>,
    /// Its trailers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trailers: Option<Vec<(String, String)>>,
}

/// A body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Its length, also if less of it is kept.
    pub length: u64,
    /// Its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its beginning, if it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
}

impl Entry {
    /// What is written of an exchange.
    pub fn new(captured: &Captured, redaction: &Redaction) -> Self {
        let mut found = Found::default();
        let mut writer = Writer { redaction, found: &mut found };
        let Captured { request, response, verdict, .. } = captured;
        let mut entry = Self {
            at: Timestamp(captured.at).to_string(),
            client: captured.peer,
            request: writer.incoming(request).unwrap_or_default(),
            request_out: writer.outgoing(request),
            response: writer.incoming(response),
            response_out: writer.outgoing(response),
            verdict: writer.verdict(verdict),
            redacted: Vec::new(),
        };
        entry.messages().for_each(|message| message.clean(&found));
        entry.redacted = found.names.into_iter().collect();
        entry
    }

    fn messages(&mut self) -> impl Iterator<Item = &mut Message> {
        let reply = match &mut self.verdict {
            Outcome::Replied(message) => Some(&mut **message),
            _ => None,
        };
        let others = [&mut self.request_out, &mut self.response, &mut self.response_out];
        [&mut self.request].into_iter().chain(others.into_iter().flatten()).chain(reply)
    }
}

/// Writes messages without their secrets.
struct Writer<'a> {
    redaction: &'a Redaction,
    found: &'a mut Found,
}

impl Writer<'_> {
    fn incoming(&mut self, half: &Half) -> Option<Message> {
        let mut message = self.message(half.head_in.as_ref()?);
        message.has_more = !half.is_bare;
        message.body = half.body_in.as_ref().map(Content::of);
        message.trailers = half.trailers_in.as_ref().map(|trailers| self.fields(trailers));
        Some(message)
    }

    fn outgoing(&mut self, half: &Half) -> Option<Message> {
        let mut message = self.message(half.head_out.as_ref()?);
        message.body = half.body_out.as_ref().map(Content::of);
        message.trailers = half.trailers_out.as_ref().map(|trailers| self.fields(trailers));
        Some(message)
    }

    fn verdict(&mut self, verdict: &Verdict) -> Outcome {
        match verdict {
            Verdict::Passed => Outcome::Passed,
            Verdict::Replied { head, body } => {
                let body = Some(Content::of(body));
                Outcome::Replied(Box::new(Message { body, ..self.message(head) }))
            }
            Verdict::Failed(reason) => Outcome::Failed(reason.clone()),
            Verdict::Closed => Outcome::Closed,
        }
    }

    fn message(&mut self, head: &Head) -> Message {
        let headers = self.fields(&head.headers);
        match &head.line {
            Line::Request { method, target } => Message {
                method: Some(method.to_string()),
                path: Some(self.redaction.target(target.as_str(), self.found)),
                headers,
                ..Message::default()
            },
            Line::Response { status } => {
                Message { status: Some(status.as_u16()), headers, ..Message::default() }
            }
        }
    }

    fn fields(&mut self, map: &HeaderMap) -> Vec<(String, String)> {
        map.iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes());
                (name.as_str().to_owned(), self.redaction.value(name.as_str(), &value, self.found))
            })
            .collect()
    }
}

impl Message {
    /// Takes out secrets that stand where their name does not tell.
    fn clean(&mut self, found: &Found) {
        let values = self.headers.iter_mut().chain(self.trailers.iter_mut().flatten());
        values.for_each(|(_, value)| *value = found.cleaned(std::mem::take(value)));
        if let Some(path) = &mut self.path {
            let clean = found.cleaned(path.clone());
            *path = if clean == *path { clean } else { "/redacted".to_owned() };
        }
    }
}

impl Content {
    fn of(body: &Body) -> Self {
        let length = body.length;
        match std::str::from_utf8(&body.kept) {
            Ok("") => Self { length, ..Self::default() },
            Ok(text) => Self { length, text: Some(text.to_owned()), hex: None },
            Err(_) => {
                let hex = body.kept.iter().map(|byte| format!("{byte:02x}")).collect();
                Self { length, text: None, hex: Some(hex) }
            }
        }
    }

    /// What is kept of it. Digits that are none are taken for zero.
    pub fn kept(&self) -> Bytes {
        match (&self.text, &self.hex) {
            (Some(text), _) => Bytes::copy_from_slice(text.as_bytes()),
            (None, Some(hex)) => {
                let byte = |pair: &[u8]| {
                    let digits = std::str::from_utf8(pair).unwrap_or_default();
                    u8::from_str_radix(digits, 16).unwrap_or_default()
                };
                hex.as_bytes().chunks(2).map(byte).collect()
            }
            (None, None) => Bytes::new(),
        }
    }

    /// Whether all of it is kept.
    pub fn is_whole(&self) -> bool {
        self.kept().len() as u64 == self.length
    }
}
