//! Test cases for a filter, or for a whole policy: what goes in and what must come out, as types.
//!
//! A cases file is YAML, read by the same machinery as a policy: all that is wrong is told at once
//! with file, line, column and a near miss; unknown keys are refused. `raw` mirrors the file,
//! `resolve` and `expect` turn it into the types of this page, [`load()`] does both.
//! `filters/*/tests.yaml` show the format. Cases for a policy ([`suite`]) are written in the same way, less what
//! is inside a filter, and with what only a gateway knows; `policies/cases/*.yaml` show that.
//!
//! ```yaml
//! filter: { config: { … } }        # as `filters.NAME.wasm` in a policy, without `module`
//! cases:
//!   - name: the admin pages are closed
//!     request: { path: /admin }
//!     expect: { reply: { status: 403 } }
//! ```
//!
//! Limits: 16 MiB of text, 1 000 cases, 100 exchanges in each, 1 000 entries in every list.

mod expect;
mod load;
mod raw;
mod resolve;
mod suite;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use regex::Regex;

use super::diagnostics::Position;
use super::filter::Filter;
pub use load::{load, load_suite, parse, parse_suite};
pub use suite::{PolicyCase, PolicyExchange, Suite};

/// A file of cases.
#[derive(Debug)]
pub struct Cases {
    /// The file's own filter; each case has its own copy with its own configuration.
    pub filter: Arc<Filter>,
    /// In the order written. At least one.
    pub cases: Vec<Case>,
}

/// One case: a filter in a VM of its own, and exchanges one after the other.
#[derive(Debug)]
pub struct Case {
    /// What it is called in reports.
    pub name: Arc<str>,
    /// Where it begins.
    pub position: Position,
    /// The filter with the case's configuration.
    pub filter: Arc<Filter>,
    /// What answers the filter's side calls, by the upstream's name.
    pub calls: Vec<Script>,
    /// How long an exchange may take before it counts as held for good. Default 2 s.
    pub timeout: Duration,
    /// The filter must refuse to start, for a reason that holds this.
    pub refused: Option<Wanted>,
    /// What passes through it. Empty only with `refused`.
    pub exchanges: Vec<ExchangeCase>,
}

/// The answers of one upstream to the filter's side calls, in the order given; a call beyond the last
/// one fails.
#[derive(Debug, Clone)]
pub struct Script {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// Its answers.
    pub answers: Vec<Answer>,
}

/// One request, its answer, and what must come of them.
#[derive(Debug)]
pub struct ExchangeCase {
    /// Where it stands.
    pub position: Position,
    /// How often the filter's timer goes off before the request.
    pub ticks: u32,
    /// What the client sends.
    pub request: Request,
    /// What the upstream answers.
    pub response: Answer,
    /// What must come out.
    pub expect: Expect,
}

/// What a client sends.
#[derive(Debug, Clone)]
pub struct Request {
    /// Default GET.
    pub method: Method,
    /// Default `/`.
    pub target: PathAndQuery,
    /// `host` among them. A body of one piece has its `content-length`, unless it is written.
    pub headers: HeaderMap,
    /// The pieces in which the body comes.
    pub body: Vec<Bytes>,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
    /// Where it comes from. Default 127.0.0.1:40000.
    pub client: SocketAddr,
    /// Properties that are set before the filter runs, by their paths joined with NUL.
    pub properties: Vec<(String, String)>,
}

/// What an upstream answers.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Default 200.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// The pieces in which the body comes.
    pub body: Vec<Bytes>,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
    /// How long it takes before it comes.
    pub delay: Duration,
}

/// What must come out of an exchange.
#[derive(Debug)]
pub struct Expect {
    /// Where it stands.
    pub position: Position,
    /// How it ends.
    pub end: ExpectedEnd,
    /// The request as the upstream sees it.
    pub request: Option<Message>,
    /// The response as the client sees it.
    pub response: Option<Message>,
    /// Each is part of a line of the filter's log.
    pub logs: Vec<Wanted>,
    /// Metrics that the guest defines, by name.
    pub metrics: Vec<(String, WantedNumber)>,
    /// Properties after the exchange, by their paths joined with NUL.
    pub properties: Vec<(String, Wanted)>,
    /// Shared data after the exchange.
    pub shared_data: Vec<(String, Wanted)>,
    /// How many side calls an upstream got so far.
    pub calls: Vec<(String, WantedNumber)>,
    /// How often the filter failed in this exchange; of use with `on_failure: open`.
    pub failures: Option<WantedNumber>,
    /// The route that takes it.
    pub route: Option<Wanted>,
    /// The upstream that it is sent to.
    pub upstream: Option<Wanted>,
    /// The filter that ends it.
    pub filter: Option<Wanted>,
    /// What filters in shadow would have done, by their names.
    pub shadow: Vec<(String, Wanted)>,
}

