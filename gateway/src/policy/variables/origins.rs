//! Telling a value as it was written.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

use sha2::{Digest, Sha256};

use super::super::facts::{self, Fact};
use super::super::filter::Filter;
use super::super::listener::Listener;
use super::super::route::Route;
use super::super::upstream::Upstream;

/// One variable and its value.
#[derive(Clone)]
pub(in super::super) struct Part {
    /// Such as `${NAME}`.
    pub(in super::super) written: String,
    pub(in super::super) value: String,
}

/// What of a policy is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A route, by its name.
    Route(String),
    /// A filter, by its name.
    Filter(String),
    /// An upstream, by its name.
    Upstream(String),
    /// A TCP service, by its name.
    TcpService(String),
    /// What is set for all.
    Whole,
}

/// Which variables are part of what: whatever is told of it tells them as they are written.
#[derive(Clone, Default)]
pub struct Origins {
    parts: HashMap<Owner, Vec<Part>>,
}

/// From this length on a value is also found inside of words.
const LONG: usize = 6;

impl Origins {
    pub(in super::super) fn add(&mut self, owner: Owner, parts: Vec<Part>) {
        if parts.is_empty() {
            return;
        }
        let normal: Vec<Part> = parts.iter().filter_map(in_normal_form).collect();
        self.parts.entry(owner).or_default().extend(parts.into_iter().chain(normal));
    }

    /// `text`, which tells of `owner`, with variables as they are written.
    #[must_use]
    pub fn told(&self, owner: &Owner, text: String) -> String {
        match self.parts.get(owner) {
            Some(parts) => scrubbed(text, parts, 1, |part| part.written.clone()),
            None => text,
        }
    }

    /// Facts about `owner`, with variables as they are written and the beginning of their SHA-256, so that
    /// equal texts mean equal settings.
    #[must_use]
    pub fn sealed(&self, owner: &Owner, facts: Vec<Fact>) -> Vec<Fact> {
        let Some(parts) = self.parts.get(owner) else { return facts };
        let sealed = |part: &Part| {
            let digest = Sha256::digest(&part.value);
            let mut text = format!("{} (sha256 ", part.written);
            // Writing to a String cannot fail.
            for byte in digest.iter().take(6) {
                let _ = write!(text, "{byte:02x}");
            }
            text.push(')');
            text
        };
        facts.into_iter().map(|(name, text)| (name, scrubbed(text, parts, 1, sealed))).collect()
    }
}

/// What [`facts`] tell, sealed.
impl Origins {
    /// Of a route.
    #[must_use]
    pub fn facts_of_route(&self, route: &Route) -> Vec<Fact> {
        self.sealed(&Owner::Route(route.name.to_string()), facts::of_route(route))
    }

    /// Of a filter.
    #[must_use]
    pub fn facts_of_filter(&self, filter: &Filter) -> Vec<Fact> {
        self.sealed(&Owner::Filter(filter.name.to_string()), facts::of_filter(filter))
    }

    /// Of an upstream.
    #[must_use]
    pub fn facts_of_upstream(&self, upstream: &Upstream) -> Vec<Fact> {
        self.sealed(&Owner::Upstream(upstream.name.to_string()), facts::of_upstream(upstream))
    }

    /// Of a TCP service, and its name; `None` if the listener serves HTTP.
    #[must_use]
    pub fn facts_of_tcp<'l>(&self, listener: &'l Listener) -> Option<(&'l str, Vec<Fact>)> {
        let (name, facts) = facts::of_tcp(listener)?;
        Some((name, self.sealed(&Owner::TcpService(name.to_owned()), facts)))
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origins").field("owners", &self.parts.len()).finish_non_exhaustive()
    }
}

/// Addresses are told in another form than they may be written in.
fn in_normal_form(part: &Part) -> Option<Part> {
    let address = part.value.parse::<SocketAddr>().map(|address| address.to_string());
    let bare = part.value.trim_start_matches('[').trim_end_matches(']');
    let normal = address.or_else(|_| bare.parse::<IpAddr>().map(|address| address.to_string())).ok()?;
    (normal != part.value).then(|| Part { written: part.written.clone(), value: normal })
}

