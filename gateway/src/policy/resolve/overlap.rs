//! Routes that can never win.
//!
//! Two routes with the same path and the same conditions have equal precedence, so that the one
//! written first takes all that both match. A route is cut into cells, one for each host and
//! method: a later route whose cells are all taken is an error, one with some a warning. Patterns
//! that differ in writing but not in meaning are not found.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write;

use http::Method;

use super::super::report::Problem;
use super::super::route::{HostPattern, Match, PathPattern, ValueMatch};
use super::place::Place;

/// Cells taken so far, each with the index of its route.
#[derive(Default)]
pub(super) struct Overlaps {
    /// Path and conditions in one spelling, and their number.
    shapes: HashMap<String, usize>,
    cells: HashMap<Cell, usize>,
}

/// What a route takes of one shape: one host pattern and one method, or all of them.
#[derive(PartialEq, Eq, Hash)]
struct Cell {
    shape: usize,
    host: Option<HostPattern>,
    method: Option<Method>,
}

impl Overlaps {
    /// Takes the cells of route `index`, and reports those that were taken.
    pub(super) fn check(&mut self, section: Place<'_>, index: usize, matches: &Match) {
        let next = self.shapes.len();
        let shape = *self.shapes.entry(spelling(matches)).or_insert(next);
        let (mut taken, mut free) = (None, false);
        for host in all_or_each(&matches.hosts) {
            for method in all_or_each(&matches.methods) {
                match self.cells.entry(Cell { shape, host: host.clone(), method }) {
                    Entry::Occupied(cell) => taken = taken.or(Some(*cell.get())),
                    Entry::Vacant(cell) => {
                        cell.insert(index);
                        free = true;
                    }
                }
            }
        }
        let Some(first) = taken else { return };
        let route = section.index(index);
        let place = route.key("match");
        let first = place.report.place(&section.index(first).key("match").at, "the route that wins");
        if free {
            let problem = Problem::new("another route takes part of what this one matches");
            place.warn(problem.help("remove the hosts or methods that both name").see(first).on_key());
        } else {
            let problem = Problem::new("the route can never win: another takes all that it matches");
            place.error(problem.help("remove one of them, or tell them apart").see(first).on_key());
        }
    }
}

fn all_or_each<T: Clone>(list: &[T]) -> Vec<Option<T>> {
    if list.is_empty() { vec![None] } else { list.iter().cloned().map(Some).collect() }
}

/// Path and conditions, the latter sorted, as text. Writing to a String cannot fail.
fn spelling(matches: &Match) -> String {
    let mut out = match &matches.path {
        PathPattern::Exact(path) => format!("={path}"),
        PathPattern::Prefix(path) => format!("^{path}"),
        PathPattern::Regex(regex) => format!("~{}", regex.as_str()),
    };
    let headers = matches.headers.iter().map(|m| condition("h", m.name.as_str(), &m.value));
    let query = matches.query.iter().map(|m| condition("q", &m.name, &m.value));
    let mut conditions: Vec<String> = headers.chain(query).collect();
    conditions.sort();
    for condition in conditions {
        let _ = write!(out, "\n{condition}");
    }
    out
}

fn condition(kind: &str, name: &str, value: &ValueMatch) -> String {
    match value {
        ValueMatch::Present => format!("{kind}{name:?}+"),
        ValueMatch::Absent => format!("{kind}{name:?}-"),
        ValueMatch::Exact(text) => format!("{kind}{name:?}={text:?}"),
        ValueMatch::Regex(regex) => format!("{kind}{name:?}~{:?}", regex.as_str()),
    }
}
