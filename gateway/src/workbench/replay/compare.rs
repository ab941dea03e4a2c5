//! What differs between what was recorded and what came of it now.

use std::collections::BTreeMap;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};

use super::super::exchange::{End, Outcome, Received, Sent};
use super::Difference;
use crate::filter::record::REDACTED;
use crate::filter::record::format::{Content, Entry, Message, Outcome as Verdict};

/// The longest part of a text that is shown.
const SHOWN: usize = 200;

/// All that differs; of a verdict that differs, that alone, for the rest follows from it.
pub(super) fn compare(entry: &Entry, outcome: &Outcome) -> Vec<Difference> {
    let mut found = Found { redacted: &entry.redacted, differences: Vec::new() };
    let (recorded, now) = (recorded(&entry.verdict), ended(outcome));
    if recorded.split(':').next() != now.split(':').next() {
        found.add("verdict", recorded, now);
        return found.differences;
    }
    if let (Some(message), Some(sent)) = (&entry.request_out, &outcome.sent) {
        found.request(message, sent);
    }
    match (&entry.verdict, &outcome.end) {
        (Verdict::Replied(message), End::Replied(reply)) => found.response("reply", message, reply),
        (Verdict::Passed, End::Passed(received)) => {
            if let Some(message) = &entry.response_out {
                found.response("response", message, received);
            }
        }
        _ => {}
    }
    found.differences
}

/// A verdict in words: the kind, then `:` and what is not compared.
fn recorded(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Passed => "passed".to_owned(),
        Verdict::Replied(message) => format!("answered {}", message.status.unwrap_or_default()),
        Verdict::Failed(reason) => format!("failed: {reason}"),
        Verdict::Closed => "closed the stream".to_owned(),
    }
}

fn ended(outcome: &Outcome) -> String {
    match &outcome.end {
        // It failed, and its policy let the exchange go on.
        End::Passed(_) if outcome.failures > 0 => "failed: and let pass".to_owned(),
        End::Passed(_) => "passed".to_owned(),
        End::Replied(reply) => format!("answered {}", reply.status.as_u16()),
        End::Failed(reason) => format!("failed: {reason}"),
        End::Closed => "closed the stream".to_owned(),
        End::TooLarge(max) => format!("held back more than {max} bytes"),
        End::Waiting => "held it back and never let go".to_owned(),
        End::Errored(word, _) => format!("errored: {word}"),
    }
}

struct Found<'a> {
    redacted: &'a [String],
    differences: Vec<Difference>,
}

impl Found<'_> {
    fn add(&mut self, what: &str, recorded: String, now: String) {
        self.differences.push(Difference { what: what.to_owned(), recorded, now });
    }

    fn text(&mut self, what: &str, recorded: Option<&str>, now: &str) {
        if recorded.is_some_and(|recorded| recorded != now) {
            self.add(what, shown(recorded.unwrap_or_default().as_bytes()), shown(now.as_bytes()));
        }
    }

    fn request(&mut self, message: &Message, sent: &Sent) {
        self.text("method", message.method.as_deref(), sent.head.method.as_str());
        self.text("path", message.path.as_deref(), sent.head.target.as_str());
        self.fields("request header", &message.headers, &sent.head.headers);
        self.content("request body", message.body.as_ref(), &sent.body);
        self.trailers("request trailer", message.trailers.as_deref(), sent.trailers.as_ref());
    }

    fn response(&mut self, word: &str, message: &Message, received: &Received) {
        let status = message.status.and_then(|code| StatusCode::from_u16(code).ok());
        if status.is_some_and(|status| status != received.status) {
            let recorded = message.status.unwrap_or_default().to_string();
            self.add(&format!("{word} status"), recorded, received.status.as_u16().to_string());
        }
        self.fields(&format!("{word} header"), &message.headers, &received.headers);
        self.content(&format!("{word} body"), message.body.as_ref(), &received.body);
        self.trailers(&format!("{word} trailer"), message.trailers.as_deref(), received.trailers.as_ref());
    }

    fn trailers(&mut self, word: &str, recorded: Option<&[(String, String)]>, now: Option<&HeaderMap>) {
        if let Some(recorded) = recorded {
            self.fields(word, recorded, now.unwrap_or(&HeaderMap::new()));
        }
    }

    fn fields(&mut self, word: &str, recorded: &[(String, String)], now: &HeaderMap) {
        let mut names = BTreeMap::<&str, (Vec<&str>, Vec<String>)>::new();
        for (name, value) in recorded {
            names.entry(name).or_default().0.push(value);
        }
        for (name, value) in now {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            names.entry(name.as_str()).or_default().1.push(value);
        }
        for (name, (recorded, now)) in names {
            let is_framing = name == CONTENT_LENGTH.as_str() || name == TRANSFER_ENCODING.as_str();
            let is_unknown =
                self.redacted.iter().any(|redacted| redacted == name) || recorded.contains(&REDACTED);
            // Of a field whose value is not known it can be told whether it is there.
            let is_same = match is_unknown {
                true => recorded.is_empty() == now.is_empty(),
                false => recorded.iter().eq(now.iter()),
            };
            if !is_framing && !is_same {
                self.add(
                    &format!("{word} {name}"),
                    listed(recorded.iter().copied()),
                    listed(now.iter().map(String::as_str)),
                );
            }
        }
    }

    /// Bodies are compared if all of the recorded one was kept.
    fn content(&mut self, word: &str, recorded: Option<&Content>, now: &[u8]) {
        let Some(recorded) = recorded else { return };
        if recorded.is_whole() && recorded.kept() != now {
            self.add(word, shown(&recorded.kept()), shown(now));
        }
    }
}

fn listed<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let values: Vec<_> = values.map(|value| shown(value.as_bytes())).collect();
    match values.len() {
        0 => "nothing".to_owned(),
        _ => values.join(", "),
    }
}

/// Bytes as text in quotes, shortened; control characters are escaped.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    let cut: String = text.chars().take(SHOWN).collect();
    format!("{cut:?}… ({} bytes)", bytes.len())
}
