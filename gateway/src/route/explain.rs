//! Why a request has the route that it has: for people, off the way of requests.

use std::cmp::Reverse;
use std::sync::Arc;

use super::paths::precedence;
use super::{RequestView, conditions};
use crate::policy::route::{HostPattern, PathPattern, Route};

/// What every route of a policy has to say to a request. Numbers are indices in the order of the
/// policy; each route is in one of the three places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The route that takes it.
    pub taken_by: Option<usize>,
    /// Routes that would take it if the better ones were not there, best first.
    pub also: Vec<usize>,
    /// Routes that do not match, those that fail last first: host, path, method, header fields,
    /// query parameters are looked at in this order.
    pub not: Vec<(usize, Mismatch)>,
}

/// The first condition of a route that a request does not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mismatch {
    /// It is for other hosts.
    Host,
    /// It is for other paths.
    Path,
    /// It is for other methods.
    Method,
    /// A header condition, by its index.
    Header(usize),
    /// A query condition, by its index.
    Query(usize),
}

/// Looks at every route. [`Explanation::taken_by`] is what [`RouteTable::find`](super::RouteTable::find)
/// answers for a table of the same routes.
pub fn explain(routes: &[Arc<Route>], request: &RequestView<'_>) -> Explanation {
    let mut matching = Vec::new();
    let mut not = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        match examine(route, request) {
            Ok(host) => matching.push((host, precedence(route), index)),
            Err(mismatch) => not.push((index, mismatch)),
        }
    }
    matching.sort();
    not.sort_by_key(|(index, mismatch)| (Reverse(mismatch.stage()), precedence(&routes[*index]), *index));
    let mut matching = matching.into_iter().map(|(.., index)| index);
    Explanation { taken_by: matching.next(), also: matching.collect(), not }
}

impl Mismatch {
    /// How far the look at the route went.
    fn stage(self) -> u8 {
        match self {
            Self::Host => 0,
            Self::Path => 1,
            Self::Method => 2,
            Self::Header(_) => 3,
            Self::Query(_) => 4,
        }
    }
}

/// The rank of a route's host group for a request; smaller is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum HostRank {
    Exact,
    Suffix(Reverse<usize>),
    Any,
}

fn examine(route: &Route, request: &RequestView<'_>) -> Result<HostRank, Mismatch> {
    let matches = &route.matches;
    let host = host_rank(&matches.hosts, request.host).ok_or(Mismatch::Host)?;
    if !path_holds(&matches.path, request.path) {
        return Err(Mismatch::Path);
    }
    if !matches.methods.is_empty() && !matches.methods.contains(request.method) {
        return Err(Mismatch::Method);
    }
    if let Some(index) = matches.headers.iter().position(|header| !conditions::header_holds(header, request))
    {
        return Err(Mismatch::Header(index));
    }
    let query = request.query.unwrap_or_default();
    match matches.query.iter().position(|condition| !conditions::query_holds(condition, query)) {
        Some(index) => Err(Mismatch::Query(index)),
        None => Ok(host),
    }
}

fn host_rank(patterns: &[HostPattern], host: Option<&str>) -> Option<HostRank> {
    if patterns.is_empty() {
        return Some(HostRank::Any);
    }
    let host = host?;
    let rank = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(name) => (**name == *host).then_some(HostRank::Exact),
        HostPattern::Suffix(suffix) => (host.len() > suffix.len() && host.ends_with(&**suffix))
            .then_some(HostRank::Suffix(Reverse(suffix.len()))),
    };
    patterns.iter().filter_map(rank).min()
}

fn path_holds(pattern: &PathPattern, path: &str) -> bool {
    match pattern {
        PathPattern::Exact(exact) => **exact == *path,
        PathPattern::Regex(regex) => regex.is_match(path),
        PathPattern::Prefix(prefix) if &**prefix == "/" => true,
        PathPattern::Prefix(prefix) => {
            path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    }
}
