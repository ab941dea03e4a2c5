//! Content-Length, settled last: filters may write the field, and a length that does not fit the body
//! would let one message run into the next (RFC 9112 §6.3).

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::SizeHint;

use crate::filter::BodyPipe;

/// What is known of a message's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// It is this long.
    Exact(u64),
    /// Nobody knows: it is sent in chunks.
    Unknown,
    /// Filters may change it on its way: what they declare counts, and a body that breaks it is cut.
    Declared,
    /// There is none, and the field speaks of one that is not sent (HEAD, 304).
    Elsewhere,
    /// There is none, and no field (204).
    Forbidden,
}

/// What filters do to a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// None changes it any more.
    Settled,
    /// They may change it on its way.
    Open,
    /// They may, and have made it longer or shorter already: what was declared is wrong.
    Changed,
}

impl Flow {
    pub(crate) fn of(pipe: Option<&BodyPipe>) -> Self {
        match pipe {
            None => Self::Settled,
            Some(pipe) if pipe.bytes_left().is_some() => Self::Settled,
            Some(pipe) if pipe.has_new_length() => Self::Changed,
            Some(_) => Self::Open,
        }
    }
}

impl Length {
    /// Of a request.
    pub(crate) fn of_request(hint: &SizeHint, flow: Flow) -> Self {
        Self::of_body(hint, flow)
    }

    /// Of a response to a request with this method.
    pub(crate) fn of_response(method: &Method, status: StatusCode, hint: &SizeHint, flow: Flow) -> Self {
        match status {
            StatusCode::NO_CONTENT => Self::Forbidden,
            _ if *method == Method::HEAD || status == StatusCode::NOT_MODIFIED => Self::Elsewhere,
            _ => Self::of_body(hint, flow),
        }
    }

    fn of_body(hint: &SizeHint, flow: Flow) -> Self {
        match (flow, hint.exact()) {
            (Flow::Open, _) => Self::Declared,
            (Flow::Settled, Some(length)) => Self::Exact(length),
            (Flow::Settled, None) | (Flow::Changed, _) => Self::Unknown,
        }
    }

    /// Writes the field. A message without a body gets none that it did not have.
    pub(crate) fn settle(self, headers: &mut HeaderMap) {
        match self {
            Self::Exact(0) if !headers.contains_key(CONTENT_LENGTH) => {}
            Self::Exact(length) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            Self::Unknown | Self::Forbidden => {
                headers.remove(CONTENT_LENGTH);
            }
            Self::Declared | Self::Elsewhere => keep_one(headers),
        }
    }
}

/// Keeps the field if it is one number.
fn keep_one(headers: &mut HeaderMap) {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let is_number = |value: &HeaderValue| {
        !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit) && value.len() <= 18
    };
    match (values.next(), values.next()) {
        (None, _) => {}
        (Some(value), None) if is_number(value) => {}
        _ => {
            headers.remove(CONTENT_LENGTH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(length: Length, values: &[&'static str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_LENGTH, HeaderValue::from_static(value));
        }
        length.settle(&mut headers);
        headers.get_all(CONTENT_LENGTH).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_field_fits_the_body_whatever_a_filter_wrote() {
        let table: [(Length, &[&'static str], &[&str]); 12] = [
            (Length::Exact(100), &["5"], &["100"]),
            (Length::Exact(100), &["5", "6"], &["100"]),
            (Length::Exact(100), &[], &["100"]),
            (Length::Exact(0), &["10"], &["0"]),
            (Length::Exact(0), &[], &[]),
            (Length::Unknown, &["10"], &[]),
            (Length::Declared, &["10"], &["10"]),
            (Length::Declared, &["10", "11"], &[]),
            (Length::Declared, &["+1"], &[]),
            (Length::Elsewhere, &["10"], &["10"]),
            (Length::Elsewhere, &["x"], &[]),
            (Length::Forbidden, &["10"], &[]),
        ];
        for (length, before, after) in table {
            assert_eq!(settled(length, before), after, "{length:?} {before:?}");
        }
    }

    #[test]
    fn what_is_known_depends_on_method_status_and_filters() {
        let hint = SizeHint::with_exact(3);
        let of = |method, status, flow| Length::of_response(&method, status, &hint, flow);
        assert_eq!(of(Method::GET, StatusCode::OK, Flow::Settled), Length::Exact(3));
        assert_eq!(of(Method::GET, StatusCode::OK, Flow::Open), Length::Declared);
        assert_eq!(of(Method::GET, StatusCode::OK, Flow::Changed), Length::Unknown);
        assert_eq!(of(Method::HEAD, StatusCode::OK, Flow::Settled), Length::Elsewhere);
        assert_eq!(of(Method::GET, StatusCode::NOT_MODIFIED, Flow::Settled), Length::Elsewhere);
        assert_eq!(of(Method::GET, StatusCode::NO_CONTENT, Flow::Settled), Length::Forbidden);
        assert_eq!(Length::of_request(&SizeHint::new(), Flow::Settled), Length::Unknown);
    }
}
