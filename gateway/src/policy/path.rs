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
    /// The document itself.
    Root,
    /// The value of a key.
    Key(&'a str),
    /// An entry of a list, counted from 0.
    Index(usize),
}

impl<'a> At<'a> {
    /// The document itself.
    pub(super) const ROOT: At<'static> = At { parent: None, step: Step::Root };

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
            if !matches!(at.step, Step::Root) {
                steps.push(at.step);
            }
            here = at.parent;
        }
        steps.reverse();
        steps
    }
}

impl fmt::Display for At<'_> {
    /// `a.b[2].c`; a key that is not a plain word is quoted: `filters."a b".wasm`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps().into_iter().enumerate() {
            match step {
                Step::Root => {}
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

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
