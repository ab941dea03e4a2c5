//! The routes of one host group, by path.
//!
//! Routes are numbered by rank: sorted once by precedence, so that a smaller number wins.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use regex::{RegexSet, RegexSetBuilder};

use super::{RequestView, conditions, folder};
use crate::policy::route::{PathPattern, Route};

/// The routes of one host group.
#[derive(Debug)]
pub(super) struct PathTable {
    /// Index in the policy, by rank.
    by_rank: Box<[u32]>,
    exact: HashMap<Arc<str>, Vec<Rank>>,
    /// A tree of segments; the first node is `/`.
    nodes: Vec<Node>,
}

type Rank = u32;
type NodeId = u32;
const ROOT: NodeId = 0;

/// A folder that some prefix names or some regex lies in.
#[derive(Debug, Default)]
struct Node {
    parent: Option<NodeId>,
    children: HashMap<Box<str>, NodeId>,
    /// Routes whose prefix this is, best first.
    prefixes: Vec<Rank>,
    /// Routes with a regex that lies here, best first.
    regexes: Vec<Rank>,
    /// The same regexes as a set, in the same order, if they are many.
    set: Option<RegexSet>,
}

impl PathTable {
    /// `indices` are those of the group's routes in `routes`.
    pub(super) fn new(routes: &[Arc<Route>], mut indices: Vec<u32>) -> Self {
        indices.sort_by_cached_key(|index| (precedence(&routes[*index as usize]), *index));
        let mut table =
            PathTable { by_rank: indices.into(), exact: HashMap::new(), nodes: vec![Node::default()] };
        for rank in 0..table.by_rank.len() as Rank {
            match &table.route(routes, rank).matches.path {
                PathPattern::Exact(path) => table.exact.entry(Arc::clone(path)).or_default().push(rank),
                PathPattern::Prefix(path) => table.node(path).prefixes.push(rank),
                PathPattern::Regex(regex) => table.node(&folder::of(regex.as_str())).regexes.push(rank),
            }
        }
        for id in 0..table.nodes.len() {
            table.nodes[id].set = table.regex_set(routes, &table.nodes[id].regexes);
        }
        table
    }

    /// The index of the route that takes the request.
    pub(super) fn find(&self, routes: &[Arc<Route>], request: &RequestView<'_>) -> Option<usize> {
        let rank = self.find_exact(routes, request).or_else(|| {
            let deepest = self.deepest(request.path);
            self.find_regex(routes, request, deepest).or_else(|| self.find_prefix(routes, request, deepest))
        });
        rank.map(|rank| self.by_rank[rank as usize] as usize)
    }

    fn find_exact(&self, routes: &[Arc<Route>], request: &RequestView<'_>) -> Option<Rank> {
        let ranks = self.exact.get(request.path)?;
        ranks.iter().copied().find(|rank| self.conditions_hold(routes, *rank, request))
    }

    /// All regexes are equal in precedence, so that every folder on the way is looked into.
    fn find_regex(&self, routes: &[Arc<Route>], request: &RequestView<'_>, from: NodeId) -> Option<Rank> {
        let mut best: Option<Rank> = None;
        for node in self.upwards(from) {
            if node.regexes.first().is_none_or(|first| best.is_some_and(|best| best < *first)) {
                continue;
            }
            let better = |rank: &Rank| best.is_none_or(|best| *rank < best);
            let fits = |rank: &Rank| self.conditions_hold(routes, *rank, request);
            let found = match &node.set {
                Some(set) => {
                    let matching = set.matches(request.path);
                    let ranks = matching.iter().map(|index| node.regexes[index]);
                    ranks.take_while(better).find(fits)
                }
                None => {
                    let matches = |rank: &Rank| self.regex_matches(routes, *rank, request.path);
                    let ranks = node.regexes.iter().copied().take_while(better);
                    ranks.filter(fits).find(matches)
                }
            };
            best = found.or(best);
        }
        best
    }

