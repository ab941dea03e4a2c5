//! From what an interpreter says about a script to the line that it means.
//!
//! Interpreters name a place as `NAME:LINE: …` or `NAME:LINE:COLUMN: …`. The script's text is in the filter's
//! configuration, whose form `resolve` gives it; an inline script is looked for in the policy's file, where its
//! lines stand one below the other unless it is written in quotes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use super::diagnostics::{Diagnostic, Excerpt, Position};
use super::filter::{Filter, FilterKind};
use super::gather::TEXT_MAX;
use super::interpreter::Language;
use super::read::read_bounded;

/// What an interpreter is given, as far as it is needed here.
#[derive(Deserialize)]
struct Settings {
    #[serde(flatten)]
    script: Part,
    #[serde(default)]
    modules: BTreeMap<String, Part>,
}

#[derive(Deserialize)]
struct Part {
    name: String,
    source: String,
}

/// A mistake in a script.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// The script's file; none if it is inline.
    file: Option<PathBuf>,
    /// From 1.
    line: usize,
    /// In characters from 1, if it is known.
    column: Option<usize>,
    /// The whole script.
    source: String,
    /// What is wrong.
    message: String,
}

/// Whether a file is a script, by its extension.
pub(super) fn is_script(path: &Path) -> bool {
    Language::of_file(path).is_some()
}

/// What an interpreter is given, less the script's configuration.
#[derive(Deserialize, Serialize)]
struct Bare {
    name: String,
    source: String,
    modules: serde_json::Value,
    memory: u64,
}

/// What an interpreter is given.
#[derive(Serialize)]
struct Configured<'c> {
    #[serde(flatten)]
    bare: Bare,
    config: &'c Value,
}

/// What an interpreter is given, with this configuration of the script in the place of its own. `None` if
/// `whole` is of another form.
pub(super) fn with_config(whole: &[u8], config: &Value) -> Option<Arc<[u8]>> {
    let bare = serde_json::from_slice(whole).ok()?;
    Some(serde_json::to_vec(&Configured { bare, config }).ok()?.into())
}

/// What an interpreter said, without its traceback.
pub(super) fn first_line(said: &str) -> &str {
    said.lines().next().unwrap_or_default()
}

impl Mistake {
    /// What `said` tells about the script of `filter`. `None` if it has none, or no line of it is named.
    pub(super) fn find(filter: &Filter, said: &str) -> Option<Self> {
        let FilterKind::Wasm(wasm) = &filter.kind else { return None };
        let Settings { script, modules } = serde_json::from_slice(&wasm.configuration).ok()?;
        let mut parts = std::iter::once(script).chain(modules.into_values());
        parts.find_map(|Part { name, source }| {
            let (line, column, message) = named_place(said, &name)?;
            let named = |file: &&PathBuf| file.file_name().is_some_and(|last| *last == *name);
            let file = wasm.files.iter().find(named).cloned();
            Some(Self { file, line, column, source, message: message.to_owned() })
        })
    }

    /// The error that tells it. `place` is where the filter is written.
    pub(super) fn tell(&self, place: Diagnostic, what: &str) -> Diagnostic {
        let text = self.source.lines().nth(self.line - 1).unwrap_or_default();
        let message = format!("{what}: {}", self.message);
        let here = match &self.file {
            Some(file) => Some((file.display().to_string(), self.line, text.to_owned())),
            None => self.inline(&place).map(|(line, text)| (place.file.clone(), line, text)),
        };
        let Some((file, line, shown)) = here else {
            return Diagnostic {
                found: Some(format!("line {}: {}", self.line, text.trim())),
                message,
                ..place
            };
        };
        // Inside the policy a script is indented.
        let indent = shown.chars().count() - shown.trim_start().chars().count();
        let own = text.chars().count() - text.trim_start().chars().count();
        let column = self.column.map_or(indent + 1, |column| column + indent - own.min(indent));
        let underlined = match self.column {
            Some(_) => {
                shown.chars().skip(column - 1).take_while(|c| c.is_alphanumeric() || *c == '_').count()
            }
            None => shown.trim().chars().count(),
        };
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Diagnostic {
            file,
            position: Some(Position { line: count(line), column: count(column) }),
            message,
            excerpt: Some(Excerpt { line: shown, underlined: underlined.max(1) }),
            ..place
        }
    }

    /// The line of the policy's file that is the mistake's line, and its text.
    fn inline(&self, place: &Diagnostic) -> Option<(usize, String)> {
        let begins = place.position?.line as usize;
        let policy = String::from_utf8(read_bounded(Path::new(&place.file), TEXT_MAX).ok()?).ok()?;
        let lines: Vec<&str> = policy.lines().collect();
        let script: Vec<&str> = self.source.lines().take(self.line).map(str::trim).collect();
        // The first place below the filter's name where all lines up to that of the mistake stand.
        let stands = |at: &usize| {
            lines
                .get(*at..at + script.len())
                .is_some_and(|part| part.iter().map(|line| line.trim()).eq(script.iter().copied()))
        };
        let at = (begins..lines.len()).find(stands)? + script.len() - 1;
        Some((at + 1, (*lines.get(at)?).to_owned()))
    }
}

/// Line, column and what is said behind the first `NAME:LINE:` in a message.
fn named_place<'m>(said: &'m str, name: &str) -> Option<(usize, Option<usize>, &'m str)> {
    said.match_indices(name).find_map(|(at, _)| {
        let rest = said.get(at + name.len()..)?.strip_prefix(':')?;
        let (line, rest) = leading_number(rest)?;
        let (column, rest) = match rest.strip_prefix(':').and_then(leading_number) {
            Some((column, rest)) => (Some(column), rest),
            None => (None, rest),
        };
        // What stands before the place, as `error: …` does, is part of what is said.
        let behind = first_line(rest.trim_start_matches(':').trim_start());
        Some((line, column, if behind.is_empty() { first_line(said) } else { behind }))
    })
}

/// A number from 1, and what follows it.
fn leading_number(text: &str) -> Option<(usize, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.parse().ok().filter(|number| *number > 0)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_in_messages() {
        let table = [
            ("a.lua:2:13: unexpected symbol near '='", Some((2, Some(13), "unexpected symbol near '='"))),
            ("a.lua:2: attempt to call\nstack traceback:\n\ta.lua:9: in", Some((2, None, "attempt to call"))),
            ("error: bad name\n --> a.lua:3:5", Some((3, Some(5), "error: bad name"))),
            ("in a.lua: nothing", None),
            ("a.lua:0: no such line", None),
            ("b.lua:1: another", None),
        ];
        for (said, expected) in table {
            assert_eq!(named_place(said, "a.lua"), expected, "{said}");
        }
    }
}
