//! One exchange against what must come of it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::super::exchange::{End, Outcome, Received, Sent};
use super::super::log::Lines;
use super::super::origin::Origin;
use super::super::stage::Stage;
use super::Mismatch;
use crate::policy::cases::{Expect, ExpectedEnd, Message, Wanted, WantedNumber};
use crate::policy::diagnostics::Position;

/// The longest part of a text that is shown.
const SHOWN: usize = 400;
/// Lines of log that are shown.
const LINES_SHOWN: usize = 20;

/// What is compared.
pub(super) struct Comparison<'a> {
    pub(super) expect: &'a Expect,
    pub(super) outcome: &'a Outcome,
    pub(super) stage: &'a Stage,
    pub(super) origins: &'a [(Arc<str>, Origin)],
    pub(super) log: &'a Lines,
}

/// An expectation that is not met.
pub(super) fn unmet(wanted: &Wanted, got: String) -> Mismatch {
    let expected = wanted.matcher.to_string();
    Mismatch { position: wanted.position, path: wanted.path.clone(), expected, got }
}

impl Comparison<'_> {
    /// What is wrong with the exchange itself.
    pub(super) fn inside(&self) -> Vec<Mismatch> {
        let mut found = Vec::new();
        self.end(&mut found);
        if let Some(message) = &self.expect.request {
            match &self.outcome.sent {
                Some(sent) => request(message, sent, &mut found),
                None => found.push(missing(message.position, "a request at the upstream", &self.ended())),
            }
        }
        if let Some(message) = &self.expect.response {
            match &self.outcome.end {
                End::Passed(received) | End::Replied(received) => response(message, received, &mut found),
                _ => found.push(missing(message.position, "a response", &self.ended())),
            }
        }
        for (path, wanted) in &self.expect.properties {
            text(wanted, self.outcome.property(path.as_bytes()).as_deref(), &mut found);
        }
        if let Some(wanted) = &self.expect.failures {
            number(wanted, Some(self.outcome.failures), &mut found);
        }
        found
    }

    /// What is wrong with what is seen from outside, and may come late.
    pub(super) fn outside(&self) -> Vec<Mismatch> {
        let mut found = Vec::new();
        for wanted in &self.expect.logs {
            if !self.log.any(|line| wanted.matcher.holds(&[line.as_bytes()])) {
                found.push(unmet(wanted, self.logged()));
            }
        }
        for (name, wanted) in &self.expect.metrics {
            number(wanted, self.stage.metric(name), &mut found);
        }
        for (key, wanted) in &self.expect.shared_data {
            text(wanted, self.stage.shared_data(key.as_bytes()).as_deref(), &mut found);
        }
        for (name, wanted) in &self.expect.calls {
            let origin = self.origins.iter().find(|(upstream, _)| **upstream == **name);
            number(wanted, origin.map(|(_, origin)| origin.calls()), &mut found);
        }
        found
    }

    fn end(&self, found: &mut Vec<Mismatch>) {
        let position = self.expect.position;
        match (&self.expect.end, &self.outcome.end) {
            (ExpectedEnd::Passes, End::Passed(_)) | (ExpectedEnd::Closes(_), End::Closed) => {}
            (ExpectedEnd::Waits(_), End::Waiting) => {}
            (ExpectedEnd::Replies(message), End::Replied(reply)) => response(message, reply, found),
            (ExpectedEnd::Fails(wanted), End::Failed(reason)) => text(wanted, Some(reason.as_bytes()), found),
            (ExpectedEnd::Passes, _) => found.push(missing(position, "the exchange passes", &self.ended())),
            (ExpectedEnd::Replies(message), _) => {
                found.push(missing(message.position, "the filter answers itself", &self.ended()));
            }
            (ExpectedEnd::Fails(wanted), _) => found.push(unmet(wanted, self.ended())),
            (ExpectedEnd::Closes(at), _) => found.push(missing(*at, "the filter closes", &self.ended())),
            (ExpectedEnd::Waits(at), _) => found.push(missing(*at, "the filter waits", &self.ended())),
        }
    }

    /// How it ended, in words.
    fn ended(&self) -> String {
        match &self.outcome.end {
            End::Passed(received) => format!("it passed, with {} from the upstream", received.status),
            End::Replied(reply) => {
                let body = shown(&reply.body);
                format!("the filter answered {} with {body}", reply.status)
            }
            End::Failed(reason) => format!("the filter failed: {reason}"),
            End::Closed => "the filter closed the stream".to_owned(),
            End::TooLarge(max) => format!("the filter held back more than {max} bytes"),
            End::Waiting => "the filter held it back and never let go".to_owned(),
        }
    }

    fn logged(&self) -> String {
        let lines = self.log.all();
        let said: Vec<String> = lines.iter().filter(|line| line.is_guest).map(|l| l.text.clone()).collect();
        match said.len() {
            0 => "no line".to_owned(),
            count => {
                let first = said.iter().take(LINES_SHOWN).map(|line| shown(line.as_bytes()));
                let first = first.collect::<Vec<_>>().join(", ");
                let more = if count > LINES_SHOWN { ", …" } else { "" };
                format!("{first}{more}")
            }
        }
    }
}

