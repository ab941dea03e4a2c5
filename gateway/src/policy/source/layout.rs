//! What of the whole policy comes from which file.

use std::collections::HashMap;

use super::super::path::{Document, FileId, OwnedStep, Step};

/// What of the whole comes from where. The default: all from the first file.
#[derive(Default)]
pub(in super::super) struct Layout {
    /// By the key at the top; what is not here is in the first file.
    pub(in super::super) sections: HashMap<String, Origin>,
    /// Whether what is not written may come from `defaults`.
    pub(in super::super) has_defaults: bool,
    /// Filters that are adjusted, by their new names.
    pub(in super::super) adjusted: HashMap<String, Adjustment>,
}

/// Where an adjusted filter comes from.
pub(in super::super) struct Adjustment {
    /// The place of the settings in the whole.
    pub(in super::super) place: Vec<OwnedStep>,
    /// The filter that has them.
    pub(in super::super) base: String,
}

/// Where a section comes from.
pub(in super::super) enum Origin {
    /// From one file.
    One(FileId),
    /// A list: each file with the index of its first entry in the whole, rising.
    Lists(Vec<(usize, FileId)>),
    /// A mapping: the first file, and the file of each entry.
    Entries(FileId, HashMap<String, FileId>),
}

/// A file and the steps in it.
type Place<'a> = (FileId, Vec<Step<'a>>);

impl Layout {
    /// The places that may hold what `steps` lead to, the best first. Never empty.
    pub(super) fn places<'a>(&'a self, document: Document, steps: &[Step<'a>]) -> Vec<Place<'a>> {
        match document {
            Document::File(id) => vec![(id, steps.to_vec())],
            Document::Whole => {
                let default = self.default(steps).map(|steps| self.own(&steps));
                std::iter::once(self.own(steps)).chain(default).collect()
            }
            Document::Adjusted => self.adjusted(steps),
        }
    }

    /// Of an adjusted filter: what is adjusted, then the filter that it comes from, then the defaults.
    fn adjusted<'a>(&'a self, steps: &[Step<'a>]) -> Vec<Place<'a>> {
        let adjustment = match steps.first() {
            Some(Step::Key(name)) => self.adjusted.get(*name),
            _ => None,
        };
        let Some(Adjustment { place, base }) = adjustment else { return vec![self.own(steps)] };
        // What is adjusted leaves the filter's kind out.
        let adjusted = place.iter().map(OwnedStep::lent).chain(steps.iter().skip(2).copied());
        let own: Vec<_> =
            [Step::Key("filters"), Step::Key(base)].into_iter().chain(steps[1..].to_vec()).collect();
        let default = self.default(&own);
        let all = [Some(adjusted.collect()), Some(own), default];
        all.into_iter().flatten().map(|steps: Vec<Step<'a>>| self.own(&steps)).collect()
    }

    /// The steps to the default of what `steps` lead to.
    fn default<'a>(&self, steps: &[Step<'a>]) -> Option<Vec<Step<'a>>> {
        let [Step::Key(section @ ("routes" | "filters" | "upstreams")), _, inner @ ..] = steps else {
            return None;
        };
        let is_there = self.has_defaults && !inner.is_empty();
        let default = [Step::Key("defaults"), Step::Key(section)];
        is_there.then(|| default.into_iter().chain(inner.iter().copied()).collect())
    }

    /// Where it is written itself.
    fn own<'a>(&self, steps: &[Step<'a>]) -> Place<'a> {
        let mut steps = steps.to_vec();
        let origin = match steps.first() {
            Some(Step::Key(section)) => self.sections.get(*section),
            _ => None,
        };
        let id = match (origin, steps.get_mut(1)) {
            (None, _) => FileId(0),
            (Some(Origin::One(id)), _) => *id,
            (Some(Origin::Lists(lists)), Some(Step::Index(index))) => {
                let (start, id) = list_of(lists, *index);
                *index -= start;
                id
            }
            (Some(Origin::Lists(lists)), _) => list_of(lists, 0).1,
            (Some(Origin::Entries(first, names)), name) => match name {
                Some(Step::Key(name)) => names.get(*name).copied().unwrap_or(*first),
                _ => *first,
            },
        };
        (id, steps)
    }
}

/// The list that holds an entry of the whole, and where it starts there.
fn list_of(lists: &[(usize, FileId)], index: usize) -> (usize, FileId) {
    let behind = lists.partition_point(|(start, _)| *start <= index);
    lists.get(behind.saturating_sub(1)).copied().unwrap_or((0, FileId(0)))
}
