//! The filter's configuration: JSON text into patterns, with every mistake refused.

use crate::class::Class;
use crate::message::MediaType;
use crate::pattern::{MAX_LITERAL, Pattern, Patterns, Replacement, Target};
use serde::Deserialize;
use std::fmt;

/// The most patterns.
pub const MAX_PATTERNS: usize = 64;
/// The most media types.
pub const MAX_CONTENT_TYPES: usize = 64;
/// The longest replacement, in bytes.
pub const MAX_REPLACEMENT: usize = 256;

const REDACTED: &[u8] = b"[redacted]";

const CONTENT_TYPES: [&str; 8] = [
    "text/*",
    "application/json",
    "application/*+json",
    "application/xml",
    "application/*+xml",
    "application/x-ndjson",
    "application/javascript",
    "application/x-www-form-urlencoded",
];

/// Everything the filter goes by.
#[derive(Debug)]
pub struct Config {
    /// Whose bodies are looked at.
    pub sides: Sides,
    /// What is looked for.
    pub patterns: Patterns,
    /// The media types of bodies that are looked at.
    pub content_types: Vec<MediaType>,
    /// What happens to bodies that are compressed or otherwise encoded.
    pub encoded: Encoded,
    /// Whether `accept-encoding` is left as the client sent it.
    pub keep_accept_encoding: bool,
}

/// Whose bodies are looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sides {
    /// Requests alone.
    Request,
    /// Responses alone.
    #[default]
    Response,
    /// Both.
    Both,
}

/// What happens to a body that the filter cannot read because it is encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoded {
    /// It goes by as it is.
    #[default]
    Pass,
    /// The request is answered with 415, the response replaced by 502.
    Deny,
}

impl Sides {
    /// Whether requests are looked at.
    #[must_use]
    pub fn request(self) -> bool {
        self != Self::Response
    }

    /// Whether responses are looked at.
    #[must_use]
    pub fn response(self) -> bool {
        self != Self::Request
    }
}

/// Why a configuration was refused.
#[derive(Debug)]
pub enum ConfigError {
    /// Not JSON, an unknown key, a wrong type.
    Json(serde_json::Error),
    /// Nothing to look for.
    NoPatterns,
    /// A list is longer than it may be: its name, its length, the limit.
    TooMany(&'static str, usize, usize),
    /// Not a media type.
    ContentType(String),
    /// A pattern, by its number from one, or the part outside the patterns.
    In(Option<usize>, Mistake),
}

/// A mistake in a pattern or a replacement.
#[derive(Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Not exactly one of `literal` and `class`.
    Form,
    /// A literal that is empty or longer than [`MAX_LITERAL`].
    LiteralLength(usize),
    /// `ignore_case` beside a class.
    IgnoreCase,
    /// Both a replacement and a mask.
    TwoReplacements,
    /// A replacement that is too long or holds a control character.
    Replacement,
    /// A mask that is not one printable ASCII character.
    Mask(String),
}

impl Config {
    /// Parses the JSON text of a configuration.
    ///
    /// # Errors
    /// When the text is not such a configuration: see [`ConfigError`].
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let raw: RawConfig = serde_json::from_slice(json).map_err(ConfigError::Json)?;
        bounded("patterns", raw.patterns.len(), MAX_PATTERNS)?;
        if raw.patterns.is_empty() {
            return Err(ConfigError::NoPatterns);
        }
        let usual = replacement(raw.replacement, raw.mask)
            .map_err(|mistake| ConfigError::In(None, mistake))?
            .unwrap_or(Replacement::Text(REDACTED.into()));
        let pattern = |(at, raw): (usize, RawPattern)| {
            raw.resolve(&usual).map_err(|mistake| ConfigError::In(Some(at + 1), mistake))
        };
        let patterns = raw.patterns.into_iter().enumerate().map(pattern).collect::<Result<_, _>>()?;
        let types = raw.content_types.unwrap_or_else(|| CONTENT_TYPES.map(str::to_owned).into());
        bounded("content_types", types.len(), MAX_CONTENT_TYPES)?;
        let media_type = |text: String| MediaType::parse(&text).ok_or(ConfigError::ContentType(text));
        Ok(Self {
            sides: raw.sides,
            patterns: Patterns::new(patterns),
            content_types: types.into_iter().map(media_type).collect::<Result<_, _>>()?,
            encoded: raw.encoded,
            keep_accept_encoding: raw.keep_accept_encoding,
        })
    }
}

fn bounded(list: &'static str, length: usize, limit: usize) -> Result<(), ConfigError> {
    if length > limit { Err(ConfigError::TooMany(list, length, limit)) } else { Ok(()) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default)]
    sides: Sides,
    #[serde(default)]
    patterns: Vec<RawPattern>,
    replacement: Option<String>,
    mask: Option<String>,
    content_types: Option<Vec<String>>,
    #[serde(default)]
    encoded: Encoded,
    #[serde(default)]
    keep_accept_encoding: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPattern {
    literal: Option<String>,
    class: Option<Class>,
    ignore_case: Option<bool>,
    replacement: Option<String>,
    mask: Option<String>,
}

