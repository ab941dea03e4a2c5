//! `match`: what a request must look like.

use http::Method;

use super::super::raw::{self, Field};
use super::super::report::{Problem, quoted};
use super::super::route::{HeaderMatch, Match, QueryMatch, ValueMatch};
use super::headers::resolve_name;
use super::host;
use super::pattern::{Patterns, resolve_path};
use super::place::Place;

const HOSTS_MAX: usize = 1_000;
const METHODS_MAX: usize = 20;
const CONDITIONS_MAX: usize = 32;
const QUERY_NAME_MAX: usize = 256;

/// Absent means every request.
pub(super) fn resolve(place: Place<'_>, field: &Field<raw::Match>, patterns: &mut Patterns) -> Option<Match> {
    let everything = raw::Match::default();
    let raw = match field {
        Field::Given(raw) => raw,
        Field::Absent => &everything,
        Field::Refused => return None,
    };
    let mut hosts = Vec::new();
    place.key("host").texts(&raw.host, HOSTS_MAX, |place, text| {
        if let Some(pattern) = host::resolve(place, text) {
            add_once(place, &mut hosts, pattern);
        }
    });
    let path = match &raw.path {
        Field::Refused => None,
        path => resolve_path(place.key("path"), path.given(), patterns),
    };
    let mut methods = Vec::new();
    let section = place.key("methods");
    if raw.methods.given().is_some_and(Vec::is_empty) {
        section.error(Problem::new("an empty list").help("leave `methods` out to take every method"));
    }
    for (index, text) in section.list(&raw.methods, METHODS_MAX) {
        if let Some(method) = method(section.index(index), text) {
            add_once(section.index(index), &mut methods, method);
        }
    }
    Some(Match {
        hosts,
        path: path?,
        methods,
        headers: headers(place.key("headers"), &raw.headers, patterns),
        query: query(place.key("query"), &raw.query, patterns),
    })
}

fn add_once<T: PartialEq>(place: Place<'_>, list: &mut Vec<T>, value: T) {
    if list.contains(&value) {
        place.error(Problem::new("listed twice").help("remove one of them"));
    } else {
        list.push(value);
    }
}

/// Methods are case-sensitive (RFC 9110 §9.1), so that `get` would match no one's GET.
fn method(place: Place<'_>, text: &str) -> Option<Method> {
    let method = Method::from_bytes(text.as_bytes()).ok();
    let method = method.filter(|_| !text.bytes().any(|b| b.is_ascii_lowercase()));
    if method.is_none() {
        let upper = text.to_ascii_uppercase();
        let near = Method::from_bytes(upper.as_bytes()).ok().map(|method| method.to_string());
        let expected = "a method in upper case, such as `GET`";
        let problem = Problem::new("not a method").expected(expected).found(quoted(text));
        place.error(problem.did_you_mean(near.as_deref()));
    }
    method
}

fn headers(
    place: Place<'_>,
    field: &Field<Vec<Field<raw::ValueMatch>>>,
    patterns: &mut Patterns,
) -> Vec<HeaderMatch> {
    let mut conditions = Vec::new();
    for (index, raw) in place.list(field, CONDITIONS_MAX) {
        let entry = place.index(index);
        let name = entry.required(&raw.name, "name", "the name of a header");
        let name = name.and_then(|name| resolve_name(entry.key("name"), name));
        let value = value(entry, raw, patterns);
        conditions.extend(name.zip(value).map(|(name, value)| HeaderMatch { name, value }));
    }
    conditions
}

fn query(
    place: Place<'_>,
    field: &Field<Vec<Field<raw::ValueMatch>>>,
    patterns: &mut Patterns,
) -> Vec<QueryMatch> {
    let mut conditions = Vec::new();
    for (index, raw) in place.list(field, CONDITIONS_MAX) {
        let entry = place.index(index);
        let name = entry.required(&raw.name, "name", "the name of a parameter");
        if name.is_some_and(|name| name.is_empty() || name.len() > QUERY_NAME_MAX) {
            let expected = format!("1 to {QUERY_NAME_MAX} bytes");
            entry.key("name").error(Problem::new("not the name of a parameter").expected(expected));
        }
        let value = value(entry, raw, patterns);
        conditions
            .extend(name.zip(value).map(|(name, value)| QueryMatch { name: name.as_str().into(), value }));
    }
    conditions
}

fn value(place: Place<'_>, raw: &raw::ValueMatch, patterns: &mut Patterns) -> Option<ValueMatch> {
    let keys = [
        ("exact", raw.exact.is_absent()),
        ("regex", raw.regex.is_absent()),
        ("present", raw.present.is_absent()),
        ("absent", raw.absent.is_absent()),
    ];
    let key = place.exactly_one(&keys)?;
    let place = place.key(key);
    match (raw.exact.given(), raw.regex.given(), raw.present.given(), raw.absent.given()) {
        (Some(text), ..) => Some(ValueMatch::Exact(text.as_str().into())),
        (_, Some(pattern), ..) => patterns.compile(place, pattern).map(ValueMatch::Regex),
        (.., Some(true), _) => Some(ValueMatch::Present),
        (.., Some(true)) => Some(ValueMatch::Absent),
        (.., Some(false), _) | (.., Some(false)) => {
            let other = if key == "present" { "absent" } else { "present" };
            let problem = Problem::new("only `true` has a meaning here").found("`false`");
            place.error(problem.help(format!("write `{other}: true`")));
            None
        }
        _ => None,
    }
}
