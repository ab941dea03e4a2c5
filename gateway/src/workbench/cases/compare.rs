//! One exchange against what must come of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};

use super::super::exchange::{End, Outcome, Received, Sent};
use super::super::log::Lines;
use super::Mismatch;
use crate::policy::cases::{Expect, ExpectedEnd, Message, Wanted, WantedNumber};
use crate::policy::diagnostics::Position;

/// The longest part of a text that is shown.
const SHOWN: usize = 400;
/// How often is looked again for what comes late.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Lines of log that are shown.
const LINES_SHOWN: usize = 20;

/// What is compared.
pub(in crate::workbench) struct Comparison<'a> {
    pub(in crate::workbench) expect: &'a Expect,
    pub(in crate::workbench) end: &'a End,
    /// The request as the upstream saw it.
    pub(in crate::workbench) sent: Option<&'a Sent>,
    /// Of a gateway.
    pub(in crate::workbench) course: Option<&'a Course>,
    pub(in crate::workbench) traces: &'a dyn Traces,
    pub(in crate::workbench) log: &'a Lines,
}

/// What an exchange left besides a response.
pub(in crate::workbench) trait Traces {
    /// A property of the exchange, by its path.
    fn property(&self, path: &[u8]) -> Option<Vec<u8>>;
    /// How often the filter failed in it.
    fn failures(&self) -> u64;
    /// A metric that a guest defined.
    fn metric(&self, name: &str) -> Option<u64>;
    /// Shared data of the filter's VM.
    fn shared_data(&self, key: &[u8]) -> Option<Arc<[u8]>>;
    /// How many requests an upstream got so far.
    fn calls(&self, upstream: &str) -> Option<u64>;
}

