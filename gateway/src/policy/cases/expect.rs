//! What must come out, from the raw form.

use http::HeaderName;
use serde_yaml::Value;

use super::super::raw::{Entries, Field};
use super::super::report::{Problem, quoted};
use super::super::resolve::{Place, resolve_name};
use super::super::suggest::{listed, nearest};
use super::raw;
use super::resolve::{ENTRIES_MAX, position};
use super::{Expect, ExpectedEnd, Matcher, Message, Wanted, WantedNumber};

/// Keys of a matcher that is written as a mapping.
const KEYS: [&str; 5] = ["equals", "contains", "regex", "present", "absent"];
const WANTED: &str = "a text, a list of texts, or one of `{equals: …}`, `{contains: …}`, `{regex: …}`, \
                      `{present: true}`, `{absent: true}`";

/// What is under test, which decides what can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// A filter alone.
    Filter,
    /// A gateway with its policy.
    Policy,
}

/// What must come of an exchange; without a word it must pass.
pub(super) fn expect(place: Place<'_>, raw: Option<&raw::Expect>, subject: Subject) -> Expect {
    let none = raw::Expect::default();
    let raw = raw.unwrap_or(&none);
    refuse_foreign(place, raw, subject);
    let text = |key: &'static str, field: &Field<Value>| {
        field.given().and_then(|value| wanted(place.key(key), value))
    };
    let logs = place.key("logs");
    Expect {
        position: position(place),
        end: end(place, raw),
        request: message(place.key("request"), raw.request.given(), Side::Request),
        response: message(place.key("response"), raw.response.given(), Side::Response),
        logs: logs
            .list(&raw.logs, ENTRIES_MAX)
            .into_iter()
            .filter_map(|(index, value)| part(logs.index(index), value))
            .collect(),
        metrics: numbers(place.key("metrics"), &raw.metrics),
        properties: texts(place.key("properties"), &raw.properties)
            .into_iter()
            .map(|(path, wanted)| (path.replace('.', "\0"), wanted))
            .collect(),
        shared_data: texts(place.key("shared_data"), &raw.shared_data),
        calls: numbers(place.key("calls"), &raw.calls),
        failures: number(place.key("failures"), &raw.failures),
        route: text("route", &raw.route),
        upstream: text("upstream", &raw.upstream),
        filter: text("filter", &raw.filter),
        shadow: texts(place.key("shadow"), &raw.shadow),
    }
}

/// What can be asked of one subject and not of the other.
fn refuse_foreign(place: Place<'_>, raw: &raw::Expect, subject: Subject) {
    let of_gateway = [
        ("error", raw.error.is_absent()),
        ("route", raw.route.is_absent()),
        ("upstream", raw.upstream.is_absent()),
        ("filter", raw.filter.is_absent()),
        ("shadow", raw.shadow.is_absent()),
    ];
    let of_filter = [
        ("properties", raw.properties.is_absent()),
        ("shared_data", raw.shared_data.is_absent()),
        ("failures", raw.failures.is_absent()),
    ];
    match subject {
        Subject::Filter => {
            place.refuse(&of_gateway, "there is one filter and no gateway: see `tollgate test`")
        }
        Subject::Policy => place.refuse(&of_filter, "what is inside a filter is for `tollgate filter test`"),
    }
}

