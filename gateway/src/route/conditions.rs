//! Conditions beside host and path: method, header fields, query parameters.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::RequestView;
use crate::policy::route::{HeaderMatch, Match, QueryMatch, ValueMatch};

/// Whether all conditions of `matches` hold for the request; host and path are not looked at.
pub(super) fn hold(matches: &Match, request: &RequestView<'_>) -> bool {
    (matches.methods.is_empty() || matches.methods.contains(request.method))
        && matches.headers.iter().all(|condition| header_holds(condition, request))
        && matches.query.iter().all(|condition| query_holds(condition, request.query.unwrap_or_default()))
}

pub(super) fn header_holds(condition: &HeaderMatch, request: &RequestView<'_>) -> bool {
    let values = request.headers.get_all(&condition.name);
    any_holds(&condition.value, values.iter().map(|value| value.as_bytes()))
}

pub(super) fn query_holds(condition: &QueryMatch, query: &str) -> bool {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let values = pairs.filter(|(name, _)| *decoded(name) == *condition.name.as_bytes());
    any_holds(&condition.value, values.map(|(_, value)| decoded(value)))
}

/// Borrowed if nothing is escaped; what is no escape stays as it is, and so does `+`.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

/// Whether one of the values is as asked, or, if none is to be there, there is none.
fn any_holds<V: AsRef<[u8]>>(condition: &ValueMatch, mut values: impl Iterator<Item = V>) -> bool {
    match condition {
        ValueMatch::Present => values.next().is_some(),
        ValueMatch::Absent => values.next().is_none(),
        ValueMatch::Exact(text) => values.any(|value| value.as_ref() == text.as_bytes()),
        ValueMatch::Regex(regex) => {
            values.any(|value| std::str::from_utf8(value.as_ref()).is_ok_and(|value| regex.is_match(value)))
        }
    }
}
