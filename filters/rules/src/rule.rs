//! Rules, and how one is chosen.

use crate::config::{AmbiguousPaths, Config};
use crate::path::{self, PathPattern, Reading};
use ipnet::IpNet;
use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};

/// What the filter can ask of a request. Each question may cost a host call, so none is asked
/// twice, nor unless a rule needs it.
pub trait Request {
    /// The method.
    fn method(&self) -> Option<Vec<u8>>;
    /// The request target: path and query.
    fn target(&self) -> Option<Vec<u8>>;
    /// The first value of a header.
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    /// Every header with its value, the names in lower case.
    fn headers(&self) -> Vec<(String, Vec<u8>)>;
    /// The peer's address, as `ip:port` or `ip`.
    fn client(&self) -> Option<Vec<u8>>;
}

/// What a rule does with the requests it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Lets them pass.
    Allow,
    /// Answers them with a [`Denial`].
    Deny,
}

/// The answer to a denied request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// 400 to 599.
    pub status: u16,
    /// The body, at most [`crate::config::MAX_BODY`] bytes.
    pub body: Box<str>,
    /// The body's media type.
    pub content_type: Box<str>,
}

/// One rule. A list that is empty asks nothing.
#[derive(Debug)]
pub struct Rule {
    /// The name that the log gives.
    pub name: Box<str>,
    /// What happens on a match.
    pub action: Action,
    /// One of these must match.
    pub paths: Vec<PathPattern>,
    /// One of these must be the method.
    pub methods: Vec<Box<str>>,
    /// All of these must hold.
    pub headers: Vec<HeaderCondition>,
    /// One of these must hold the client's address.
    pub clients: Vec<IpNet>,
    /// The answer, if the rule denies.
    pub denial: Denial,
}

/// What a rule asks of one header.
#[derive(Debug)]
pub struct HeaderCondition {
    /// The name in lower case.
    pub name: Box<str>,
    /// What is asked.
    pub test: HeaderTest,
}

/// What is asked of a header's value; bytes are compared as they are.
#[derive(Debug)]
pub enum HeaderTest {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// It is exactly this.
    Exact(Box<str>),
    /// It starts with this.
    Prefix(Box<str>),
    /// It ends with this.
    Suffix(Box<str>),
    /// It holds this.
    Contains(Box<str>),
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It passes.
    Pass,
    /// It is answered; `by` names the rule.
    Deny {
        /// The name of the rule, or what stands in its place.
        by: &'a str,
        /// The answer.
        denial: &'a Denial,
    },
}

impl Config {
    /// Decides on a request: the first rule that matches, else the default.
    pub fn decide(&self, request: &impl Request) -> Verdict<'_> {
        let facts = Facts::new(request);
        if self.ambiguous_paths == AmbiguousPaths::Deny && matches!(facts.path(), Some(Reading::Ambiguous(_)))
        {
            return Verdict::Deny { by: "ambiguous path", denial: &self.ambiguous };
        }
        match self.rules.iter().find(|rule| rule.matches(&facts)) {
            Some(Rule { action: Action::Deny, name, denial, .. }) => Verdict::Deny { by: name, denial },
            None if self.default == Action::Deny => Verdict::Deny { by: "default", denial: &self.denied },
            _ => Verdict::Pass,
        }
    }
}

/// The answers already had from a request.
struct Facts<'a, R> {
    request: &'a R,
    path: OnceCell<Option<Reading>>,
    method: OnceCell<Option<Vec<u8>>>,
    headers: OnceCell<Vec<(String, Vec<u8>)>>,
    client: OnceCell<Option<IpAddr>>,
}

impl<'a, R: Request> Facts<'a, R> {
    fn new(request: &'a R) -> Self {
        Self {
            request,
            path: OnceCell::new(),
            method: OnceCell::new(),
            headers: OnceCell::new(),
            client: OnceCell::new(),
        }
    }

    fn path(&self) -> Option<&Reading> {
        self.path.get_or_init(|| self.request.target().map(|target| path::read(&target))).as_ref()
    }

    fn method(&self) -> Option<&[u8]> {
        self.method.get_or_init(|| self.request.method()).as_deref()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let headers = self.headers.get_or_init(|| self.request.headers());
        headers.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_slice())
    }

    /// Cheaper than all the headers, as long as nothing else needs those.
    fn has(&self, name: &str) -> bool {
        match self.headers.get() {
            Some(headers) => headers.iter().any(|(other, _)| other == name),
            None => self.request.header(name).is_some(),
        }
    }

    fn client(&self) -> Option<IpAddr> {
        *self.client.get_or_init(|| parse_address(&self.request.client()?))
    }
}

impl Rule {
    fn matches(&self, facts: &Facts<'_, impl Request>) -> bool {
        // What is not known must not help the sender.
        let unknown = self.action == Action::Deny;
        let path = |wanted: &[PathPattern]| match facts.path() {
            Some(Reading::Plain(path) | Reading::Ambiguous(path)) => wanted.iter().any(|p| p.matches(path)),
            None => unknown,
        };
        let method = |wanted: &[Box<str>]| match facts.method() {
            Some(method) => wanted.iter().any(|w| w.as_bytes() == method),
            None => unknown,
        };
        let client = |wanted: &[IpNet]| match facts.client() {
            Some(address) => wanted.iter().any(|net| net.contains(&address)),
            None => unknown,
        };
        (self.paths.is_empty() || path(&self.paths))
            && (self.methods.is_empty() || method(&self.methods))
            && self.headers.iter().all(|condition| condition.holds(self.action, facts))
            && (self.clients.is_empty() || client(&self.clients))
    }
}

impl HeaderCondition {
    /// Of several values one is enough to deny, and all are needed to allow: a sender gains
    /// nothing by repeating a header.
    fn holds(&self, action: Action, facts: &Facts<'_, impl Request>) -> bool {
        let mut values = match self.test {
            HeaderTest::Present => return facts.has(&self.name),
            HeaderTest::Absent => return !facts.has(&self.name),
            _ => facts.values(&self.name).peekable(),
        };
        match action {
            Action::Deny => values.any(|value| self.test.accepts(value)),
            Action::Allow => values.peek().is_some() && values.all(|value| self.test.accepts(value)),
        }
    }
}

impl HeaderTest {
    fn accepts(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Absent => false,
            Self::Exact(wanted) => value == wanted.as_bytes(),
            Self::Prefix(wanted) => value.starts_with(wanted.as_bytes()),
            Self::Suffix(wanted) => value.ends_with(wanted.as_bytes()),
            Self::Contains(wanted) => value.windows(wanted.len()).any(|part| part == wanted.as_bytes()),
        }
    }
}

/// An IPv4 address that came in over an IPv6 socket counts as the IPv4 address it is.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = text.parse::<SocketAddr>().map(|socket| socket.ip()).or_else(|_| text.parse::<IpAddr>());
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