fn end(place: Place<'_>, raw: &raw::Expect) -> ExpectedEnd {
    let asked = |field: &Field<bool>| matches!(field, Field::Given(true));
    let written = [
        ("reply", !raw.reply.is_absent()),
        ("failure", !raw.failure.is_absent()),
        ("error", !raw.error.is_absent()),
        ("closed", asked(&raw.closed)),
        ("waiting", asked(&raw.waiting)),
    ];
    let mut written = written.iter().filter(|(_, is_written)| *is_written);
    if let (Some((first, _)), Some((second, _))) = (written.next(), written.next()) {
        let problem = Problem::new(format!("`{second}` beside `{first}`"));
        place.key(second).error(problem.help("an exchange ends in one way: remove one").on_key());
    }
    if let Some(reply) = message(place.key("reply"), raw.reply.given(), Side::Response) {
        return ExpectedEnd::Replies(Box::new(reply));
    }
    if let Some(wanted) = raw.failure.given().and_then(|value| part(place.key("failure"), value)) {
        return ExpectedEnd::Fails(wanted);
    }
    if let Some(wanted) = raw.error.given().and_then(|value| wanted(place.key("error"), value)) {
        return ExpectedEnd::Errs(wanted);
    }
    match (asked(&raw.closed), asked(&raw.waiting)) {
        (true, _) => ExpectedEnd::Closes(position(place.key("closed"))),
        (_, true) => ExpectedEnd::Waits(position(place.key("waiting"))),
        _ => ExpectedEnd::Passes,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

fn message(place: Place<'_>, raw: Option<&raw::Message>, side: Side) -> Option<Message> {
    let raw = raw?;
    let foreign: &[(&str, bool)] = match side {
        Side::Request => &[("status", !raw.status.is_absent())],
        Side::Response => &[("method", !raw.method.is_absent()), ("path", !raw.path.is_absent())],
    };
    for (key, _) in foreign.iter().filter(|(_, is_written)| *is_written) {
        let what = if side == Side::Request { "request" } else { "response" };
        place.key(key).error(Problem::new(format!("a {what} has no `{key}`")).on_key());
    }
    Some(Message {
        position: position(place),
        status: number(place.key("status"), &raw.status),
        method: raw.method.given().and_then(|value| wanted(place.key("method"), value)),
        path: raw.path.given().and_then(|value| wanted(place.key("path"), value)),
        headers: fields(place.key("headers"), &raw.headers),
        body: raw.body.given().and_then(|value| wanted(place.key("body"), value)),
        trailers: fields(place.key("trailers"), &raw.trailers),
    })
}

fn fields(place: Place<'_>, field: &Field<Entries<Value>>) -> Vec<(HeaderName, Wanted)> {
    let mut fields = Vec::new();
    for (key, value) in place.entries(field, ENTRIES_MAX) {
        let entry = place.key(key);
        fields.extend(resolve_name(entry, key).zip(wanted(entry, value)));
    }
    fields
}

fn texts(place: Place<'_>, field: &Field<Entries<Value>>) -> Vec<(String, Wanted)> {
    let mut texts = Vec::new();
    for (key, value) in place.entries(field, ENTRIES_MAX) {
        texts.extend(wanted(place.key(key), value).map(|wanted| (key.to_owned(), wanted)));
    }
    texts
}

fn numbers(place: Place<'_>, field: &Field<Entries<u64>>) -> Vec<(String, WantedNumber)> {
    let mut numbers = Vec::new();
    for (key, value) in place.entries(field, ENTRIES_MAX) {
        numbers.push((key.to_owned(), wanted_number(place.key(key), *value)));
    }
    numbers
}

fn number(place: Place<'_>, field: &Field<u64>) -> Option<WantedNumber> {
    field.given().map(|number| wanted_number(place, *number))
}

fn wanted_number(place: Place<'_>, number: u64) -> WantedNumber {
    WantedNumber { position: position(place), path: place.at.to_string(), number }
}

/// What a text must be: a bare text is the whole of it.
pub(super) fn wanted(place: Place<'_>, value: &Value) -> Option<Wanted> {
    let matcher = matcher(place, value)?;
    Some(Wanted { position: position(place), path: place.at.to_string(), matcher })
}

/// What a text must hold: a bare text is a part of it.
pub(super) fn part(place: Place<'_>, value: &Value) -> Option<Wanted> {
    let mut wanted = wanted(place, value)?;
    if let (Value::String(text), Matcher::Equals(_)) = (value, &wanted.matcher) {
        wanted.matcher = Matcher::Contains(text.clone());
    }
    Some(wanted)
}

fn matcher(place: Place<'_>, value: &Value) -> Option<Matcher> {
    match value {
        Value::String(text) => Some(Matcher::Equals(text.clone())),
        Value::Sequence(values) => {
            let texts: Option<Vec<String>> =
                values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
            if texts.is_none() {
                place.error(Problem::new("an entry that is no text").expected("a list of texts"));
            }
            texts.map(Matcher::All)
        }
        Value::Mapping(mapping) => match mapping.iter().next() {
            Some((Value::String(key), value)) if mapping.len() == 1 => keyed(place, key, value),
            _ => wrong(place),
        },
        Value::Bool(_) | Value::Number(_) => {
            place.error(Problem::new("wrong type of value").expected(WANTED).help("put it in quotes"));
            None
        }
        _ => wrong(place),
    }
}

fn keyed(place: Place<'_>, key: &str, value: &Value) -> Option<Matcher> {
    let entry = place.key(key);
    let text = || {
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            entry.error(Problem::new("wrong type of value").expected("text"));
        }
        text
    };
    match key {
        "equals" => text().map(Matcher::Equals),
        "contains" => text().map(Matcher::Contains),
        "regex" => text().and_then(|text| pattern(entry, &text)),
        "present" | "absent" => match (value, key) {
            (Value::Bool(true), "present") | (Value::Bool(false), "absent") => Some(Matcher::Present),
            (Value::Bool(_), _) => Some(Matcher::Absent),
            _ => {
                entry.error(Problem::new("wrong type of value").expected("`true` or `false`"));
                None
            }
        },
        _ => {
            let problem = Problem::new(format!("unknown key {}", quoted(key)));
            entry.error(problem.expected(listed(KEYS)).did_you_mean(nearest(key, KEYS)).on_key());
            None
        }
    }
}

fn pattern(place: Place<'_>, text: &str) -> Option<Matcher> {
    match regex::RegexBuilder::new(text).size_limit(1 << 20).build() {
        Ok(pattern) => Some(Matcher::Matches(pattern)),
        Err(error) => {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim().to_owned();
            place.error(Problem::new("not a regular expression").found(quoted(text)).help(why));
            None
        }
    }
}

fn wrong(place: Place<'_>) -> Option<Matcher> {
    place.error(Problem::new("wrong type of value").expected(WANTED));
    None
}
