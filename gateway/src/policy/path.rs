//! Where in the document we are, such as `routes[3].match.path.prefix`.
//!
//! A path is a list linked through the stack: the decoder and the resolver extend it for free as
//! they descend, and only a diagnostic spells it out or looks it up in the source.

use std::fmt;

/// One place in the document.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

/// The last step to a place.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    /// A document itself.
    Root(Document),
    /// The value of a key.
    Key(&'a str),
    /// An entry of a list, counted from 0.
    Index(usize),
}

/// What a path begins in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Document {
    /// All files together.
    Whole,
    /// One file.
    File(FileId),
    /// The adjusted filters, by name.
    Adjusted,
}

impl Document {
    /// The file, if there is but one.
    pub(super) fn file(self) -> FileId {
        match self {
            Document::Whole | Document::Adjusted => FileId(0),
            Document::File(id) => id,
        }
    }
}

/// A step that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OwnedStep {
    /// The value of a key.
    Key(String),
    /// An entry of a list.
    Index(usize),
}

impl OwnedStep {
    /// The value of `key`.
    pub(super) fn key(key: &str) -> Self {
        OwnedStep::Key(key.to_owned())
    }

    /// The same, for a while.
    pub(super) fn lent(&self) -> Step<'_> {
        match self {
            OwnedStep::Key(key) => Step::Key(key),
            OwnedStep::Index(index) => Step::Index(*index),
        }
    }
}

/// The number of a file, in the order read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId(pub(super) usize);

impl<'a> At<'a> {
    /// All files together.
    pub(super) const ROOT: At<'static> = At::of(Document::Whole);

    /// A document.
    pub(super) const fn of(document: Document) -> At<'static> {
        At { parent: None, step: Step::Root(document) }
    }

    /// Calls `then` with the place in the whole that `steps` lead to.
    pub(super) fn with<R>(steps: &[OwnedStep], then: impl FnOnce(&At<'_>) -> R) -> R {
        fn descend<R>(at: At<'_>, steps: &[OwnedStep], then: impl FnOnce(&At<'_>) -> R) -> R {
            match steps {
                [] => then(&at),
                [OwnedStep::Key(key), rest @ ..] => descend(at.key(key), rest, then),
                [OwnedStep::Index(index), rest @ ..] => descend(at.index(*index), rest, then),
            }
        }
        descend(At::ROOT, steps, then)
    }

    /// The document that this is a place in.
    pub(super) fn document(&self) -> Document {
        let mut here = self;
        while let Some(parent) = here.parent {
            here = parent;
        }
        match here.step {
            Step::Root(document) => document,
            Step::Key(_) | Step::Index(_) => Document::Whole,
        }
    }

    /// The value of `key` in the mapping that is here.
    pub(super) fn key(&'a self, key: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Key(key) }
    }

    /// Entry `index` of the list that is here.
    pub(super) fn index(&'a self, index: usize) -> At<'a> {
        At { parent: Some(self), step: Step::Index(index) }
    }

    /// The steps from the root to here, without the root.
    pub(super) fn steps(&self) -> Vec<Step<'a>> {
        let mut steps = Vec::new();
        let mut here = Some(self);
        while let Some(at) = here {
            if !matches!(at.step, Step::Root(_)) {
                steps.push(at.step);
            }
            here = at.parent;
        }
        steps.reverse();
        steps
    }
}

/// Steps as `a.b[2].c`; a key that is not a plain word is quoted: `filters."a b".wasm`.
pub(super) struct Spelled<'s, 'a>(pub(super) &'s [Step<'a>]);

impl fmt::Display for Spelled<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Root(_) => {}
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    let dot = if i == 0 { "" } else { "." };
                    if is_plain(key) { write!(f, "{dot}{key}")? } else { write!(f, "{dot}{key:?}")? }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Spelled(&self.steps()).fmt(f)
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