/// How an exchange must end.
#[derive(Debug)]
pub enum ExpectedEnd {
    /// The upstream's response reaches the client.
    Passes,
    /// The filter answers in its place.
    Replies(Box<Message>),
    /// The filter fails, for a reason that holds this.
    Fails(Wanted),
    /// The gateway answers by itself or cuts the connection, for a cause that has this word in the access
    /// log.
    Errs(Wanted),
    /// The filter closes the stream.
    Closes(Position),
    /// The filter holds the exchange back for good.
    Waits(Position),
}

/// What a message must look like; what is not written may be as it likes.
#[derive(Debug)]
pub struct Message {
    /// Where it stands.
    pub position: Position,
    /// The status of a response.
    pub status: Option<WantedNumber>,
    /// The method of a request.
    pub method: Option<Wanted>,
    /// Path and query of a request.
    pub path: Option<Wanted>,
    /// Fields, `host` among them.
    pub headers: Vec<(HeaderName, Wanted)>,
    /// The whole body.
    pub body: Option<Wanted>,
    /// Trailers.
    pub trailers: Vec<(HeaderName, Wanted)>,
}

/// What a text must be, and where that is written.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where.
    pub position: Position,
    /// Where in the document, such as `cases[2].expect.request.headers.x-a`.
    pub path: String,
    /// What.
    pub matcher: Matcher,
}

/// A number that must be.
#[derive(Debug, Clone)]
pub struct WantedNumber {
    /// Where it is written.
    pub position: Position,
    /// Where in the document.
    pub path: String,
    /// The number.
    pub number: u64,
}

/// What a text must be.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// This and nothing else; of a header, one value.
    Equals(String),
    /// Of a header: these values in this order.
    All(Vec<String>),
    /// It holds this.
    Contains(String),
    /// The pattern matches somewhere in it.
    Matches(Regex),
    /// It is there.
    Present,
    /// It is not there.
    Absent,
}

impl Matcher {
    /// Whether the values are as they must be; none means absent.
    pub fn holds(&self, values: &[&[u8]]) -> bool {
        let any = |test: &dyn Fn(&str) -> bool| values.iter().any(|value| test(&text_of(value)));
        match self {
            Self::Equals(text) => matches!(values, [only] if *only == text.as_bytes()),
            Self::All(texts) => {
                values.len() == texts.len()
                    && values.iter().zip(texts).all(|(value, text)| *value == text.as_bytes())
            }
            Self::Contains(text) => any(&|value| value.contains(text.as_str())),
            Self::Matches(pattern) => any(&|value| pattern.is_match(value)),
            Self::Present => !values.is_empty(),
            Self::Absent => values.is_empty(),
        }
    }
}

fn text_of(value: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(value)
}

/// In words, for a report.
impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Equals(text) => write!(f, "{text:?}"),
            Self::All(texts) => write!(f, "{texts:?}"),
            Self::Contains(text) => write!(f, "something with {text:?} in it"),
            Self::Matches(pattern) => write!(f, "something that matches /{pattern}/"),
            Self::Present => f.write_str("something"),
            Self::Absent => f.write_str("nothing"),
        }
    }
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Vec::new(),
            trailers: None,
            delay: Duration::ZERO,
        }
    }
}

impl Request {
    /// GET of `target` from this machine, without a body.
    pub fn get(target: PathAndQuery, host: HeaderValue) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::HOST, host);
        Self {
            method: Method::GET,
            target,
            headers,
            body: Vec::new(),
            trailers: None,
            client: CLIENT,
            properties: Vec::new(),
        }
    }
}

/// Where requests come from if a case does not say.
pub const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 40_000);

#[cfg(test)]
mod tests;
