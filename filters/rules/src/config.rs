//! The filter's configuration: JSON text into rules, with every mistake refused.
//!
//! Limits: [`MAX_RULES`] rules, [`MAX_CONDITIONS`] entries in each of a rule's lists,
//! [`MAX_BODY`] bytes of an answer's body.

use crate::glob::TooLong;
use crate::path::PathPattern;
use crate::rule::{Action, Denial, HeaderCondition, HeaderTest, Rule};
use ipnet::IpNet;
use serde::Deserialize;
use std::fmt;
use std::net::IpAddr;

/// The most rules.
pub const MAX_RULES: usize = 1000;
/// The most entries in one list of a rule.
pub const MAX_CONDITIONS: usize = 256;
/// The longest body of an answer, in bytes.
pub const MAX_BODY: usize = 16 * 1024;

const DENIED: &str = "denied by policy\n";
const AMBIGUOUS: &str = "ambiguous path\n";
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// Everything the filter decides by.
#[derive(Debug)]
pub struct Config {
    /// What happens when no rule matches.
    pub default: Action,
    /// The answer when the default denies.
    pub denied: Denial,
    /// What happens to a path that can be read in two ways.
    pub ambiguous_paths: AmbiguousPaths,
    /// The answer to such a path.
    pub ambiguous: Denial,
    /// Whether each denied request leaves a line in the log.
    pub log_denied: bool,
    /// The rules in the order they are asked.
    pub rules: Vec<Rule>,
}

/// What happens to a path with an encoded slash, a backslash, a control character or a broken
/// escape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AmbiguousPaths {
    /// It is answered with 400 before any rule is asked.
    #[default]
    Deny,
    /// It is decoded all the same and the rules decide.
    Match,
}

/// Why a configuration was refused.
#[derive(Debug)]
pub enum ConfigError {
    /// Not JSON, an unknown key, a wrong type.
    Json(serde_json::Error),
    /// More than [`MAX_RULES`].
    TooManyRules(usize),
    /// A mistake in one rule: its number from one, or none for the part outside the rules.
    In(Option<usize>, Mistake),
}

