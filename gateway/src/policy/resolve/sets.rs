//! `filter_sets`, and what the entries of `filters` in routes, TCP services and sets stand for.
//!
//! An entry is the name of a filter, the name of a set, which stands for its filters in their order, or a
//! filter with settings of its own (`compose/adjust.rs`). A set holds filters and no sets.

use std::cell::Cell;
use std::collections::HashMap;

use super::super::compose::Adjuster;
use super::super::filter::Filter;
use super::super::raw::{Entries, Field, FilterUse};
use super::super::report::{Problem, quoted};
use super::names::Names;
use super::place::Place;
use super::scalar::check_name;

const SETS_MAX: usize = 1_000;
const FILTERS_MAX: usize = 64;

/// All filters, and the sets of them.
pub(super) struct Chains<'r> {
    pub(super) filters: &'r Names<'r, Filter>,
    sets: HashMap<&'r str, Set>,
}

#[derive(Default)]
struct Set {
    /// Names of filters that are there.
    filters: Vec<String>,
    used: Cell<bool>,
}

impl<'r> Chains<'r> {
    /// Reads the sets.
    pub(super) fn resolve(
        section: Place<'_>,
        field: &'r Field<Entries<Vec<Field<FilterUse>>>>,
        filters: &'r Names<'r, Filter>,
    ) -> Self {
        let entries = section.entries(field, SETS_MAX);
        let mut chains = Chains { filters, sets: HashMap::new() };
        for &(name, _) in &entries {
            let place = section.key(name);
            check_name(place, name);
            if filters.has(name) {
                let problem = Problem::new(format!("a filter is named {} too", quoted(name)));
                place.error(problem.help("give the set another name").on_key());
            }
            chains.sets.insert(name, Set::default());
        }
        for (name, list) in entries {
            let place = section.key(name);
            let mut filters = Vec::new();
            for (index, entry) in place.fields(list, FILTERS_MAX) {
                let place = place.index(index);
                match entry {
                    FilterUse::Named(inner) if chains.sets.contains_key(inner.as_str()) => {
                        let problem =
                            Problem::new(format!("{} is a set: a set holds filters", quoted(inner)));
                        place.error(problem.help("name its filters"));
                    }
                    _ => filters.extend(chains.names(place, entry, Adjuster::FilterSet, name)),
                }
            }
            chains.sets.insert(name, Set { filters, used: Cell::new(false) });
        }
        chains
    }

    /// The names of the filters that an entry of the chain of `owner` stands for; reports why if there is
    /// none.
    pub(super) fn names(
        &self,
        place: Place<'_>,
        entry: &FilterUse,
        adjuster: Adjuster,
        owner: &str,
    ) -> Vec<String> {
        match entry {
            FilterUse::Named(name) => {
                if let Some(set) = self.sets.get(name.as_str()) {
                    set.used.set(true);
                    return set.filters.clone();
                }
                if self.filters.check(place, name) { vec![name.clone()] } else { Vec::new() }
            }
            FilterUse::Adjusted(base) => {
                let place = place.key(base);
                if self.sets.contains_key(base.as_str()) {
                    let problem = Problem::new(format!("{} is a set, which has no settings", quoted(base)));
                    place.error(problem.help("adjust a filter, beside the set or in it").on_key());
                    return Vec::new();
                }
                let name = adjuster.name(base, owner);
                // If there is none, it was said what is wrong with the settings.
                if self.filters.adjust(place, base) && self.filters.has(&name) {
                    vec![name]
                } else {
                    Vec::new()
                }
            }
        }
    }

    /// Warns of sets that nothing names.
    pub(super) fn warn_of_unused(&self, section: Place<'_>) {
        for (name, _) in self.sets.iter().filter(|(_, set)| !set.used.get()) {
            let problem = Problem::new("no route uses it").help("use it or remove it").on_key();
            section.key(name).warn(problem);
        }
    }
}
