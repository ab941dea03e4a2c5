//! Collects what is wrong, so that one run tells all of it.

use std::cell::RefCell;
use std::path::Path;

use super::diagnostics::{Diagnostic, Diagnostics, Related, Severity};
use super::path::At;
use super::source::{Part, ScanFailure, Source, Span};

/// Findings so far. Shared by reference: decoder and resolver report from anywhere.
pub(super) struct Report<'s> {
    source: Source<'s>,
    file: String,
    findings: RefCell<Findings>,
}

#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    omitted: usize,
    errors: usize,
}

/// A finding whose line is not cut out yet: what is secret is known only at the end.
struct Finding {
    severity: Severity,
    path: String,
    span: Span,
    problem: Problem,
}

/// What is wrong in one place.
pub(super) struct Problem {
    message: String,
    expected: Option<String>,
    found: Option<String>,
    help: Option<String>,
    related: Option<Related>,
    part: Part,
}

impl<'s> Report<'s> {
    pub(super) fn new(source: Source<'s>, file: &Path) -> Self {
        Report { source, file: file.display().to_string(), findings: RefCell::default() }
    }

    /// Something that keeps the policy from being used.
    pub(super) fn error(&self, at: &At<'_>, problem: Problem) {
        self.add(Severity::Error, at, problem);
    }

    /// Something that is hardly what was meant.
    pub(super) fn warn(&self, at: &At<'_>, problem: Problem) {
        self.add(Severity::Warning, at, problem);
    }

    /// That the text is no document at all.
    pub(super) fn unreadable(&self, failure: ScanFailure) {
        let mut problem = Problem::new(failure.message);
        problem.help = failure.help.map(str::to_owned);
        problem.related =
            failure.related.map(|(position, message)| Related { position, message: message.to_owned() });
        self.push(Finding { severity: Severity::Error, path: String::new(), span: failure.span, problem });
    }

    /// A pointer to another place, for [`Problem::see`].
    pub(super) fn place(&self, at: &At<'_>, message: &str) -> Related {
        Related { position: self.source.span(at, Part::Key).start, message: message.to_owned() }
    }

    /// Keeps the value at `at` out of every excerpt.
    pub(super) fn hide(&self, at: &At<'_>) {
        self.source.hide(at);
    }

    /// Whether anything so far keeps the policy from being used.
    pub(super) fn has_errors(&self) -> bool {
        self.findings.borrow().errors > 0
    }

    /// Whether further findings are only counted, and need no costly help.
    pub(super) fn is_full(&self) -> bool {
        self.findings.borrow().list.len() >= Diagnostics::MAX
    }

    /// All findings in the order of the text.
    pub(super) fn finish(self) -> Diagnostics {
        let Findings { mut list, omitted, .. } = self.findings.into_inner();
        list.sort_by_key(|finding| finding.span.start);
        let source = self.source;
        let file = self.file;
        let list = list.into_iter().map(|finding| finding.into_diagnostic(&source, &file)).collect();
        Diagnostics { list, omitted }
    }

    fn add(&self, severity: Severity, at: &At<'_>, mut problem: Problem) {
        if self.source.is_secret(at) {
            problem.found = None;
        }
        let span = self.source.span(at, problem.part);
        self.push(Finding { severity, path: at.to_string(), span, problem });
    }

    /// An error displaces a warning once the list is full.
    fn push(&self, finding: Finding) {
        let mut findings = self.findings.borrow_mut();
        let error = finding.severity == Severity::Error;
        findings.errors += usize::from(error);
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
    fn into_diagnostic(self, source: &Source<'_>, file: &str) -> Diagnostic {
        let Problem { message, expected, found, help, related, .. } = self.problem;
        Diagnostic {
            severity: self.severity,
            file: file.to_owned(),
            position: Some(self.span.start),
            path: self.path,
            message,
            expected,
            found,
            help,
            related,
            excerpt: source.excerpt(self.span),
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
    pub(super) fn see(mut self, related: Related) -> Self {
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
