//! Header values with small templates, parsed once.
//!
//! `%{path}`, `%{query}`, `%{method}`, `%{host}`, `%{scheme}`, `%{client}` and
//! `%{header:NAME}` are replaced by what the request says; `%%` is a percent sign.

use std::fmt;

/// The longest value that is written, in bytes; a longer one counts as empty.
pub const MAX_VALUE: usize = 8 * 1024;

/// What a template can read of a request.
pub trait Request {
    /// The first value of a header or pseudo-header, by its lower-case name.
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    /// The peer's address as the host writes it: `ip:port`.
    fn client(&self) -> Option<Vec<u8>>;
}

/// A header value: fixed bytes, or parts that are put together for each request.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// The same bytes each time.
    Fixed(Box<[u8]>),
    /// Text and things read of the request.
    Parts(Box<[Part]>),
}

/// One piece of a template.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Bytes as they stand.
    Text(Box<[u8]>),
    /// A header or pseudo-header, by its lower-case name.
    Header(Box<str>),
    /// The path without the query.
    Path,
    /// The query without its question mark.
    Query,
    /// The peer's address without the port.
    Client,
}

/// Why a value was refused.
#[derive(Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// The value is longer than [`MAX_VALUE`].
    TooLong(usize),
    /// A control character, which no header value may hold.
    ControlCharacter(char),
    /// `%` followed by something that is neither `%` nor `{`.
    LonePercent,
    /// `%{` without its `}`.
    Unclosed,
    /// A name that is not known.
    Unknown(String),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(len) => write!(f, "is {len} bytes long, at most {MAX_VALUE} are allowed"),
            Self::ControlCharacter(c) => write!(f, "holds the control character {c:?}"),
            Self::LonePercent => write!(f, "holds a lone `%`: write `%%` for a percent sign"),
            Self::Unclosed => write!(f, "holds `%{{` without a closing `}}`"),
            Self::Unknown(name) => write!(
                f,
                "holds the unknown template `%{{{name}}}`: known are path, query, method, host, scheme, \
                 client and header:NAME"
            ),
        }
    }
}

impl Value {
    /// Parses a header value.
    ///
    /// # Errors
    /// When the text cannot be a header value or a template in it is not understood.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_VALUE {
            return Err(TemplateError::TooLong(text.len()));
        }
        if let Some(c) = text.chars().find(|c| c.is_ascii_control() && *c != '\t') {
            return Err(TemplateError::ControlCharacter(c));
        }
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            literal.extend_from_slice(before.as_bytes());
            if let Some(after) = after.strip_prefix('%') {
                literal.push(b'%');
                rest = after;
                continue;
            }
            let inner = after.strip_prefix('{').ok_or(TemplateError::LonePercent)?;
            let (name, after) = inner.split_once('}').ok_or(TemplateError::Unclosed)?;
            push_text(&mut parts, &mut literal);
            parts.push(Part::parse(name)?);
            rest = after;
        }
        literal.extend_from_slice(rest.as_bytes());
        if parts.is_empty() {
            return Ok(Self::Fixed(literal.into()));
        }
        push_text(&mut parts, &mut literal);
        Ok(Self::Parts(parts.into()))
    }

    /// Replaces the content of `out` by the value for this request. What is absent renders as
    /// nothing, and so does a value that comes out longer than [`MAX_VALUE`].
    pub fn render(&self, request: &impl Request, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Self::Fixed(bytes) => out.extend_from_slice(bytes),
            Self::Parts(parts) => parts.iter().for_each(|part| part.render(request, out)),
        }
        if out.len() > MAX_VALUE {
            out.clear();
        }
    }
}

impl Part {
    fn parse(name: &str) -> Result<Self, TemplateError> {
        let pseudo = |name: &str| Self::Header(name.into());
        Ok(match name {
            "path" => Self::Path,
            "query" => Self::Query,
            "method" => pseudo(":method"),
            "host" => pseudo(":authority"),
            "scheme" => pseudo(":scheme"),
            "client" => Self::Client,
            _ => match name.strip_prefix("header:") {
                Some(header) if is_header_name(header) => Self::Header(header.to_ascii_lowercase().into()),
                _ => return Err(TemplateError::Unknown(name.to_owned())),
            },
        })
    }