/// A mistake in a rule or in an answer.
#[derive(Debug)]
pub enum Mistake {
    /// A list is longer than [`MAX_CONDITIONS`].
    TooMany(&'static str, usize),
    /// A path that does not start with a slash.
    RelativePath(String),
    /// Not exactly one of `exact`, `prefix`, `glob`.
    PathForm,
    /// A glob that is too long.
    Glob(TooLong),
    /// Not a method.
    Method(String),
    /// Not a header's name.
    HeaderName(String),
    /// Not exactly one test, or an empty text to look for.
    HeaderForm(String),
    /// Not an address or a network.
    Client(String),
    /// A network with bits set beyond its prefix, and what was likely meant.
    HostBits(String, IpNet),
    /// A status outside 400 to 599.
    Status(u16),
    /// A body longer than [`MAX_BODY`].
    Body(usize),
    /// A media type that no header can hold.
    ContentType(String),
    /// An answer given to a rule that allows.
    AnswerOfAllow,
}

impl Config {
    /// Parses the JSON text of a configuration.
    ///
    /// # Errors
    /// When the text is not such a configuration: see [`ConfigError`].
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let raw: RawConfig = serde_json::from_slice(json).map_err(ConfigError::Json)?;
        if raw.rules.len() > MAX_RULES {
            return Err(ConfigError::TooManyRules(raw.rules.len()));
        }
        let usual = Denial { status: 403, body: DENIED.into(), content_type: PLAIN_TEXT.into() };
        let denied = raw.denied.resolve(&usual).map_err(|mistake| ConfigError::In(None, mistake))?;
        let rule = |(at, raw): (usize, RawRule)| {
            raw.resolve(at + 1, &denied).map_err(|mistake| ConfigError::In(Some(at + 1), mistake))
        };
        let rules = raw.rules.into_iter().enumerate().map(rule).collect::<Result<_, _>>()?;
        Ok(Self {
            default: raw.default.into(),
            denied,
            ambiguous_paths: raw.ambiguous_paths,
            ambiguous: Denial { status: 400, body: AMBIGUOUS.into(), content_type: PLAIN_TEXT.into() },
            log_denied: raw.log_denied,
            rules,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    default: RawAction,
    #[serde(default)]
    denied: RawDenial,
    #[serde(default)]
    ambiguous_paths: AmbiguousPaths,
    #[serde(default)]
    log_denied: bool,
    #[serde(default)]
    rules: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawAction {
    Allow,
    Deny,
}

impl From<RawAction> for Action {
    fn from(raw: RawAction) -> Self {
        match raw {
            RawAction::Allow => Self::Allow,
            RawAction::Deny => Self::Deny,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: Option<String>,
    action: RawAction,
    #[serde(default)]
    paths: Vec<RawPath>,
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    headers: Vec<RawHeader>,
    #[serde(default)]
    clients: Vec<String>,
    denied: Option<RawDenial>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPath {
    exact: Option<String>,
    prefix: Option<String>,
    glob: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeader {
    name: String,
    present: Option<bool>,
    exact: Option<String>,
    prefix: Option<String>,
    suffix: Option<String>,
    contains: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawDenial {
    status: Option<u16>,
    body: Option<String>,
    content_type: Option<String>,
}

impl RawRule {
    fn resolve(self, number: usize, denied: &Denial) -> Result<Rule, Mistake> {
        let lengths = [
            ("paths", self.paths.len()),
            ("methods", self.methods.len()),
            ("headers", self.headers.len()),
            ("clients", self.clients.len()),
        ];
        if let Some((list, length)) = lengths.into_iter().find(|(_, length)| *length > MAX_CONDITIONS) {
            return Err(Mistake::TooMany(list, length));
        }
        let action = Action::from(self.action);
        if action == Action::Allow && self.denied.is_some() {
            return Err(Mistake::AnswerOfAllow);
        }
        Ok(Rule {
            name: self.name.unwrap_or_else(|| format!("rule {number}")).into(),
            action,
            paths: self.paths.into_iter().map(RawPath::resolve).collect::<Result<_, _>>()?,
            methods: self.methods.into_iter().map(method).collect::<Result<_, _>>()?,
            headers: self.headers.into_iter().map(RawHeader::resolve).collect::<Result<_, _>>()?,
            clients: self.clients.into_iter().map(network).collect::<Result<_, _>>()?,
            denial: self.denied.unwrap_or_default().resolve(denied)?,
        })
    }
}

impl RawPath {
    fn resolve(self) -> Result<PathPattern, Mistake> {
        let absolute = |text: String| match text.starts_with('/') {
            true => Ok(text),
            false => Err(Mistake::RelativePath(text)),
        };
        match (self.exact, self.prefix, self.glob) {
            (Some(text), None, None) => Ok(PathPattern::Exact(absolute(text)?.into_bytes().into())),
            (None, Some(text), None) => Ok(PathPattern::prefix(&absolute(text)?)),
            (None, None, Some(text)) => PathPattern::glob(&text).map_err(Mistake::Glob),
            _ => Err(Mistake::PathForm),
        }
    }
}

impl RawHeader {
    fn resolve(self) -> Result<HeaderCondition, Mistake> {
        if !is_token(&self.name) {
            return Err(Mistake::HeaderName(self.name));
        }
        let tests = [
            self.present.map(|wanted| if wanted { HeaderTest::Present } else { HeaderTest::Absent }),
            self.exact.map(|text| HeaderTest::Exact(text.into())),
            self.prefix.map(|text| HeaderTest::Prefix(text.into())),
            self.suffix.map(|text| HeaderTest::Suffix(text.into())),
            // An empty text to look for would have no window to slide.
            self.contains.filter(|text| !text.is_empty()).map(|text| HeaderTest::Contains(text.into())),
        ];
        let mut tests = tests.into_iter().flatten();
        match (tests.next(), tests.next()) {
            (Some(test), None) => Ok(HeaderCondition { name: self.name.to_ascii_lowercase().into(), test }),
            _ => Err(Mistake::HeaderForm(self.name)),
        }
    }
}

impl RawDenial {
    fn resolve(self, usual: &Denial) -> Result<Denial, Mistake> {
        let status = self.status.unwrap_or(usual.status);
        let body = self.body.map_or_else(|| usual.body.clone(), Into::into);
        let content_type = self.content_type.map_or_else(|| usual.content_type.clone(), Into::into);
        if !(400..=599).contains(&status) {
            return Err(Mistake::Status(status));
        }
        if body.len() > MAX_BODY {
            return Err(Mistake::Body(body.len()));
        }
        if content_type.is_empty() || !content_type.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(Mistake::ContentType(content_type.into()));
        }
        Ok(Denial { status, body, content_type })
    }
}

fn method(text: String) -> Result<Box<str>, Mistake> {
    if is_token(&text) { Ok(text.into()) } else { Err(Mistake::Method(text)) }
}

fn network(text: String) -> Result<IpNet, Mistake> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let net: IpNet = text.parse().map_err(|_| Mistake::Client(text.clone()))?;
    if net.trunc() == net { Ok(net) } else { Err(Mistake::HostBits(text, net.trunc())) }
}

/// A token of RFC 9110, section 5.6.2: what methods and header names are made of.
fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "{error}"),
            Self::TooManyRules(count) => write!(f, "{count} rules, at most {MAX_RULES} are allowed"),
            Self::In(Some(number), mistake) => write!(f, "rule {number}: {mistake}"),
            Self::In(None, mistake) => write!(f, "{mistake}"),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany(list, count) => {
                write!(f, "`{list}` has {count} entries, at most {MAX_CONDITIONS} are allowed")
            }
            Self::RelativePath(path) => write!(f, "the path {path:?} does not start with `/`"),
            Self::PathForm => write!(f, "a path needs exactly one of `exact`, `prefix` and `glob`"),
            Self::Glob(error) => write!(f, "{error}"),
            Self::Method(text) => write!(f, "{text:?} is not a method"),
            Self::HeaderName(text) => write!(f, "{text:?} is not a header name"),
            Self::HeaderForm(name) => write!(
                f,
                "the header `{name}` needs exactly one of `present`, `exact`, `prefix`, `suffix` and `contains` \
                 (not empty)"
            ),
            Self::Client(text) => write!(f, "{text:?} is not an address or a network such as 10.0.0.0/8"),
            Self::HostBits(text, net) => {
                write!(f, "{text:?} has bits set beyond its prefix: did you mean {net}?")
            }
            Self::Status(status) => write!(f, "the status {status} is not between 400 and 599"),
            Self::Body(length) => write!(f, "the body has {length} bytes, at most {MAX_BODY} are allowed"),
            Self::ContentType(text) => write!(f, "{text:?} is not a media type"),
            Self::AnswerOfAllow => write!(f, "`denied` has no meaning in a rule that allows"),
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
