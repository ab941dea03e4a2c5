//! What is wrong with a policy, where, and how to mend it.
//!
//! [`Diagnostics`] shows itself to people as text with the line in question (`render`) and to
//! programs through serde. Values that may be secret never enter it: the parts of a line that hold
//! them are masked before it is stored.

mod render;

use serde::Serialize;

/// Findings about one policy, in the order of the text; the error of loading, or its warnings.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Diagnostics {
    /// The findings, at most [`Diagnostics::MAX`].
    pub list: Vec<Diagnostic>,
    /// How many more there were.
    pub omitted: usize,
}

/// One finding.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnostic {
    /// Whether it keeps the policy from being used.
    pub severity: Severity,
    /// The file of the policy that it is in.
    pub file: String,
    /// Where it is. `None` if the file could not be read at all.
    #[serde(flatten)]
    pub position: Option<Position>,
    /// Where it is in the document, such as `routes[3].match.path.prefix`; empty for the whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would have been right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was there instead; never a value that may be secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Another place that has to do with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related: Option<Related>,
    /// The line, for the text form.
    #[serde(skip)]
    pub(super) excerpt: Option<Excerpt>,
}

/// Another place that a finding has to do with.
#[derive(Debug, Clone, Serialize)]
pub struct Related {
    /// In which file, if it is another than that of the finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where.
    #[serde(flatten)]
    pub position: Position,
    /// What is there.
    pub message: String,
}

/// A place in the text. Both count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The character in the line.
    pub column: u32,
}

/// Whether a finding keeps the policy from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but is hardly what was meant.
    Warning,
}

/// A line of the source, secrets masked, and how many characters to underline from the position on.
#[derive(Debug, Clone)]
pub(super) struct Excerpt {
    pub(super) line: String,
    pub(super) underlined: usize,
}

impl Diagnostic {
    /// An error without a message about a filter that is written nowhere.
    pub(super) fn about_filter(name: &str) -> Self {
        Self {
            severity: Severity::Error,
            file: String::new(),
            position: None,
            path: format!("filters.{name}"),
            message: String::new(),
            expected: None,
            found: None,
            help: None,
            related: None,
            excerpt: None,
        }
    }
}

impl Diagnostics {
    /// Findings kept; more are only counted.
    pub const MAX: usize = 200;

    /// One error about a file as a whole, such as that it cannot be read.
    pub fn about_file(file: &std::path::Path, message: String, help: &str) -> Self {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            file: file.display().to_string(),
            position: None,
            path: String::new(),
            message,
            expected: None,
            found: None,
            help: Some(help.to_owned()),
            related: None,
            excerpt: None,
        };
        Diagnostics { list: vec![diagnostic], omitted: 0 }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether any finding keeps the policy from being used.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }
}

impl std::error::Error for Diagnostics {}
