//! Query strings.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// Parameters of one query that are looked at; the rest is left out.
const PARAMETERS_MAX: usize = 1000;

/// The parameters of a query, decoded, in order. One without `=` has an empty value.
pub fn parameters(query: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    let parts = query.split(|byte| *byte == b'&').filter(|part| !part.is_empty()).take(PARAMETERS_MAX);
    parts.map(|part| match part.iter().position(|byte| *byte == b'=') {
        Some(at) => (decode(&part[..at]), decode(&part[at + 1..])),
        None => (decode(part), Cow::Borrowed(&[][..])),
    })
}

/// Percent-decoding, and `+` for a blank; a `%` without two digits stays as it is.
pub fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'+') {
        return percent_decode(text).into();
    }
    let blanks: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Cow::Owned(percent_decode(&blanks).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Vec<(String, String)> {
        let text = |bytes: Cow<'_, [u8]>| String::from_utf8_lossy(&bytes).into_owned();
        parameters(query.as_bytes()).map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn parameters_are_decoded_in_order() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("a=1&b=x%20y+z&a=2"), [pair("a", "1"), pair("b", "x y z"), pair("a", "2")]);
        assert_eq!(read("&&flag&=v&%41=%"), [pair("flag", ""), pair("", "v"), pair("A", "%")]);
        assert!(read("").is_empty());
        assert_eq!(read(&"x&".repeat(5000)).len(), PARAMETERS_MAX);
    }
}
