//! Errors of scripts in words.

use starlark::Error;
use tollgate_guest::abi::{self, Level};

use crate::limits::Exceeded;

/// A script's error.
pub(crate) struct Failure {
    /// One line: file, line, column, and what is wrong.
    pub(crate) reason: String,
    /// The reason with the traceback and the lines of source.
    pub(crate) whole: String,
}

impl Failure {
    /// The interpreter's error about a script in `file`; `exceeded` if it was the answer to a limit.
    pub(crate) fn new(file: &str, error: &Error, exceeded: Option<Exceeded>) -> Self {
        let said = error.without_diagnostic().to_string();
        let said = exceeded.map_or(said, |exceeded| exceeded.to_string());
        let said = said.strip_prefix("fail:").map_or(said.as_str(), str::trim_start);
        let frames = &error.call_stack().frames;
        let span = error.span().or_else(|| frames.iter().rev().find_map(|frame| frame.location.as_ref()));
        let reason = match span {
            Some(span) => {
                let at = span.resolve_span().begin;
                format!("{}:{}:{}: {said}", span.filename(), at.line + 1, at.column + 1)
            }
            None => format!("{file}: {said}"),
        };
        let whole = if error.has_diagnostic() { format!("{reason}\n{error}") } else { reason.clone() };
        Self { reason, whole }
    }

    /// What is wrong with a script's result, in words.
    pub(crate) fn of_result(file: &str, said: &str) -> Self {
        let reason = format!("{file}: {said}");
        Self { whole: reason.clone(), reason }
    }
}

/// A line of the log.
pub(crate) fn log(text: &str) {
    abi::log(Level::Error, text.trim_end().as_bytes());
}
