//! Header names and values, and the `headers` filter.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::filter::{HeaderEdit, HeaderEdits};
use super::super::raw::{self, Entries, Field, OneOrMany};
use super::super::report::{Problem, quoted};
use super::place::Place;

/// Edits of one kind on one side, and header fields of one answer.
const FIELDS_MAX: usize = 100;
const VALUE_MAX: usize = 8 * 1024;

/// Fields that frame a message or belong to one connection: the gateway alone writes them.
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

/// The edits of a `headers` filter.
pub(super) fn resolve_edits(place: Place<'_>, raw: &raw::HeaderEdits) -> HeaderEdits {
    let edits = HeaderEdits {
        request: resolve_edit(place.key("request"), &raw.request, Side::Request),
        response: resolve_edit(place.key("response"), &raw.response, Side::Response),
    };
    if raw.request.is_absent() && raw.response.is_absent() {
        let problem = Problem::new("a filter that does nothing").expected("`request` or `response`");
        place.error(problem);
    }
    edits
}

fn resolve_edit(place: Place<'_>, field: &Field<raw::HeaderEdit>, side: Side) -> HeaderEdit {
    let Some(raw) = field.given() else { return HeaderEdit::default() };
    if raw.remove.is_absent() && raw.set.is_absent() && raw.add.is_absent() {
        place.error(Problem::new("an edit that does nothing").expected("`remove`, `set` or `add`"));
    }
    let mut edit = HeaderEdit::default();
    let remove = place.key("remove");
    for (index, text) in remove.list(&raw.remove, FIELDS_MAX) {
        edit.remove.extend(editable(remove.index(index), text, side));
    }
    let set = place.key("set");
    for (key, text) in set.entries(&raw.set, FIELDS_MAX) {
        let entry = set.key(key);
        edit.set.extend(editable(entry, key, side).zip(secret_value(entry, text)));
    }
    refuse_twins(set, &raw.set);
    let add = place.key("add");
    for (key, texts) in add.entries(&raw.add, FIELDS_MAX) {
        let entry = add.key(key);
        let Some(name) = editable(entry, key, side) else { continue };
        each_text(entry, texts, |place, text| {
            edit.add.extend(secret_value(place, text).map(|value| (name.clone(), value)));
        });
    }
    edit
}

/// Names that differ only in case are one header: which of two values is set would be chance.
fn refuse_twins(set: Place<'_>, field: &Field<Entries<String>>) {
    let Some(Entries(entries)) = field.given() else { return };
    for (index, (key, _)) in entries.iter().enumerate() {
        if let Some((first, _)) =
            entries[..index].iter().find(|(earlier, _)| earlier.eq_ignore_ascii_case(key))
        {
            let first = set.report.place(&set.key(first).at, "the first one");
            let problem = Problem::new(format!("the header {} is set twice", quoted(key)));
            set.key(key).error(problem.see(first).on_key());
        }
    }
}

/// A header name that a policy may edit.
fn editable(place: Place<'_>, text: &str, side: Side) -> Option<HeaderName> {
    let name = unframed(place, text)?;
    if side == Side::Request && name == http::header::HOST {
        let problem = Problem::new("`host` is not for a filter to edit");
        place.error(problem.help("say `host: {fixed: …}` in the upstream").on_key());
        return None;
    }
    Some(name)
}

/// A header name that does not frame the message.
fn unframed(place: Place<'_>, text: &str) -> Option<HeaderName> {
    let name = resolve_name(place, text)?;
    if FRAMING.contains(&name.as_str()) {
        let problem = Problem::new(format!("`{name}` is not for a policy to write"));
        place.error(problem.help("the gateway sets it itself: remove it here").on_key());
        return None;
    }
    Some(name)
}

/// A header name.
pub(in crate::policy) fn resolve_name(place: Place<'_>, text: &str) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    if name.is_none() {
        let expected = "letters, digits and `-`, such as `x-request-id`";
        place.error(Problem::new("not a header name").expected(expected).found(quoted(text)).on_key());
    }
    name
}

/// The fields of an answer that the policy writes.
pub(super) fn resolve_fields(place: Place<'_>, field: &Field<Entries<OneOrMany>>) -> HeaderMap<HeaderValue> {
    let mut fields = HeaderMap::new();
    for (key, texts) in place.entries(field, FIELDS_MAX) {
        let entry = place.key(key);
        let Some(name) = unframed(entry, key) else { continue };
        each_text(entry, texts, |place, text| {
            if let Some(value) = value(place, text) {
                fields.append(name.clone(), value);
            }
        });
    }
    fields
}

fn each_text(place: Place<'_>, texts: &OneOrMany, mut each: impl FnMut(Place<'_>, &str)) {
    match texts {
        OneOrMany::One(text) => each(place, text),
        OneOrMany::Many(fields) => {
            for (index, text) in place.fields(fields, FIELDS_MAX) {
                each(place.index(index), text);
            }
        }
    }
}

/// A header value. It is not shown: it may be a credential.
fn value(place: Place<'_>, text: &str) -> Option<HeaderValue> {
    let right = text.len() <= VALUE_MAX && text.trim() == text;
    let value = HeaderValue::from_str(text).ok().filter(|_| right);
    if value.is_none() {
        place.error(
            Problem::new("not a header value").expected(format!(
                "at most {VALUE_MAX} visible ASCII characters, with no blank at either end"
            )),
        );
    }
    value
}

/// A header value that `Debug` does not show.
fn secret_value(place: Place<'_>, text: &str) -> Option<HeaderValue> {
    let mut value = value(place, text)?;
    value.set_sensitive(true);
    Some(value)
}