/// `text` with the values of `parts` that have `min` bytes or more replaced, the longest first; short ones
/// where they are whole words. Case makes no difference, as host names are lower-cased.
pub(in super::super) fn scrubbed(
    mut text: String,
    parts: &[Part],
    min: usize,
    by: impl Fn(&Part) -> String,
) -> String {
    let mut parts: Vec<&Part> = parts.iter().filter(|part| part.value.len() >= min.max(1)).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.value.len()));
    parts.dedup_by_key(|part| &part.value);
    for part in parts {
        text = replaced(&text, &part.value, || by(part));
    }
    text
}

fn replaced(text: &str, value: &str, by: impl Fn() -> String) -> String {
    // ASCII letters keep their length, so that places in one are places in the other.
    let (low, sought) = (text.to_ascii_lowercase(), value.to_ascii_lowercase());
    let (mut out, mut copied) = (String::new(), 0);
    for (at, _) in low.match_indices(&sought) {
        let end = at + sought.len();
        if at < copied || sought.len() < LONG && !is_word(&low, at, end) {
            continue;
        }
        out.push_str(&text[copied..at]);
        out.push_str(&by());
        copied = end;
    }
    out.push_str(&text[copied..]);
    out
}

fn is_word(text: &str, start: usize, end: usize) -> bool {
    let inner = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let meets = |left: Option<char>, right: Option<char>| inner(left) && inner(right);
    let (value, before, behind) = (&text[start..end], &text[..start], &text[end..]);
    !meets(before.chars().next_back(), value.chars().next())
        && !meets(value.chars().next_back(), behind.chars().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, values: &[(&str, &str)]) -> String {
        let part =
            |(written, value): &(&str, &str)| Part { written: (*written).into(), value: (*value).into() };
        let parts: Vec<Part> = values.iter().map(part).collect();
        scrubbed(text.to_owned(), &parts, 1, |part| part.written.clone())
    }

    #[test]
    fn values_are_told_as_written() {
        let region = [("${R}", "eu")];
        assert_eq!(told("shop-EU.internal:80, queue", &region), "shop-${R}.internal:80, queue");
        let token = [("${T}", "s3cret-token"), ("${U}", "s3cret")];
        assert_eq!(told("header x = as3cret-tokenb s3cret", &token), "header x = a${T}b ${U}");
        assert_eq!(told("ä s3cret ö", &token), "ä ${U} ö");
        assert_eq!(told("none", &[("${E}", "")]), "none");
    }

    #[test]
    fn addresses_are_told_as_written_in_any_form() {
        let mut origins = Origins::default();
        let part = |written: &str, value: &str| Part { written: written.into(), value: value.into() };
        let parts = vec![part("${EP}", "[0:0:0:0:0:0:0:1]:28081"), part("${IP}", "[2001:DB8:0::7]")];
        origins.add(Owner::Upstream("u".into()), parts);
        let text = "to [::1]:28081, [2001:db8::7]:80".to_owned();
        assert_eq!(origins.told(&Owner::Upstream("u".into()), text), "to ${EP}, [${IP}]:80");
    }

    #[test]
    fn a_change_of_a_value_shows_in_facts() {
        let sealed = |value: &str| {
            let mut origins = Origins::default();
            let part = Part { written: "${T}".into(), value: value.into() };
            origins.add(Owner::Route("r".into()), vec![part]);
            let facts = vec![("match", format!("header x = {value}"))];
            origins.sealed(&Owner::Route("r".into()), facts)[0].1.clone()
        };
        assert!(sealed("s3cret").starts_with("header x = ${T} (sha256 "), "{}", sealed("s3cret"));
        assert!(!sealed("s3cret").contains("s3cret"));
        assert_ne!(sealed("s3cret"), sealed("s3crex"));
    }
}
