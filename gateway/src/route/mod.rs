//! Which route takes a request. Pure: no I/O, no lock, nothing changes after it is built.
//!
//! # Precedence
//! Of the routes that match a request, the one wins that is first in this order:
//! 1. **host**: the exact name, then `*.` patterns from the longest to the shortest, then routes
//!    without a host. If no route of the best host group matches, the next group is tried.
//! 2. **path**: exact, then regex, then prefix from the longest to the shortest. All regexes are
//!    equal: a regex stands before prefixes because the prefix `/` would else hide it.
//! 3. **conditions**: a route that names methods before one that does not, then the one with more
//!    header conditions, then the one with more query conditions.
//! 4. the order written.
//!
//! # Cost
//! One hash look-up for the host and one for each of its labels that a wildcard may begin at, one
//! for the exact path and one for each segment: whether there are ten routes or a hundred thousand.
//! A regex is filed under the folders that it begins with literally (`/users/[0-9]+` under
//! `/users`), so that only those are tried that may match; many in one folder are searched as one
//! set. Only routes that differ in nothing but conditions are tried one by one. A look-up allocates
//! only for such a set, and for query values with escapes.

mod conditions;
pub mod explain;
mod folder;
mod paths;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::policy::route::{HostPattern, Route};
use paths::PathTable;

/// What of a request decides its route.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'r> {
    /// Host name in lower case, without port. `None`: only routes without a host can match.
    pub host: Option<&'r str>,
    /// The path in its normal form, without the query.
    pub path: &'r str,
    /// The query, without `?`.
    pub query: Option<&'r str>,
    /// The method.
    pub method: &'r Method,
    /// The header fields.
    pub headers: &'r HeaderMap,
}

/// All routes of a policy, for look-up. Immutable; share it between workers.
#[derive(Debug)]
pub struct RouteTable {
    routes: Box<[Arc<Route>]>,
    exact: HashMap<Arc<str>, PathTable>,
    /// By the suffix with its leading dot.
    suffixes: HashMap<Arc<str>, PathTable>,
    /// Bytes of the longest suffix: what is longer need not be looked up.
    suffix_max: usize,
    any: PathTable,
}

impl RouteTable {
    /// Builds the table. `routes` is in the order of the policy.
    pub fn new(routes: &[Arc<Route>]) -> Self {
        let mut exact: HashMap<Arc<str>, Vec<u32>> = HashMap::new();
        let mut suffixes: HashMap<Arc<str>, Vec<u32>> = HashMap::new();
        let mut any = Vec::new();
        for (index, route) in (0u32..).zip(routes) {
            if route.matches.hosts.is_empty() {
                any.push(index);
            }
            for host in &route.matches.hosts {
                let (group, name) = match host {
                    HostPattern::Exact(name) => (&mut exact, name),
                    HostPattern::Suffix(name) => (&mut suffixes, name),
                };
                group.entry(Arc::clone(name)).or_default().push(index);
            }
        }
        let table = |indices: Vec<u32>| PathTable::new(routes, indices);
        RouteTable {
            suffix_max: suffixes.keys().map(|suffix| suffix.len()).max().unwrap_or(0),
            exact: exact.into_iter().map(|(name, indices)| (name, table(indices))).collect(),
            suffixes: suffixes.into_iter().map(|(name, indices)| (name, table(indices))).collect(),
            any: table(any),
            routes: routes.into(),
        }
    }

    /// The route that takes `request`, and its index in the order of the policy.
    pub fn find<'t>(&'t self, request: &RequestView<'_>) -> Option<(usize, &'t Arc<Route>)> {
        let index = self.groups(request.host).find_map(|group| group.find(&self.routes, request))?;
        Some((index, &self.routes[index]))
    }

    /// Whether any route asks for a host: if none does, [`Self::find`] need not be told it.
    pub fn has_hosts(&self) -> bool {
        !self.exact.is_empty() || !self.suffixes.is_empty()
    }

    /// The groups of routes whose host pattern takes `host`, best first.
    fn groups<'t>(&'t self, host: Option<&str>) -> impl Iterator<Item = &'t PathTable> {
        let exact = host.and_then(|host| self.exact.get(host));
        exact.into_iter().chain(host.into_iter().flat_map(|host| self.wildcards(host))).chain([&self.any])
    }

    /// A suffix stands behind at least one label, so that the first character is no candidate.
    fn wildcards<'t, 'h>(&'t self, host: &'h str) -> impl Iterator<Item = &'t PathTable> + use<'t, 'h> {
        let first = host.len().saturating_sub(self.suffix_max).max(1);
        let dots = host.bytes().enumerate().skip(first).filter(|(_, b)| *b == b'.').map(|(at, _)| at);
        dots.filter_map(|dot| self.suffixes.get(&host[dot..]))
    }
}
