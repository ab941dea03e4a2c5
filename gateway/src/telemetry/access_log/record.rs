//! One request, as it is logged.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::{Serialize, Serializer};

use crate::telemetry::metrics::{ConnectionEnd, ShadowVerdict};
use crate::telemetry::{Phase, Timestamp};

/// One request. Serialises as one JSON object; what is `None` is left out.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// When its headers had arrived.
    pub time: Timestamp,
    /// The identifier that is also sent upstream.
    pub request_id: Text,
    /// The client's address after the trusted-proxy rule.
    pub client: IpAddr,
    /// Its method; none if its head was refused unread.
    #[serde(serialize_with = "method", skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The host it asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Text>,
    /// Its path as received, without the query; none if its head was refused unread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Text>,
    /// The route that took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Arc<str>>,
    /// The answer's status; none if the client was gone before an answer was begun.
    #[serde(serialize_with = "status", skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusCode>,
    /// Bytes of the request body received.
    pub bytes_in: u64,
    /// Bytes of the response body sent.
    pub bytes_out: u64,
    /// From its headers to the last byte of the answer.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: Duration,
    /// Where it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamRecord>,
    /// The client's `User-Agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Text>,
    /// The filter that answered, denied or failed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<EndedBy>,
    /// What filters in shadow would have done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shadow: Vec<ShadowRecord>,
    /// What went wrong, in the gateway's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    /// The policy generation that served it.
    pub generation: u64,
}

/// One TCP connection. Serialises as one JSON object; what is `None` is left out.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionRecord {
    /// When it was accepted.
    pub time: Timestamp,
    /// Its name in the logs of filters.
    pub connection_id: Text,
    /// The peer's address.
    pub client: IpAddr,
    /// The TCP service.
    pub service: Arc<str>,
    /// Bytes read from the client.
    pub bytes_in: u64,
    /// Bytes written to the client.
    pub bytes_out: u64,
    /// From accept to its end.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: Duration,
    /// Where it went; its duration is that of connecting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamRecord>,
    /// How it ended.
    pub end: ConnectionEnd,
    /// The filter that closed it or failed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<EndedBy>,
    /// The policy generation that served it.
    pub generation: u64,
}

/// The upstream's side of a request or connection.
#[derive(Debug, Clone, Serialize)]
pub struct UpstreamRecord {
    /// The upstream's name.
    pub name: Arc<str>,
    /// The endpoint that was tried last.
    pub endpoint: Arc<str>,
    /// How many times it was sent.
    pub attempts: u32,
    /// From the request sent to the answer's headers, if they came.
    #[serde(
        rename = "duration_ms",
        serialize_with = "optional_milliseconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub duration: Option<Duration>,
}

/// The filter that ended a request before its upstream could.
#[derive(Debug, Clone, Serialize)]
pub struct EndedBy {
    /// The filter's name.
    pub filter: Arc<str>,
    /// Where it was.
    pub phase: Phase,
    /// Why, shortly.
    pub reason: Text,
}

/// What a filter in shadow would have done.
#[derive(Debug, Clone, Serialize)]
pub struct ShadowRecord {
    /// The filter's name.
    pub filter: Arc<str>,
    /// Where it was.
    pub phase: Phase,
    /// What it would have done.
    pub verdict: ShadowVerdict,
    /// The status of the answer that it would have given.
    #[serde(serialize_with = "status", skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusCode>,
    /// Why, shortly.
    #[serde(skip_serializing_if = "Text::is_empty")]
    pub reason: Text,
}

/// A string of bounded length from somewhere that is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text(Cow<'static, str>);

impl Text {
    /// A bound for paths, in bytes.
    pub const PATH_MAX: usize = 1024;
    /// A bound for host names: the longest that DNS allows.
    pub const HOST_MAX: usize = 255;
    /// A bound for everything else.
    pub const SHORT_MAX: usize = 256;

    /// Whether it has no character.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first `max` bytes, to the end of the last whole character, with `…` if that is not all.
    /// Bytes that are not UTF-8 become U+FFFD.
    pub fn clip(bytes: impl AsRef<[u8]>, max: usize) -> Self {
        let bytes = bytes.as_ref();
        let Some(clipped) = bytes.get(..max).filter(|clipped| clipped.len() < bytes.len()) else {
            return Self(Cow::Owned(String::from_utf8_lossy(bytes).into_owned()));
        };
        let whole = match std::str::from_utf8(clipped) {
            // A character that the cut went through, and not an invalid byte.
            Err(error) if error.error_len().is_none() => &clipped[..error.valid_up_to()],
            _ => clipped,
        };
        Self(Cow::Owned(String::from_utf8_lossy(whole).into_owned() + "…"))
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

fn method<S: Serializer>(method: &Option<Method>, serializer: S) -> Result<S::Ok, S::Error> {
    // Extension methods are of any length; none in use is longer than this.
    let text = method.as_ref().map_or("", Method::as_str);
    serializer.serialize_str(text.get(..32).unwrap_or(text))
}

fn status<S: Serializer>(status: &Option<StatusCode>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.map_or(0, |status| status.as_u16()))
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Whole microseconds: a float that shows at most three decimals.
    serializer.serialize_f64(duration.as_micros() as f64 / 1000.0)
}

fn optional_milliseconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    milliseconds(&duration.unwrap_or_default(), serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_clipped_between_characters() {
        let clip = |text: &str, max| Text::clip(text, max).as_ref().to_owned();
        assert_eq!(clip("short", 5), "short");
        assert_eq!(clip("longer", 5), "longe…");
        assert_eq!(clip("aüü", 2), "a…");
        assert_eq!(clip("aüü", 3), "aü…");
        assert_eq!(Text::clip([b'a', 0xff, b'b'], 10).as_ref(), "a\u{fffd}b");
        assert_eq!(Text::clip([b'a', 0xff, b'b'], 2).as_ref(), "a\u{fffd}…");
        assert_eq!(clip("x", 0), "…");
    }
}