    /// The deepest folder is the longest prefix.
    fn find_prefix(&self, routes: &[Arc<Route>], request: &RequestView<'_>, from: NodeId) -> Option<Rank> {
        let mut ranks = self.upwards(from).flat_map(|node| node.prefixes.iter().copied());
        ranks.find(|rank| self.conditions_hold(routes, *rank, request))
    }

    fn conditions_hold(&self, routes: &[Arc<Route>], rank: Rank, request: &RequestView<'_>) -> bool {
        conditions::hold(&self.route(routes, rank).matches, request)
    }

    fn regex_matches(&self, routes: &[Arc<Route>], rank: Rank, path: &str) -> bool {
        matches!(&self.route(routes, rank).matches.path, PathPattern::Regex(regex) if regex.is_match(path))
    }

    fn route<'r>(&self, routes: &'r [Arc<Route>], rank: Rank) -> &'r Arc<Route> {
        &routes[self.by_rank[rank as usize] as usize]
    }

    /// The deepest folder of the tree that `path` lies in or is.
    fn deepest(&self, path: &str) -> NodeId {
        let mut id = ROOT;
        for segment in segments(path) {
            match self.nodes[id as usize].children.get(segment) {
                Some(child) => id = *child,
                None => break,
            }
        }
        id
    }

    /// The folder and those around it, up to `/`.
    fn upwards(&self, from: NodeId) -> impl Iterator<Item = &Node> {
        let node = |id: NodeId| &self.nodes[id as usize];
        std::iter::successors(Some(node(from)), move |here| here.parent.map(node))
    }

    /// The folder at `path`, made if it is not there.
    fn node(&mut self, path: &str) -> &mut Node {
        let mut id = ROOT;
        for segment in segments(path) {
            let next = self.nodes.len() as NodeId;
            let child = *self.nodes[id as usize].children.entry(segment.into()).or_insert(next);
            if child == next {
                self.nodes.push(Node { parent: Some(id), ..Node::default() });
            }
            id = child;
        }
        &mut self.nodes[id as usize]
    }

    /// `None` for a few, which are quicker one by one, and for more than a set can hold.
    fn regex_set(&self, routes: &[Arc<Route>], ranks: &[Rank]) -> Option<RegexSet> {
        const FEW: usize = 4;
        const PROGRAM_MAX: usize = 256 << 20;
        const CACHE_MAX: usize = 16 << 20;
        if ranks.len() <= FEW {
            return None;
        }
        let patterns = ranks.iter().filter_map(|rank| match &self.route(routes, *rank).matches.path {
            PathPattern::Regex(regex) => Some(regex.as_str()),
            PathPattern::Exact(_) | PathPattern::Prefix(_) => None,
        });
        RegexSetBuilder::new(patterns).size_limit(PROGRAM_MAX).dfa_size_limit(CACHE_MAX).build().ok()
    }
}

/// The segments of a path; `/` has none. So has a path without a slash, such as the `*` of OPTIONS:
/// only what lies at `/` takes it.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let rest = path.strip_prefix('/').filter(|rest| !rest.is_empty());
    rest.into_iter().flat_map(|rest| rest.split('/'))
}

/// What sorts the routes of a host group, but for the order written.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence {
    path: PathClass,
    any_method: bool,
    headers: Reverse<usize>,
    query: Reverse<usize>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum PathClass {
    Exact,
    Regex,
    Prefix(Reverse<usize>),
}

pub(super) fn precedence(route: &Route) -> Precedence {
    let matches = &route.matches;
    Precedence {
        path: match &matches.path {
            PathPattern::Exact(_) => PathClass::Exact,
            PathPattern::Regex(_) => PathClass::Regex,
            PathPattern::Prefix(path) => PathClass::Prefix(Reverse(path.len())),
        },
        any_method: matches.methods.is_empty(),
        headers: Reverse(matches.headers.len()),
        query: Reverse(matches.query.len()),
    }
}
