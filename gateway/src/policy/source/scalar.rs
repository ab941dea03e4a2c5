//! What a scalar without quotes is.

use std::borrow::Cow;

use serde_yaml::Value;

/// The value of a scalar that is written without quotes: what serde_yaml reads in its place, which is asked
/// for all but the plainest.
///
/// # Errors
/// Why it is none, such as a number that is too large.
pub(super) fn plain(text: Cow<'_, str>) -> Result<Value, String> {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    match decimal(&text) {
        Some(number) => Ok(number.into()),
        None if may_be_number(&text) => serde_yaml::from_str(&text).map_err(|error| {
            let message = error.to_string();
            // The position is that in the scalar.
            message.split(" at line ").next().unwrap_or_default().to_owned()
        }),
        None => Ok(text.into_owned().into()),
    }
}

/// A number as most are written.
fn decimal(text: &str) -> Option<u64> {
    const DIGITS: usize = 19;
    let is_decimal = text.len() <= DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_padded = text.starts_with('0') && text.len() > 1;
    (is_decimal && !is_padded).then(|| text.parse().ok()).flatten()
}

/// Whether it has no character that no number has: those of `-0x1F`, `0o17`, `1.5e+3`, `-.inf` and `.nan`, also
/// in capitals. There is more in it than what could end or begin a document.
fn may_be_number(text: &str) -> bool {
    let may_begin = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    let is_of_number = |byte: u8| {
        byte.is_ascii_hexdigit()
            || matches!(byte, b'+' | b'-' | b'.' | b'x' | b'o' | b'i' | b'I' | b'n' | b'N')
    };
    may_begin && text.bytes().all(is_of_number) && text.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_is_what_serde_yaml_says() {
        let all = "0 1 7 07 08 007 00 10 123 8080 65536 9223372036854775807 9223372036854775808 \
            18446744073709551615 18446744073709551616 99999999999999999999 -1 -0 +1 +0 -07 +07 0x10 0X10 -0x10 \
            0xFF 0xfg 0o17 0O17 -0o7 0b11 -0b11 1. .5 1.5 -1.5 +1.5 1e3 1E3 1e+3 1.5e-3 1e 1e+ .e1 . .. + +. \
            -. .inf -.inf +.inf .Inf .INF .iNf .nan .NaN .NAN -.nan inf nan 1_000 10.0.0.1 ::1 10s 5ms 1/second \
            64KiB ~ null Null NULL nUll true True TRUE tRue false False FALSE yes no on off y n Infinity 0x 0o \
            --1 1-1 1+1 e1 a -a 1a a1 infinity 1.2.3 ---a ...1 2026-11-21 12:30:45 0.1 00.1 1.e1 deadbeef";
        for text in all.split_whitespace() {
            let expected = serde_yaml::from_str::<Value>(&format!("a: {text}"));
            assert_eq!(plain(text.into()).ok(), expected.ok().map(|of| of["a"].clone()), "{text}");
        }
        assert_eq!(plain("".into()).unwrap(), Value::Null);
        assert_eq!(plain("---".into()).unwrap(), Value::from("---"));
        assert_eq!(plain("...".into()).unwrap(), Value::from("..."));
    }
}
