//! Shared values as bytes: their type and themselves.
//!
//! A whole number is eight bytes, little-endian, as the gateway itself counts in such values; all else
//! begins with a byte for the type, and is never eight bytes long.

/// A value that scripts share.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored<'b> {
    /// A string.
    Bytes(&'b [u8]),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Number(f64),
    /// A truth value.
    Boolean(bool),
}

/// The bytes of a value.
pub fn encode(value: &Stored<'_>) -> Vec<u8> {
    match value {
        Stored::Integer(value) => value.to_le_bytes().to_vec(),
        Stored::Number(value) => [b"n".as_slice(), &value.to_le_bytes()].concat(),
        Stored::Boolean(value) => vec![b'b', (*value).into()],
        // Seven bytes and the tag would look like a whole number.
        Stored::Bytes(bytes) if bytes.len() == 7 => [b"p", *bytes, b"\0"].concat(),
        Stored::Bytes(bytes) => [b"s", *bytes].concat(),
    }
}

/// The value of these bytes. Bytes that no script has written are a string.
pub fn decode(bytes: &[u8]) -> Stored<'_> {
    if let Ok(number) = bytes.try_into() {
        return Stored::Integer(i64::from_le_bytes(number));
    }
    match bytes {
        [b's', rest @ ..] => Stored::Bytes(rest),
        [b'p', rest @ .., 0] if rest.len() == 7 => Stored::Bytes(rest),
        [b'b', value] => Stored::Boolean(*value != 0),
        [b'n', rest @ ..] => {
            rest.try_into().map_or(Stored::Bytes(bytes), |rest| Stored::Number(f64::from_le_bytes(rest)))
        }
        _ => Stored::Bytes(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        let text = b"nsbp\0\0\0\0\0\0";
        let strings = (0..text.len()).map(|len| Stored::Bytes(&text[..len]));
        let others = [Stored::Integer(i64::MIN), Stored::Number(0.5), Stored::Boolean(true)];
        for value in strings.chain(others) {
            let bytes = encode(&value);
            assert_eq!(decode(&bytes), value);
            assert_eq!(bytes.len() == 8, matches!(value, Stored::Integer(_)));
        }
        for foreign in [&b""[..], b"?", b"n1234567890"] {
            assert_eq!(decode(foreign), Stored::Bytes(foreign));
        }
    }
}
