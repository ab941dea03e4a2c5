//! The files of a policy, and finding a place of the whole in them.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use super::super::diagnostics::Excerpt;
use super::super::path::{At, FileId, Spelled, Step};
use super::layout::Layout;
use super::{Part, Source, Span};

/// One file.
pub(in super::super) struct File<'t> {
    /// Its text.
    pub(in super::super) source: Source<'t>,
    /// What diagnostics call it.
    pub(in super::super) name: String,
    /// Where relative paths in it start.
    pub(in super::super) folder: PathBuf,
}

/// The files of a policy, in the order read. There is at least one.
pub(in super::super) struct Sources<'t> {
    list: Vec<File<'t>>,
    layout: OnceCell<Layout>,
}

/// A place in a file.
struct Located<'a> {
    id: FileId,
    steps: Vec<Step<'a>>,
}

impl<'t> Sources<'t> {
    /// The files, which are not put together yet: at least one.
    pub(in super::super) fn new(list: Vec<File<'t>>) -> Self {
        Sources { list, layout: OnceCell::new() }
    }

    /// Says what of the whole comes from where. To be called once; without it all is in the first file.
    pub(in super::super) fn arrange(&self, layout: Layout) {
        // A second layout would be of the same files.
        let _ = self.layout.set(layout);
    }

    /// Where relative paths start that are written at `at`.
    pub(in super::super) fn folder(&self, at: &At<'_>) -> &Path {
        &self.file(self.locate(at).id).folder
    }

    /// What diagnostics call a file.
    pub(in super::super) fn name(&self, id: FileId) -> &str {
        &self.file(id).name
    }

    /// The file and the span of `at`, or of the nearest thing around it if it is not written.
    pub(in super::super) fn span(&self, at: &At<'_>, part: Part) -> (FileId, Span) {
        let Located { id, steps } = self.locate(at);
        (id, self.file(id).source.span(&steps, part))
    }

    /// The path of `at` in its file.
    pub(in super::super) fn path(&self, at: &At<'_>) -> String {
        Spelled(&self.locate(at).steps).to_string()
    }

    /// Whether the scalar at `at` is written without quotes.
    pub(in super::super) fn is_plain(&self, at: &At<'_>) -> bool {
        let Located { id, steps } = self.locate(at);
        self.file(id).source.is_plain(&steps)
    }

    /// Whether `at` is inside a value that may be secret.
    pub(in super::super) fn is_secret(&self, at: &At<'_>) -> bool {
        let Located { id, steps } = self.locate(at);
        self.file(id).source.is_secret(&steps)
    }

    /// Keeps the value at `at` out of every excerpt.
    pub(in super::super) fn hide(&self, at: &At<'_>) {
        let Located { id, steps } = self.locate(at);
        self.file(id).source.hide(&steps);
    }

    /// The line of a span with its secrets masked, and how much to underline.
    pub(in super::super) fn excerpt(&self, id: FileId, span: Span) -> Option<Excerpt> {
        self.file(id).source.excerpt(span)
    }

    /// The first of the places that may hold `at` in which it is written; if in none, the first.
    fn locate<'a>(&'a self, at: &At<'a>) -> Located<'a> {
        let steps = at.steps();
        let Some(layout) = self.layout.get() else { return Located { id: at.document().file(), steps } };
        let mut places = layout.places(at.document(), &steps);
        let written = places.iter().position(|(id, steps)| self.file(*id).source.has(steps));
        let (id, steps) = places.swap_remove(written.unwrap_or(0));
        Located { id, steps }
    }

    /// The number comes from `arrange` or a place in a file, so that the file is there.
    fn file(&self, FileId(index): FileId) -> &File<'t> {
        self.list.get(index).unwrap_or(&self.list[0])
    }
}
