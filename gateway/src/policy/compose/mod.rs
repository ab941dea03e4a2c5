//! Puts the files of a policy together into one document.
//!
//! 1. Lists (`listeners`, `routes`, `trusted_proxies`, `include`) are joined in the order of the files.
//! 2. Named things (`upstreams`, `filters`, `filter_sets`) are one mapping; a name that is written twice is an error.
//! 3. `version` may be written in each file, and is the same in all.
//! 4. All else is written in one file.
//!
//! Then `defaults` are filled in, and the filters that routes adjust are made.

mod adjust;
mod defaults;
mod merge;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_yaml::{Mapping, Value};

use super::diagnostics::Related;
use super::path::{At, Document, FileId, OwnedStep};
use super::report::{Problem, Report, quoted};
use super::source::{Layout, Origin};
use adjust::Adjusted;
pub(super) use adjust::Adjuster;

/// How the files' values of a key become one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Join,
    Unite,
    Agree,
    Once,
}

/// The rule for a key at the top; unknown keys are refused later.
fn rule(key: &str) -> Rule {
    match key {
        "listeners" | "routes" | "trusted_proxies" | "include" => Rule::Join,
        "upstreams" | "filters" | "filter_sets" => Rule::Unite,
        "version" => Rule::Agree,
        _ => Rule::Once,
    }
}

/// All files in one.
pub(super) struct Composed {
    pub(super) whole: Value,
    /// The filters that are adjusted, by their new names.
    pub(super) adjusted: Value,
}

/// The whole, and where what of it comes from is told to `report`. `None` if what is wrong would show as
/// something else in the whole.
pub(super) fn compose(documents: Vec<Value>, report: &Report<'_>) -> Option<Composed> {
    let (mut whole, mut layout) = join_all(documents, report)?;
    let mut faults = Faults::new();
    let adjusted = fill_in(&mut whole, &mut layout, &mut faults);
    // Only now is known what stands where.
    report.arrange(layout);
    faults.into_iter().for_each(|(steps, problem)| report.error_at(&steps, problem));
    Some(Composed { whole, adjusted: Value::Mapping(adjusted?) })
}

/// What is wrong in places of the whole.
type Faults = Vec<(Vec<OwnedStep>, Problem)>;

/// Fills in the defaults, and gives the filters that are adjusted.
fn fill_in(whole: &mut Value, layout: &mut Layout, faults: &mut Faults) -> Option<Mapping> {
    layout.has_defaults = defaults::apply(whole, faults)?;
    let Adjusted { filters, places } = adjust::adjusted(whole, faults)?;
    layout.adjusted = places.into_iter().collect();
    Some(filters)
}

/// One document of all.
fn join_all(mut documents: Vec<Value>, report: &Report<'_>) -> Option<(Value, Layout)> {
    if documents.len() == 1 {
        return documents.pop().map(|only| (only, Layout::default()));
    }
    let mut whole = Whole { report, values: Mapping::new(), layout: Layout::default(), is_sound: true };
    for (index, document) in documents.into_iter().enumerate() {
        let at = At::of(Document::File(FileId(index)));
        match document {
            Value::Mapping(sections) => whole.add(FileId(index), at, sections),
            // Nothing but comments.
            Value::Null => {}
            _ => {
                let problem = Problem::new("wrong type of value").expected("a mapping, as of a policy");
                report.error(&at, problem);
                whole.is_sound = false;
            }
        }
    }
    whole.is_sound.then_some((Value::Mapping(whole.values), whole.layout))
}

struct Whole<'r, 's> {
    report: &'r Report<'s>,
    values: Mapping,
    layout: Layout,
    is_sound: bool,
}

impl Whole<'_, '_> {
    fn add(&mut self, file: FileId, at: At<'_>, sections: Mapping) {
        for (key, value) in sections {
            let Value::String(key) = key else {
                let problem = Problem::new("a key that is not text").expected("text");
                self.report.error(&at, problem.help("put the key in quotes"));
                continue;
            };
            let place = at.key(&key);
            match (rule(&key), value) {
                (Rule::Join | Rule::Unite, Value::Null) => {}
                (Rule::Join, Value::Sequence(entries)) => self.join(file, &key, entries),
                (Rule::Join, text @ Value::String(_)) if key == "include" => {
                    self.join(file, &key, vec![text]);
                }
                (Rule::Join, _) => self.refuse(place, "a list"),
                (Rule::Unite, Value::Mapping(entries)) => self.unite(file, place, &key, entries),
                (Rule::Unite, _) => self.refuse(place, "a mapping"),
                (Rule::Agree, value) => self.agree(file, place, &key, value),
                (Rule::Once, value) => self.once(file, place, &key, value),
            }
        }
    }

    fn refuse(&mut self, at: At<'_>, expected: &str) {
        self.report.error(&at, Problem::new("wrong type of value").expected(expected));
        self.is_sound = false;
    }

    fn join(&mut self, file: FileId, key: &str, entries: Vec<Value>) {
        let all = self.values.entry(key.into()).or_insert_with(|| Value::Sequence(Vec::new()));
        let Value::Sequence(all) = all else { return };
        let origin = self.layout.sections.entry(key.to_owned()).or_insert_with(|| Origin::Lists(Vec::new()));
        if let Origin::Lists(lists) = origin {
            lists.push((all.len(), file));
        }
        all.extend(entries);
    }

    fn unite(&mut self, file: FileId, at: At<'_>, key: &str, entries: Mapping) {
        let all = self.values.entry(key.into()).or_insert_with(|| Value::Mapping(Mapping::new()));
        let Value::Mapping(all) = all else { return };
        let origin = self.layout.sections.entry(key.to_owned());
        let origin = origin.or_insert_with(|| Origin::Entries(file, HashMap::new()));
        let Origin::Entries(_, names) = origin else { return };
        for (name, value) in entries {
            if let Value::String(name) = &name {
                if let Some(first) = names.get(name) {
                    let problem = Problem::new(format!("{} is defined in two files", quoted(name)));
                    let there = At::of(Document::File(*first));
                    let see = self.report.place(&there.key(key).key(name), "the first one");
                    let problem = problem.help("give one of them another name").see(see).on_key();
                    self.report.error(&at.key(name), problem);
                    continue;
                }
                names.insert(name.clone(), file);
            }
            all.insert(name, value);
        }
    }

    fn agree(&mut self, file: FileId, at: At<'_>, key: &str, value: Value) {
        let Some(first) = self.values.get(key) else { return self.put(file, key, value) };
        if *first != value {
            let problem = Problem::new(format!("another `{key}` than in the first file"));
            let problem = problem.help("write the same in all files").see(self.first(key));
            self.report.error(&at, problem);
        }
    }

    fn once(&mut self, file: FileId, at: At<'_>, key: &str, value: Value) {
        if !self.values.contains_key(key) {
            return self.put(file, key, value);
        }
        let problem = Problem::new(format!("{} is written in two files", quoted(key)));
        let problem = problem.expected("once in all files").see(self.first(key)).on_key();
        self.report.error(&at, problem);
    }

    fn put(&mut self, file: FileId, key: &str, value: Value) {
        self.values.insert(key.into(), value);
        self.layout.sections.insert(key.to_owned(), Origin::One(file));
    }

    /// Where a key was written first, for a finding that is about another place.
    fn first(&self, key: &str) -> (FileId, Related) {
        let file = match self.layout.sections.get(key) {
            Some(Origin::One(file)) => *file,
            _ => FileId(0),
        };
        self.report.place(&At::of(Document::File(file)).key(key), "the first one")
    }
}
