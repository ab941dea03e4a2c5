//! The filter's configuration: JSON text into lists of operations, with every mistake refused.

use crate::operation::Operation;
use crate::template::{TemplateError, Value, is_header_name};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::fmt;

/// The most operations on one side.
pub const MAX_OPERATIONS: usize = 64;

/// Headers that frame the message or choose where it goes: the gateway's business, not a filter's.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What is done to each request and to its response, in this order.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// Operations on the request's headers.
    pub request: Vec<Operation>,
    /// Operations on the response's headers.
    pub response: Vec<Operation>,
}

/// Why a configuration was refused.
#[derive(Debug)]
pub enum ConfigError {
    /// Not JSON, an unknown key, a wrong type.
    Json(serde_json::Error),
    /// Nothing to do: most likely the configuration was forgotten.
    Empty,
    /// More than [`MAX_OPERATIONS`] on a side.
    TooMany(&'static str, usize),
    /// A name that no header can have.
    BadName(String),
    /// One of the headers that only the gateway may change.
    Reserved(String),
    /// A value that no header can have, or a template that is not understood.
    BadValue(String, TemplateError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "{error}"),
            Self::Empty => {
                write!(f, "nothing to do: give `request` or `response` a `set`, `add` or `remove`")
            }
            Self::TooMany(side, count) => {
                write!(f, "`{side}` holds {count} operations, at most {MAX_OPERATIONS} are allowed")
            }
            Self::BadName(name) => write!(f, "{name:?} is not a header name"),
            Self::Reserved(name) => write!(f, "`{name}` is kept by the gateway and cannot be changed here"),
            Self::BadValue(name, error) => write!(f, "the value of `{name}` {error}"),
        }
    }
}

impl Config {
    /// Parses the JSON text of a configuration.
    ///
    /// # Errors
    /// When the text is not such a configuration: see [`ConfigError`].
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let raw: RawConfig = serde_json::from_slice(json).map_err(ConfigError::Json)?;
        let config =
            Self { request: raw.request.resolve("request")?, response: raw.response.resolve("response")? };
        if config.request.is_empty() && config.response.is_empty() {
            return Err(ConfigError::Empty);
        }
        Ok(config)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default)]
    request: RawSide,
    #[serde(default)]
    response: RawSide,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawSide {
    remove: Vec<String>,
    set: Pairs<String>,
    add: Pairs<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl RawSide {
    fn resolve(self, side: &'static str) -> Result<Vec<Operation>, ConfigError> {
        let mut operations = Vec::new();
        for header in self.remove {
            operations.push(Operation::Remove(name(&header)?));
        }
        for (header, text) in self.set.0 {
            operations.push(Operation::Set(name(&header)?, value(&header, &text)?));
        }
        for (header, texts) in self.add.0 {
            let texts = match texts {
                OneOrMany::One(text) => vec![text],
                OneOrMany::Many(texts) => texts,
            };
            for text in texts {
                operations.push(Operation::Add(name(&header)?, value(&header, &text)?));
            }
        }
        match operations.len() {
            count if count > MAX_OPERATIONS => Err(ConfigError::TooMany(side, count)),
            _ => Ok(operations),
        }
    }
}

fn name(text: &str) -> Result<Box<str>, ConfigError> {
    let name = text.to_ascii_lowercase();
    if name.starts_with(':') || RESERVED.contains(&name.as_str()) {
        return Err(ConfigError::Reserved(name));
    }
    if !is_header_name(&name) {
        return Err(ConfigError::BadName(text.to_owned()));
    }
    Ok(name.into())
}

fn value(header: &str, text: &str) -> Result<Value, ConfigError> {
    Value::parse(text).map_err(|error| ConfigError::BadValue(header.to_owned(), error))
}

/// A JSON object in the order it is written, with a repeated key refused.
struct Pairs<T>(Vec<(String, T)>);

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(std::marker::PhantomData))
    }
}

struct PairsVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PairsVisitor<T> {
    type Value = Pairs<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of header names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs: Vec<(String, T)> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, T>()? {
            if pairs.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
                return Err(serde::de::Error::custom(format_args!("`{name}` is given twice")));
            }
            pairs.push((name, value));
        }
        Ok(Pairs(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        Config::parse(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn names_are_lowered_and_values_parsed() {
        let config =
            Config::parse(br#"{"request": {"set": {"X-Edge": "shop"}, "remove": ["Cookie"]}}"#).unwrap();
        let set = Operation::Set("x-edge".into(), Value::Fixed((*b"shop").into()));
        assert_eq!(config.request, [Operation::Remove("cookie".into()), set]);
        assert_eq!(config.response, []);
    }

    #[test]
    fn unknown_keys_name_themselves() {
        assert!(refusal(r#"{"requests": {}}"#).contains("unknown field `requests`"));
        assert!(refusal(r#"{"request": {"sets": {}}}"#).contains("unknown field `sets`"));
    }

    #[test]
    fn nothing_to_do_is_a_mistake() {
        assert!(refusal("{}").starts_with("nothing to do"));
        assert!(refusal(r#"{"request": {"set": {}}}"#).starts_with("nothing to do"));
    }

    #[test]
    fn the_gateways_own_headers_are_refused() {
        for name in ["Content-Length", ":path", "Host", "transfer-encoding"] {
            let json = format!(r#"{{"response": {{"remove": ["{name}"]}}}}"#);
            assert!(refusal(&json).contains("is kept by the gateway"), "{name}");
        }
    }

    #[test]
    fn bad_names_and_values_are_refused() {
        assert!(refusal(r#"{"request": {"set": {"x y": "1"}}}"#).contains("not a header name"));
        assert!(refusal(r#"{"request": {"set": {"": "1"}}}"#).contains("not a header name"));
        assert!(refusal(r#"{"request": {"set": {"x": "%{who}"}}}"#).contains("unknown template `%{who}`"));
        assert!(refusal(r#"{"request": {"set": {"x": "1", "X": "2"}}}"#).contains("`X` is given twice"));
        assert!(refusal(r#"{"request": {"set": {"x": 1}}}"#).contains("expected a string"));
        assert!(
            refusal(r#"{"request": {"add": {"x": 1}}}"#).contains("expected a string or a list of strings")
        );
    }

    #[test]
    fn the_number_of_operations_is_bounded() {
        let names: Vec<_> = (0..=MAX_OPERATIONS).map(|n| format!("\"x-{n}\"")).collect();
        let json = format!(r#"{{"request": {{"remove": [{}]}}}}"#, names.join(","));
        assert!(refusal(&json).contains("at most 64"));
    }
}