impl RawPattern {
    fn resolve(self, usual: &Replacement) -> Result<Pattern, Mistake> {
        let target = match (self.literal, self.class, self.ignore_case) {
            (Some(text), None, ignore_case) => literal(&text, ignore_case.unwrap_or(false))?,
            (None, Some(class), None) => Target::Class(class),
            (None, Some(_), Some(_)) => return Err(Mistake::IgnoreCase),
            _ => return Err(Mistake::Form),
        };
        let replacement = replacement(self.replacement, self.mask)?.unwrap_or_else(|| usual.clone());
        Ok(Pattern { target, replacement })
    }
}

fn literal(text: &str, ignore_case: bool) -> Result<Target, Mistake> {
    match (text.len(), ignore_case) {
        (1..=MAX_LITERAL, true) => Ok(Target::AnyCase(text.to_ascii_lowercase().into_bytes().into())),
        (1..=MAX_LITERAL, false) => Ok(Target::Literal(text.as_bytes().into())),
        (length, _) => Err(Mistake::LiteralLength(length)),
    }
}

fn replacement(text: Option<String>, mask: Option<String>) -> Result<Option<Replacement>, Mistake> {
    match (text, mask) {
        (Some(_), Some(_)) => Err(Mistake::TwoReplacements),
        (Some(text), None) if text.len() > MAX_REPLACEMENT || text.chars().any(char::is_control) => {
            Err(Mistake::Replacement)
        }
        (Some(text), None) => Ok(Some(Replacement::Text(text.into_bytes().into()))),
        (None, Some(mask)) => match mask.as_bytes() {
            [byte @ b' '..=b'~'] => Ok(Some(Replacement::Mask(*byte))),
            _ => Err(Mistake::Mask(mask)),
        },
        (None, None) => Ok(None),
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "{error}"),
            Self::NoPatterns => write!(f, "`patterns` is empty: there is nothing to look for"),
            Self::TooMany(list, length, limit) => {
                write!(f, "`{list}` has {length} entries, at most {limit} are allowed")
            }
            Self::ContentType(text) => write!(f, "{text:?} is not a media type such as text/*"),
            Self::In(Some(number), mistake) => write!(f, "pattern {number}: {mistake}"),
            Self::In(None, mistake) => write!(f, "{mistake}"),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => write!(f, "a pattern needs exactly one of `literal` and `class`"),
            Self::LiteralLength(length) => {
                write!(f, "the literal has {length} bytes, 1 to {MAX_LITERAL} are allowed")
            }
            Self::IgnoreCase => write!(f, "`ignore_case` goes with `literal` alone"),
            Self::TwoReplacements => write!(f, "give `replacement` or `mask`, not both"),
            Self::Replacement => {
                write!(f, "a replacement has at most {MAX_REPLACEMENT} bytes and no control character")
            }
            Self::Mask(text) => write!(f, "the mask {text:?} is not one printable ASCII character"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        Config::parse(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn little_is_needed() {
        let config = Config::parse(br#"{"patterns": [{"class": "email"}]}"#).unwrap();
        assert!(config.sides.response() && !config.sides.request());
        assert_eq!(config.content_types.len(), CONTENT_TYPES.len());
        assert_eq!(config.encoded, Encoded::Pass);
    }

    #[test]
    fn unknown_keys_and_classes_name_themselves() {
        assert!(refusal(r#"{"pattern": []}"#).contains("unknown field `pattern`"));
        assert!(refusal(r#"{"patterns": [{"regex": "x"}]}"#).contains("unknown field `regex`"));
        assert!(refusal(r#"{"patterns": [{"class": "phone"}]}"#).contains("unknown variant `phone`"));
    }

    #[test]
    fn nothing_to_look_for_is_a_mistake() {
        assert!(refusal("{}").contains("nothing to look for"));
    }

    #[test]
    fn mistakes_name_their_pattern() {
        let long = format!(r#""literal": "{}""#, "x".repeat(MAX_LITERAL + 1));
        for (keys, part) in [
            ("", "exactly one of"),
            (r#""literal": "x", "class": "email""#, "exactly one of"),
            (r#""literal": """#, "0 bytes"),
            (long.as_str(), "257 bytes"),
            (r#""class": "email", "ignore_case": true"#, "goes with `literal` alone"),
            (r#""literal": "x", "mask": "*", "replacement": "y""#, "not both"),
            (r#""literal": "x", "mask": "**""#, "not one printable"),
            (r#""literal": "x", "mask": "é""#, "not one printable"),
            (r#""literal": "x", "replacement": "a\nb""#, "no control character"),
        ] {
            let refusal = refusal(&format!(r#"{{"patterns": [{{"literal": "ok"}}, {{{keys}}}]}}"#));
            assert!(refusal.starts_with("pattern 2: ") && refusal.contains(part), "{keys}: {refusal}");
        }
    }

    #[test]
    fn everything_is_bounded() {
        let many = vec![r#"{"literal": "x"}"#; MAX_PATTERNS + 1].join(",");
        assert!(refusal(&format!(r#"{{"patterns": [{many}]}}"#)).contains("at most 64"));
        let types = vec![r#""text/*""#; MAX_CONTENT_TYPES + 1].join(",");
        let json = format!(r#"{{"patterns": [{{"literal": "x"}}], "content_types": [{types}]}}"#);
        assert!(refusal(&json).contains("`content_types` has 65 entries"));
        assert!(
            refusal(r#"{"patterns": [{"literal": "x"}], "content_types": ["json"]}"#).contains("media type")
        );
    }
}
