//! Collects what is wrong, so that one run tells all of it.

use std::cell::RefCell;
use std::path::Path;

use super::diagnostics::{Diagnostic, Diagnostics, Position, Related, Severity};
use super::path::{At, FileId, OwnedStep};
use super::source::{File, Layout, Part, ScanFailure, Source, Sources, Span};
use super::variables::{self, scrubbed};

/// Values of variables from this length on are not told anywhere.
const LONG_VALUE: usize = 6;

/// Findings so far. Shared by reference: decoder and resolver report from anywhere.
pub(super) struct Report<'s> {
    files: Sources<'s>,
    findings: RefCell<Findings>,
    /// Values that variables are part of.
    variables: RefCell<Vec<FromVariables>>,
}

#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    omitted: usize,
    errors: usize,
}

/// A value that variables are part of, and where it stands.
struct FromVariables {
    file: FileId,
    start: Position,
    whole: variables::Part,
    parts: Vec<variables::Part>,
}

/// A finding whose line is not cut out yet: what is secret is known only at the end.
struct Finding {
    severity: Severity,
    path: String,
    file: FileId,
    span: Span,
    problem: Problem,
}

/// What is wrong in one place.
pub(super) struct Problem {
    message: String,
    expected: Option<String>,
    found: Option<String>,
    help: Option<String>,
    related: Option<(FileId, Related)>,
    part: Part,
}

impl<'s> Report<'s> {
    /// For one file, which diagnostics call `file`; relative paths in it start at its folder.
    pub(super) fn new(source: Source<'s>, file: &Path) -> Self {
        let folder = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
        let file = File { source, name: file.display().to_string(), folder };
        Self::of(Sources::new(vec![file]))
    }

    /// For several files.
    pub(super) fn of(files: Sources<'s>) -> Self {
        Report { files, findings: RefCell::default(), variables: RefCell::default() }
    }

    /// Says what of the whole comes from which file.
    pub(super) fn arrange(&self, layout: Layout) {
        self.files.arrange(layout);
    }

    /// Where relative paths start that are written at `at`.
    pub(super) fn folder(&self, at: &At<'_>) -> &Path {
        self.files.folder(at)
    }

    /// Something that keeps the policy from being used.
    pub(super) fn error(&self, at: &At<'_>, problem: Problem) {
        self.add(Severity::Error, at, problem);
    }

    /// The same, at steps of the whole.
    pub(super) fn error_at(&self, steps: &[OwnedStep], problem: Problem) {
        At::with(steps, |at| self.error(at, problem));
    }

    /// Whether the scalar at `at` is written without quotes.
    pub(super) fn is_plain(&self, at: &At<'_>) -> bool {
        self.files.is_plain(at)
    }

    /// That the value at `at` is `whole`, and made of these variables: no finding tells what they are.
    pub(super) fn came_from_variables(
        &self,
        at: &At<'_>,
        whole: variables::Part,
        parts: Vec<variables::Part>,
    ) {
        let (file, span) = self.files.span(at, Part::Value);
        self.variables.borrow_mut().push(FromVariables { file, start: span.start, whole, parts });
    }

    /// Whether variables are part of the value at `at`.
    pub(super) fn is_from_variables(&self, at: &At<'_>) -> bool {
        let (file, span) = self.files.span(at, Part::Value);
        self.variables.borrow().iter().any(|known| (known.file, known.start) == (file, span.start))
    }

    /// Whether there are any variables.
    pub(super) fn has_variables(&self) -> bool {
        !self.variables.borrow().is_empty()
    }

    /// All variables.
    pub(super) fn variables(&self) -> Vec<variables::Part> {
        self.variables.borrow().iter().flat_map(|value| value.parts.clone()).collect()
    }

    /// Something that is hardly what was meant.
    pub(super) fn warn(&self, at: &At<'_>, problem: Problem) {
        self.add(Severity::Warning, at, problem);
    }

    /// That the text of a file is no document at all.
    pub(super) fn unreadable(&self, file: FileId, failure: ScanFailure) {
        let mut problem = Problem::new(failure.message);
        problem.help = failure.help.map(str::to_owned);
        problem.related = failure.related.map(|(position, message)| {
            let related = Related { file: None, position, message: message.to_owned() };
            (file, related)
        });
        let path = String::new();
        self.push(Finding { severity: Severity::Error, path, file, span: failure.span, problem });
    }

    /// A pointer to another place, for [`Problem::see`].
    pub(super) fn place(&self, at: &At<'_>, message: &str) -> (FileId, Related) {
        let (file, span) = self.files.span(at, Part::Key);
        (file, Related { file: None, position: span.start, message: message.to_owned() })
    }

    /// Where `at` stands in its file.
    pub(super) fn position(&self, at: &At<'_>) -> Position {
        self.files.span(at, Part::Key).1.start
    }