fn request(message: &Message, sent: &Sent, found: &mut Vec<Mismatch>) {
    if let Some(wanted) = &message.method {
        text(wanted, Some(sent.head.method.as_str().as_bytes()), found);
    }
    if let Some(wanted) = &message.path {
        text(wanted, Some(sent.head.target.as_str().as_bytes()), found);
    }
    fields(&message.headers, &sent.head.headers, found);
    rest(message, &sent.body, sent.trailers.as_ref(), found);
}

fn response(message: &Message, received: &Received, found: &mut Vec<Mismatch>) {
    if let Some(wanted) = &message.status {
        number(wanted, Some(received.status.as_u16().into()), found);
    }
    fields(&message.headers, &received.headers, found);
    rest(message, &received.body, received.trailers.as_ref(), found);
}

fn rest(message: &Message, body: &[u8], trailers: Option<&HeaderMap>, found: &mut Vec<Mismatch>) {
    if let Some(wanted) = &message.body {
        text(wanted, Some(body), found);
    }
    let none = HeaderMap::new();
    fields(&message.trailers, trailers.unwrap_or(&none), found);
}

fn fields(wanted: &[(HeaderName, Wanted)], map: &HeaderMap, found: &mut Vec<Mismatch>) {
    for (name, wanted) in wanted {
        let values = Outcome::values(map, name);
        if !wanted.matcher.holds(&values) {
            let got = match values.as_slice() {
                [] => "nothing".to_owned(),
                [only] => shown(only),
                many => format!("[{}]", many.iter().map(|v| shown(v)).collect::<Vec<_>>().join(", ")),
            };
            found.push(unmet(wanted, got));
        }
    }
}

fn text(wanted: &Wanted, got: Option<&[u8]>, found: &mut Vec<Mismatch>) {
    let values: Vec<&[u8]> = got.into_iter().collect();
    if !wanted.matcher.holds(&values) {
        found.push(unmet(wanted, got.map_or_else(|| "nothing".to_owned(), shown)));
    }
}

fn number(wanted: &WantedNumber, got: Option<u64>, found: &mut Vec<Mismatch>) {
    if got != Some(wanted.number) {
        let got = got.map_or_else(|| "nothing".to_owned(), |got| got.to_string());
        let (position, path) = (wanted.position, wanted.path.clone());
        found.push(Mismatch { position, path, expected: wanted.number.to_string(), got });
    }
}

fn missing(position: Position, expected: &str, got: &str) -> Mismatch {
    Mismatch { position, path: String::new(), expected: expected.to_owned(), got: got.to_owned() }
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
