//! Values that have a name, and looking them up from elsewhere in the document.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use super::super::report::{Problem, quoted};
use super::super::suggest::{listed, nearest};
use super::place::Place;

/// Only the names of adjusted filters hold it.
const ADJUSTED: char = '@';

/// Named values, in the order written.
pub(in crate::policy) struct Names<'r, T> {
    section: &'static str,
    values: Vec<Named<'r, T>>,
    by_name: HashMap<&'r str, usize>,
}

struct Named<'r, T> {
    name: &'r str,
    /// `None` if it is wrong, which is reported: whoever names it is right to do so.
    value: Option<Arc<T>>,
    used: Cell<bool>,
    /// Whether a TCP service uses it.
    used_by_tcp: Cell<bool>,
    /// Whether another is made of it.
    adjusted: Cell<bool>,
}

impl<'r, T> Names<'r, T> {
    /// `section` is the key that holds the values.
    pub(in crate::policy) fn new(section: &'static str) -> Self {
        Names { section, values: Vec::new(), by_name: HashMap::new() }
    }

    /// Adds a value, or that there is a wrong one of this name.
    pub(super) fn add(&mut self, name: &'r str, value: Option<Arc<T>>) {
        self.by_name.insert(name, self.values.len());
        let [used, used_by_tcp, adjusted] = [const { Cell::new(false) }; 3];
        self.values.push(Named { name, value, used, used_by_tcp, adjusted });
    }

    /// The value that is named at `place`.
    pub(super) fn find(&self, place: Place<'_>, name: &str) -> Option<Arc<T>> {
        let named = self.named(place, name)?;
        named.used.set(true);
        named.value.clone()
    }

    /// The same, for a TCP service.
    pub(super) fn find_for_tcp(&self, place: Place<'_>, name: &str) -> Option<Arc<T>> {
        let named = self.named(place, name)?;
        named.used_by_tcp.set(true);
        named.value.clone()
    }

    /// Whether TCP services use the value, and nothing else does.
    pub(super) fn is_for_tcp_alone(&self, name: &str) -> bool {
        let named = self.by_name.get(name).and_then(|index| self.values.get(*index));
        named.is_some_and(|named| named.used_by_tcp.get() && !named.used.get())
    }

    /// Whether there is a value of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Whether there is a value of the name at `place`; reports it if not.
    pub(super) fn check(&self, place: Place<'_>, name: &str) -> bool {
        self.named(place, name).is_some()
    }

    /// The same where the value is not used itself, but another is made of it.
    pub(super) fn adjust(&self, place: Place<'_>, name: &str) -> bool {
        self.named(place, name).inspect(|named| named.adjusted.set(true)).is_some()
    }

    fn named(&self, place: Place<'_>, name: &str) -> Option<&Named<'r, T>> {
        let found = self.by_name.get(name).and_then(|index| self.values.get(*index));
        if found.is_none() {
            place.error(self.unknown(place, name));
        }
        found
    }

    fn unknown(&self, place: Place<'_>, name: &str) -> Problem {
        let problem = Problem::new(format!("{} is not defined under `{}`", quoted(name), self.section));
        if place.report.is_full() {
            return problem;
        }
        let names = || self.values.iter().map(|named| named.name).filter(|name| !name.contains(ADJUSTED));
        problem.expected(listed(names())).did_you_mean(nearest(name, names()))
    }

    /// Warns of values that nothing names.
    pub(super) fn warn_of_unused(&self, section: Place<'_>) {
        let is_unused =
            |named: &&Named<'_, T>| !named.used.get() && !named.used_by_tcp.get() && !named.adjusted.get();
        // Who adjusts a filter uses what comes of it, or is unused itself.
        for named in self.values.iter().filter(is_unused).filter(|named| !named.name.contains(ADJUSTED)) {
            let problem = Problem::new("no route uses it").help("use it or remove it").on_key();
            section.key(named.name).warn(problem);
        }
    }

    /// The right values, in the order written.
    pub(super) fn into_values(self) -> Vec<Arc<T>> {
        self.values.into_iter().filter_map(|named| named.value).collect()
    }
}