    /// An error without a message about the key at `at`, for what is found out later.
    pub(super) fn about(&self, at: &At<'_>) -> Diagnostic {
        let problem = Problem::new("").on_key();
        let (file, span) = self.files.span(at, problem.part);
        let finding = Finding { severity: Severity::Error, path: self.files.path(at), file, span, problem };
        finding.into_diagnostic(&self.files)
    }

    /// Keeps the value at `at` out of every excerpt.
    pub(super) fn hide(&self, at: &At<'_>) {
        self.files.hide(at);
    }

    /// Whether anything so far keeps the policy from being used.
    pub(super) fn has_errors(&self) -> bool {
        self.findings.borrow().errors > 0
    }

    /// Whether further findings are only counted, and need no costly help.
    pub(super) fn is_full(&self) -> bool {
        self.findings.borrow().list.len() >= Diagnostics::MAX
    }

    /// All findings, by file and in the order of its text.
    pub(super) fn finish(self) -> Diagnostics {
        let Findings { mut list, omitted, .. } = self.findings.into_inner();
        let variables = self.variables.into_inner();
        if !variables.is_empty() {
            list.iter_mut().for_each(|finding| finding.tell_as_written(&variables));
        }
        list.sort_by_key(|finding| (finding.file, finding.span.start));
        let files = self.files;
        let list = list.into_iter().map(|finding| finding.into_diagnostic(&files)).collect();
        Diagnostics { list, omitted }
    }

    fn add(&self, severity: Severity, at: &At<'_>, mut problem: Problem) {
        if self.files.is_secret(at) {
            problem.found = None;
        }
        let (file, span) = self.files.span(at, problem.part);
        self.push(Finding { severity, path: self.files.path(at), file, span, problem });
    }

    /// An error displaces a warning once the list is full.
    fn push(&self, finding: Finding) {
        let mut findings = self.findings.borrow_mut();
        let error = finding.severity == Severity::Error;
        findings.errors += usize::from(error);
        // What several share, such as defaults, is told once.
        let is_told = |told: &Finding| {
            (told.file, told.span.start, &told.path, &told.problem.message)
                == (finding.file, finding.span.start, &finding.path, &finding.problem.message)
        };
        if findings.list.iter().any(is_told) {
            return;
        }
        if findings.list.len() < Diagnostics::MAX {
            findings.list.push(finding);
            return;
        }
        findings.omitted += 1;
        if error && let Some(warning) = findings.list.iter_mut().find(|f| f.severity == Severity::Warning) {
            *warning = finding;
        }
    }
}

impl Finding {
    /// Tells variables as they are written: long ones wherever they are, the short where they belong. What
    /// was worked out from the value, such as a near miss, is not told.
    fn tell_as_written(&mut self, variables: &[FromVariables]) {
        let is_here = |value: &&FromVariables| (value.file, value.start) == (self.file, self.span.start);
        let here = variables.iter().find(is_here);
        let all: Vec<_> = variables.iter().flat_map(|value| value.parts.clone()).collect();
        let Problem { message, expected, found, help, .. } = &mut self.problem;
        if here.is_some() {
            *help = None;
        }
        for text in [Some(message), expected.as_mut(), found.as_mut(), help.as_mut()].into_iter().flatten() {
            let mut told = std::mem::take(text);
            if let Some(here) = here {
                told = told.replace(&quoted(&here.whole.value), &quoted(&here.whole.written));
                told = scrubbed(told, &here.parts, 1, |part| part.written.clone());
            }
            *text = scrubbed(told, &all, LONG_VALUE, |part| part.written.clone());
        }
    }

    fn into_diagnostic(self, files: &Sources<'_>) -> Diagnostic {
        let Problem { message, expected, found, help, related, .. } = self.problem;
        Diagnostic {
            severity: self.severity,
            file: files.name(self.file).to_owned(),
            position: Some(self.span.start),
            path: self.path,
            message,
            expected,
            found,
            help,
            related: related.map(|(file, related)| Related {
                file: (file != self.file).then(|| files.name(file).to_owned()),
                ..related
            }),
            excerpt: files.excerpt(self.file, self.span),
        }
    }
}

impl Problem {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Problem {
            message: message.into(),
            expected: None,
            found: None,
            help: None,
            related: None,
            part: Part::Value,
        }
    }

    /// What would have been right.
    pub(super) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// What was there, in words that are fit for a terminal; use [`quoted`] for text.
    pub(super) fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// How to mend it.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// A near miss, if there is one.
    pub(super) fn did_you_mean(self, near: Option<&str>) -> Self {
        match near {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    /// Another place that has to do with it.
    pub(super) fn see(mut self, related: (FileId, Related)) -> Self {
        self.related = Some(related);
        self
    }

    /// It is about the key, not its value.
    pub(super) fn on_key(mut self) -> Self {
        self.part = Part::Key;
        self
    }
}

/// Text from the document in backquotes, shortened, and without control characters.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown = String::from("`");
    for (index, c) in text.chars().enumerate() {
        match c {
            _ if index == SHOWN => {
                shown.push('…');
                break;
            }
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown.push('`');
    shown
}