    fn render(&self, request: &impl Request, out: &mut Vec<u8>) {
        match self {
            Self::Text(bytes) => out.extend_from_slice(bytes),
            Self::Header(name) => out.extend(request.header(name).unwrap_or_default()),
            Self::Path => {
                let target = request.header(":path").unwrap_or_default();
                out.extend(target.split(|byte| *byte == b'?').next().unwrap_or_default());
            }
            Self::Query => {
                let target = request.header(":path").unwrap_or_default();
                let query = target.iter().position(|byte| *byte == b'?').map(|at| &target[at + 1..]);
                out.extend(query.unwrap_or_default());
            }
            Self::Client => out.extend(without_port(&request.client().unwrap_or_default())),
        }
    }
}

/// Whether the text can name a header: a token of RFC 9110, section 5.6.2.
#[must_use]
pub fn is_header_name(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

fn push_text(parts: &mut Vec<Part>, literal: &mut Vec<u8>) {
    if !literal.is_empty() {
        parts.push(Part::Text(std::mem::take(literal).into()));
    }
}

/// `192.0.2.1:443` → `192.0.2.1`, `[2001:db8::1]:443` → `2001:db8::1`, a bare address as it is.
fn without_port(address: &[u8]) -> &[u8] {
    if let [b'[', rest @ ..] = address {
        return rest.split(|byte| *byte == b']').next().unwrap_or_default();
    }
    match address.iter().filter(|byte| **byte == b':').count() {
        1 => address.split(|byte| *byte == b':').next().unwrap_or_default(),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sample;

    impl Request for Sample {
        fn header(&self, name: &str) -> Option<Vec<u8>> {
            Some(match name {
                ":path" => b"/a/b?x=1&y=?".to_vec(),
                ":method" => b"GET".to_vec(),
                ":authority" => b"shop.example".to_vec(),
                "x-raw" => vec![0xff, 0xfe],
                "x-long" => vec![b'a'; MAX_VALUE],
                _ => return None,
            })
        }

        fn client(&self) -> Option<Vec<u8>> {
            Some(b"[2001:db8::1]:5000".to_vec())
        }
    }

    fn render(text: &str) -> Vec<u8> {
        let mut out = b"left over".to_vec();
        Value::parse(text).unwrap().render(&Sample, &mut out);
        out
    }

    #[test]
    fn plain_text_is_fixed_at_parse_time() {
        assert_eq!(Value::parse("100%% sure").unwrap(), Value::Fixed((*b"100% sure").into()));
        assert_eq!(render("plain"), b"plain");
    }

    #[test]
    fn templates_read_the_request() {
        assert_eq!(render("%{method} %{host}%{path}"), b"GET shop.example/a/b");
        assert_eq!(render("%{query}"), b"x=1&y=?");
        assert_eq!(render("<%{client}>"), b"<2001:db8::1>");
        assert_eq!(render("%{header:X-Absent}|%{header:X-Raw}"), b"|\xff\xfe");
    }

    #[test]
    fn a_value_that_grows_too_long_is_empty() {
        assert_eq!(render("%{header:x-long}").len(), MAX_VALUE);
        assert_eq!(render("%{header:x-long}+"), b"");
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Value::parse("50% off"), Err(TemplateError::LonePercent));
        assert_eq!(Value::parse("%{path"), Err(TemplateError::Unclosed));
        assert_eq!(Value::parse("%{pth}"), Err(TemplateError::Unknown("pth".into())));
        assert_eq!(Value::parse("%{header:}"), Err(TemplateError::Unknown("header:".into())));
        assert_eq!(Value::parse("a\r\nb"), Err(TemplateError::ControlCharacter('\r')));
        assert_eq!(Value::parse(&"a".repeat(MAX_VALUE + 1)), Err(TemplateError::TooLong(MAX_VALUE + 1)));
    }

    #[test]
    fn ports_are_cut_off() {
        assert_eq!(without_port(b"192.0.2.1:80"), b"192.0.2.1");
        assert_eq!(without_port(b"192.0.2.1"), b"192.0.2.1");
        assert_eq!(without_port(b"2001:db8::1"), b"2001:db8::1");
        assert_eq!(without_port(b"[::1]"), b"::1");
        assert_eq!(without_port(b""), b"");
    }
}