/// The way of an exchange through a gateway, as the access log has it.
#[derive(Debug, Default)]
pub(in crate::workbench) struct Course {
    pub(in crate::workbench) route: Option<Arc<str>>,
    pub(in crate::workbench) upstream: Option<Arc<str>>,
    /// The filter that ended it.
    pub(in crate::workbench) filter: Option<Arc<str>>,
    /// What the client got, though a filter failed.
    pub(in crate::workbench) in_failure: Option<Received>,
    /// What filters in shadow would have done.
    pub(in crate::workbench) shadow: Vec<(Arc<str>, &'static str)>,
}

/// An expectation that is not met.
pub(in crate::workbench) fn unmet(wanted: &Wanted, got: String) -> Mismatch {
    let expected = wanted.matcher.to_string();
    Mismatch { position: wanted.position, path: wanted.path.clone(), expected, got }
}

impl Comparison<'_> {
    /// What is wrong in the end. What is seen from outside may come late where other servers are called:
    /// it has `grace` to come true.
    pub(in crate::workbench) async fn settled(&self, grace: Option<Duration>) -> Vec<Mismatch> {
        let mut mismatches = self.inside();
        if !mismatches.is_empty() {
            mismatches.extend(self.outside());
            return mismatches;
        }
        let end = Instant::now() + grace.unwrap_or_default();
        loop {
            let mismatches = self.outside();
            if mismatches.is_empty() || grace.is_none() || Instant::now() > end {
                return mismatches;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What is wrong with the exchange itself.
    fn inside(&self) -> Vec<Mismatch> {
        let mut found = Vec::new();
        self.end(&mut found);
        if let Some(course) = self.course {
            self.way(course, &mut found);
        }
        if let Some(message) = &self.expect.request {
            match self.sent {
                Some(sent) => request(message, sent, &mut found),
                None => found.push(missing(message.position, "a request at the upstream", &self.ended())),
            }
        }
        if let Some(message) = &self.expect.response {
            match self.received() {
                Some(received) => response(message, received, &mut found),
                None => found.push(missing(message.position, "a response", &self.ended())),
            }
        }
        for (path, wanted) in &self.expect.properties {
            text(wanted, self.traces.property(path.as_bytes()).as_deref(), &mut found);
        }
        if let Some(wanted) = &self.expect.failures {
            number(wanted, Some(self.traces.failures()), &mut found);
        }
        found
    }

    /// What is wrong with what is seen from outside, and may come late.
    fn outside(&self) -> Vec<Mismatch> {
        let mut found = Vec::new();
        for wanted in &self.expect.logs {
            if !self.log.any(|line| wanted.matcher.holds(&[line.as_bytes()])) {
                found.push(unmet(wanted, self.logged()));
            }
        }
        for (name, wanted) in &self.expect.metrics {
            number(wanted, self.traces.metric(name), &mut found);
        }
        for (key, wanted) in &self.expect.shared_data {
            text(wanted, self.traces.shared_data(key.as_bytes()).as_deref(), &mut found);
        }
        for (name, wanted) in &self.expect.calls {
            number(wanted, self.traces.calls(name), &mut found);
        }
        found
    }

    fn end(&self, found: &mut Vec<Mismatch>) {
        let position = self.expect.position;
        match (&self.expect.end, self.end) {
            (ExpectedEnd::Passes, End::Passed(_)) | (ExpectedEnd::Closes(_), End::Closed) => {}
            (ExpectedEnd::Waits(_), End::Waiting) => {}
            (ExpectedEnd::Replies(message), End::Replied(reply)) => response(message, reply, found),
            (ExpectedEnd::Fails(wanted), End::Failed(reason)) => text(wanted, Some(reason.as_bytes()), found),
            (ExpectedEnd::Errs(wanted), End::Errored(word, _)) => text(wanted, Some(word.as_bytes()), found),
            (ExpectedEnd::Passes, _) => found.push(missing(position, "the exchange passes", &self.ended())),
            (ExpectedEnd::Replies(message), _) => {
                found.push(missing(message.position, "the filter answers itself", &self.ended()));
            }
            (ExpectedEnd::Fails(wanted) | ExpectedEnd::Errs(wanted), _) => {
                found.push(unmet(wanted, self.ended()));
            }
            (ExpectedEnd::Closes(at), _) => found.push(missing(*at, "the filter closes", &self.ended())),
            (ExpectedEnd::Waits(at), _) => found.push(missing(*at, "the filter waits", &self.ended())),
        }
    }

    /// How it ended, in words.
    fn ended(&self) -> String {
        let filter = match self.course.and_then(|course| course.filter.as_ref()) {
            Some(name) => format!("the filter `{name}`"),
            None => "the filter".to_owned(),
        };
        match self.end {
            End::Passed(received) => match self.course {
                Some(Course { upstream: None, .. }) => {
                    format!("it passed, with {} from the policy itself", received.status)
                }
                _ => format!("it passed, with {} from the upstream", received.status),
            },
            End::Replied(reply) => {
                let body = shown(&reply.body);
                format!("{filter} answered {} with {body}", reply.status)
            }
            End::Failed(reason) => format!("{filter} failed: {reason}"),
            End::Closed => format!("{filter} closed the stream"),
            End::TooLarge(max) => format!("{filter} held back more than {max} bytes"),
            End::Waiting if self.course.is_some() => "no response in time".to_owned(),
            End::Waiting => format!("{filter} held it back and never let go"),
            End::Errored(word, Some(received)) => {
                format!("the gateway answered {} by itself: `{word}`", received.status)
            }
            End::Errored(word, None) => format!("the gateway cut the connection: `{word}`"),
        }
    }

    /// What the client got.
    fn received(&self) -> Option<&Received> {
        match self.end {
            End::Passed(received) | End::Replied(received) | End::Errored(_, Some(received)) => {
                Some(received)
            }
            End::Failed(_) => self.course?.in_failure.as_ref(),
            End::Errored(_, None) | End::Closed | End::TooLarge(_) | End::Waiting => None,
        }
    }

    /// What is wrong with the way that it took.
    fn way(&self, course: &Course, found: &mut Vec<Mismatch>) {
        let named = [
            (&self.expect.route, &course.route),
            (&self.expect.upstream, &course.upstream),
            (&self.expect.filter, &course.filter),
        ];
        for (wanted, name) in named {
            if let Some(wanted) = wanted {
                text(wanted, name.as_deref().map(str::as_bytes), found);
            }
        }
        for (filter, wanted) in &self.expect.shadow {
            let verdicts = course.shadow.iter().filter(|(name, _)| **name == **filter);
            let verdicts: Vec<&[u8]> = verdicts.map(|(_, verdict)| verdict.as_bytes()).collect();
            if !wanted.matcher.holds(&verdicts) {
                found.push(unmet(wanted, listed(&verdicts)));
            }
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
            found.push(unmet(wanted, listed(&values)));
        }
    }
}

fn text(wanted: &Wanted, got: Option<&[u8]>, found: &mut Vec<Mismatch>) {
    let values: Vec<&[u8]> = got.into_iter().collect();
    if !wanted.matcher.holds(&values) {
        found.push(unmet(wanted, got.map_or_else(|| "nothing".to_owned(), shown)));
    }
}

fn listed(values: &[&[u8]]) -> String {
    match values {
        [] => "nothing".to_owned(),
        [only] => shown(only),
        many => format!("[{}]", many.iter().map(|value| shown(value)).collect::<Vec<_>>().join(", ")),
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
