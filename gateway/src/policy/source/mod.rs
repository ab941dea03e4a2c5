//! The text of a policy and where everything in it stands.
//!
//! The text is walked once, event by event (`scan`): this yields what the document says, as serde_yaml would
//! read it, and the position of every value (`tree`), and refuses what is too large, too deep, or ambiguous
//! before it is expanded. YAML 1.2, less tags, merge keys and keys that are not scalars. What a scalar without
//! quotes is, such as a number, serde_yaml says (`scalar`). A policy may have a hundred thousand routes: what is
//! made here for each value counts in the time of a reload and in the memory of the process.
//!
//! A policy may be made of several files: [`Sources`] finds the file and the place in it of what is written
//! anywhere in the whole, by the `layout` that `compose` leaves when it puts the files together.

mod layout;
mod scalar;
mod scan;
mod sources;
#[cfg(test)]
mod tests;
mod tree;
mod weight;

use std::borrow::Cow;
use std::cell::RefCell;

use serde_yaml::Value;

use super::diagnostics::{Excerpt, Position};
use super::path::Step;
pub(super) use layout::{Adjustment, Layout, Origin};
pub(super) use scan::ScanFailure;
pub(super) use sources::{File, Sources};
use tree::Tree;
pub(super) use tree::is_secret_key;
pub(super) use weight::Limits;

/// The text of one file, and where everything in it stands.
pub(super) struct Source<'t> {
    text: Cow<'t, str>,
    /// Byte offset of the start of each line.
    lines: Vec<usize>,
    tree: Tree,
    /// Spans that no excerpt may show.
    secrets: RefCell<Vec<Span>>,
}

/// A stretch of text; the end is exclusive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start: Position,
    pub(super) end: Position,
}

/// Which part of a key and its value is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The value.
    Value,
    /// The key, as where it is unknown.
    Key,
}

impl<'t> Source<'t> {
    /// Walks the text, and gives what it says. Even if that fails, the source can show the lines at fault.
    pub(super) fn scan(
        text: impl Into<Cow<'t, str>>,
        limits: &Limits,
    ) -> (Self, Result<Value, Vec<ScanFailure>>) {
        let text = text.into();
        let mut tree = Tree::default();
        let value = scan::scan(&text, limits, &mut tree);
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        let secrets = RefCell::new(tree.secret_scalars());
        (Source { text, lines, tree, secrets }, value)
    }

    /// Where `steps` lead to, or the nearest thing around it if it is not written.
    fn span(&self, steps: &[Step<'_>], part: Part) -> Span {
        self.tree.find(steps, part).span
    }

    /// Whether the scalar that `steps` lead to is written without quotes.
    fn is_plain(&self, steps: &[Step<'_>]) -> bool {
        self.tree.is_plain(steps)
    }

    /// Whether all of `steps` are written.
    fn has(&self, steps: &[Step<'_>]) -> bool {
        self.tree.has(steps)
    }

    /// Whether `steps` lead into a value that may be secret.
    fn is_secret(&self, steps: &[Step<'_>]) -> bool {
        self.tree.find(steps, Part::Value).secret
    }

    /// Keeps the value that `steps` lead to out of every excerpt: it may be a misspelt secret.
    fn hide(&self, steps: &[Step<'_>]) {
        self.secrets.borrow_mut().extend(self.tree.scalars_at(steps));
    }

    /// The line of a span with its secrets masked, and how much to underline.
    fn excerpt(&self, span: Span) -> Option<Excerpt> {
        let index = span.start.line as usize - 1;
        let start = *self.lines.get(index)?;
        let end = self.lines.get(index + 1).map_or(self.text.len(), |next| next - 1);
        let mut line: Vec<char> = self.text.get(start..end)?.trim_end_matches('\r').chars().collect();
        let underlined = underlined(span, line.len());
        for secret in self.secrets.borrow().iter() {
            mask(&mut line, span.start.line, *secret);
        }
        Some(Excerpt { line: line.into_iter().collect(), underlined })
    }
}

/// Underlines what stands on one line; of a block only its start.
fn underlined(span: Span, length: usize) -> usize {
    if span.start.line == span.end.line {
        return (span.end.column.saturating_sub(span.start.column) as usize).max(1);
    }
    if length as u32 >= span.start.column { 1 + length - span.start.column as usize } else { 1 }
}

/// Replaces the part of the line that `secret` covers.
fn mask(line: &mut [char], number: u32, secret: Span) {
    if number < secret.start.line || number > secret.end.line {
        return;
    }
    let from = if number == secret.start.line { secret.start.column as usize - 1 } else { 0 };
    let to = if number == secret.end.line { secret.end.column as usize - 1 } else { line.len() };
    let to = to.min(line.len());
    for c in line.get_mut(from..to).unwrap_or_default().iter_mut().filter(|c| !c.is_whitespace()) {
        *c = '*';
    }
}
