//! Colour, on a terminal only.

use std::io::IsTerminal;

/// How text on standard output looks.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Style {
    coloured: bool,
}

impl Style {
    /// Coloured on a terminal, and not if `NO_COLOR` is set (no-color.org).
    pub(in crate::cli) fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { coloured: wanted && std::io::stdout().is_terminal() }
    }

    pub(in crate::cli) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(in crate::cli) fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(in crate::cli) fn title(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(in crate::cli) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Text from elsewhere, fit for a terminal.
pub(in crate::cli) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{FFFD}' } else { c }).collect()
}
