//! A place in the document with the report at hand: what every resolver function works on.

use super::super::path::At;
use super::super::raw::{Entries, Field, OneOrMany};
use super::super::report::{Problem, Report};
use super::super::suggest::listed;

/// A place in the document, and where to report what is wrong there.
#[derive(Clone, Copy)]
pub(in crate::policy) struct Place<'a> {
    pub(in crate::policy) report: &'a Report<'a>,
    pub(in crate::policy) at: At<'a>,
}

impl<'a> Place<'a> {
    pub(in crate::policy) fn root(report: &'a Report<'a>) -> Self {
        Place { report, at: At::ROOT }
    }

    pub(in crate::policy) fn key(&'a self, key: &'a str) -> Place<'a> {
        Place { report: self.report, at: self.at.key(key) }
    }

    pub(in crate::policy) fn index(&'a self, index: usize) -> Place<'a> {
        Place { report: self.report, at: self.at.index(index) }
    }

    pub(in crate::policy) fn error(&self, problem: Problem) {
        self.report.error(&self.at, problem);
    }

    pub(in crate::policy) fn warn(&self, problem: Problem) {
        self.report.warn(&self.at, problem);
    }

    /// The value of a key of this mapping that must be written.
    pub(in crate::policy) fn required<'f, T>(
        &self,
        field: &'f Field<T>,
        key: &str,
        expected: &str,
    ) -> Option<&'f T> {
        if field.is_absent() {
            self.error(Problem::new(format!("the key `{key}` is missing")).expected(expected));
        }
        field.given()
    }

    /// Of keys that exclude each other, the one that is written. `keys` holds whether each is absent.
    pub(in crate::policy) fn exactly_one(&self, keys: &[(&'static str, bool)]) -> Option<&'static str> {
        let written: Vec<&str> = keys.iter().filter(|(_, absent)| !absent).map(|(key, _)| *key).collect();
        match written.as_slice() {
            [only] => Some(only),
            [] => {
                let expected = format!("one of {}", listed(keys.iter().map(|(key, _)| *key)));
                self.error(Problem::new("a key is missing").expected(expected));
                None
            }
            [first, second, ..] => {
                let problem = Problem::new(format!("`{second}` beside `{first}`"))
                    .expected(format!("only one of {}", listed(keys.iter().map(|(key, _)| *key))))
                    .help("remove one of them")
                    .on_key();
                self.key(second).error(problem);
                None
            }
        }
    }

    /// Refuses keys that have no place here, though they have elsewhere. `keys` holds whether each is absent.
    pub(in crate::policy) fn refuse(&self, keys: &[(&'static str, bool)], help: &str) {
        for (key, _) in keys.iter().filter(|(_, is_absent)| !is_absent) {
            self.key(key).error(Problem::new(format!("`{key}` has no place here")).help(help).on_key());
        }
    }

    /// The right entries of a list here with their indices; at most `max` are looked at.
    pub(in crate::policy) fn list<'f, T>(
        &self,
        field: &'f Field<Vec<Field<T>>>,
        max: usize,
    ) -> Vec<(usize, &'f T)> {
        field.given().map_or_else(Vec::new, |fields| self.fields(fields, max))
    }

    /// The right entries of a mapping here, with free keys; at most `max` are looked at.
    pub(in crate::policy) fn entries<'f, T>(
        &self,
        field: &'f Field<Entries<T>>,
        max: usize,
    ) -> Vec<(&'f str, &'f T)> {
        let Some(Entries(entries)) = field.given() else { return Vec::new() };
        self.at_most(entries.len(), max);
        let mut right = Vec::with_capacity(entries.len().min(max));
        for (key, field) in entries.iter().take(max) {
            match field {
                Field::Given(value) => right.push((key.as_str(), value)),
                Field::Absent => self.key(key).error(Problem::new("nothing is written here")),
                Field::Refused => {}
            }
        }
        right
    }

    /// The texts here, be it one or a list, each with its place.
    pub(in crate::policy) fn texts<'f>(
        &self,
        field: &'f Field<OneOrMany>,
        max: usize,
        mut each: impl FnMut(Place<'_>, &'f str),
    ) {
        match field.given() {
            None => {}
            Some(OneOrMany::One(text)) => each(*self, text),
            Some(OneOrMany::Many(fields)) => {
                if fields.is_empty() {
                    self.error(Problem::new("an empty list").help("leave the key out, or name something"));
                }
                for (index, text) in self.fields(fields, max) {
                    each(self.index(index), text);
                }
            }
        }
    }

    /// The right ones of `fields`, which are the list here, with their indices.
    pub(in crate::policy) fn fields<'f, T>(&self, fields: &'f [Field<T>], max: usize) -> Vec<(usize, &'f T)> {
        self.at_most(fields.len(), max);
        let mut right = Vec::with_capacity(fields.len().min(max));
        for (index, field) in fields.iter().enumerate().take(max) {
            match field {
                Field::Given(value) => right.push((index, value)),
                Field::Absent => self.index(index).error(Problem::new("an empty entry").help("remove it")),
                Field::Refused => {}
            }
        }
        right
    }

    fn at_most(&self, count: usize, max: usize) {
        if count > max {
            self.error(
                Problem::new("too many entries").expected(format!("at most {max}")).found(count.to_string()),
            );
        }
    }
}
