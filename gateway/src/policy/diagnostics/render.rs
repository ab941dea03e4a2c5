//! Diagnostics as text for a terminal or a log, without colour.
//!
//! ```text
//! error: routes[3].match.path: unknown key `prefx`
//!   --> demo.yaml:12:9
//!    |
//! 12 |         prefx: /api
//!    |         ^^^^^
//!    = expected: `exact`, `prefix` or `regex`
//!    = help: did you mean `prefix`?
//! ```

use std::fmt;

use super::{Diagnostic, Diagnostics, Excerpt, Position, Severity};

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        if self.omitted > 0 {
            writeln!(f, "\n{} more not shown", self.omitted)?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let colon = if self.path.is_empty() { "" } else { ": " };
        writeln!(f, "{severity}: {}{colon}{}", self.path, self.message)?;

        let width = self.position.map_or(0, |p| p.line.to_string().len());
        match self.position {
            None => writeln!(f, "{:width$}--> {}", "", self.file)?,
            Some(Position { line, column }) => {
                writeln!(f, "{:width$}--> {}:{line}:{column}", "", self.file)?;
            }
        }
        if let (Some(position), Some(excerpt)) = (self.position, &self.excerpt) {
            write_excerpt(f, width, position, excerpt)?;
        }
        let notes = [("expected", &self.expected), ("found", &self.found), ("help", &self.help)];
        for (label, text) in notes {
            if let Some(text) = text {
                writeln!(f, "{:width$} = {label}: {text}", "")?;
            }
        }
        if let Some(related) = &self.related {
            let Position { line, column } = related.position;
            let file = related.file.as_ref().map(|file| format!("{file}:")).unwrap_or_default();
            writeln!(f, "{:width$} = see {file}{line}:{column}: {}", "", related.message)?;
        }
        Ok(())
    }
}

/// The longest part of a line that is shown, in characters.
const SHOWN: usize = 120;

/// The line and the underline; of a long line, the part around the position.
fn write_excerpt(
    f: &mut fmt::Formatter<'_>,
    width: usize,
    Position { line, column }: Position,
    excerpt: &Excerpt,
) -> fmt::Result {
    let column = column as usize - 1;
    let start = column.saturating_sub(SHOWN / 2);
    let shown: String = excerpt.line.chars().skip(start).take(SHOWN).map(printable).collect();
    let underlined = excerpt.underlined.clamp(1, (SHOWN - (column - start)).max(1));
    // A tab stays a tab, so that the underline stands below what it means.
    let lead: String =
        shown.chars().take(column - start).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    writeln!(f, "{:width$} |", "")?;
    writeln!(f, "{line} | {}", shown.trim_end())?;
    writeln!(f, "{:width$} | {lead}{}", "", "^".repeat(underlined))
}

/// Control characters of the source must not reach the reader's terminal.
fn printable(c: char) -> char {
    if c.is_control() && c != '\t' { '\u{FFFD}' } else { c }
}
