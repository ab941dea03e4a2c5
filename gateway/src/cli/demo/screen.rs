//! How the tour looks.

use std::io::IsTerminal;
use std::time::Duration;

use http::Method;

use super::client::Reply;

/// Lines of a body that are shown.
const BODY_LINES: usize = 14;

/// Standard output, and what failed so far.
#[derive(Debug)]
pub(super) struct Screen {
    colours: bool,
    steps: usize,
    failures: usize,
}

/// What a piece of text is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    Title,
    Good,
    Bad,
    Faint,
}

impl Screen {
    /// Coloured only on a terminal, and not if `NO_COLOR` is set.
    pub(super) fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colours: wanted && std::io::stdout().is_terminal(), steps: 0, failures: 0 }
    }

    pub(super) fn say(&self, text: &str) {
        outln!("{text}");
    }

    /// Begins a step.
    pub(super) fn step(&mut self, title: &str) {
        self.steps += 1;
        outln!("\n{}", self.styled(Style::Title, &format!("{}. {title}", self.steps)));
    }

    /// A request and its answer: the headers of `shown`, and the body.
    pub(super) fn exchange(&self, method: &Method, path: &str, reply: &Reply, shown: &[&str]) {
        outln!("  > {method} {path}");
        outln!("  {}", self.styled(Style::Faint, &format!("< {}", reply.status)));
        for name in shown {
            if let Some(value) = reply.header(name) {
                outln!("  {}", self.styled(Style::Faint, &format!("< {name}: {value}")));
            }
        }
        self.quote(&reply.text());
    }

    /// Text from elsewhere, cut to some lines.
    pub(super) fn quote(&self, text: &str) {
        for line in cut(text, BODY_LINES) {
            outln!("  {}", self.styled(Style::Faint, &format!("| {line}")));
        }
    }

    /// Whether something is as it should be.
    pub(super) fn expect(&mut self, holds: bool, what: &str) {
        if holds {
            outln!("  {} {what}", self.styled(Style::Good, "ok"));
        } else {
            self.failures += 1;
            outln!("  {} expected: {what}", self.styled(Style::Bad, "FAILED"));
        }
    }

    pub(super) fn failures(&self) -> usize {
        self.failures
    }

    pub(super) fn sum_up(&self) {
        let text = match self.failures {
            0 => self.styled(Style::Good, &format!("All {} steps did what they should.", self.steps)),
            1 => self.styled(Style::Bad, "One expectation did not hold."),
            failures => self.styled(Style::Bad, &format!("{failures} expectations did not hold.")),
        };
        outln!("\n{text}");
    }

    pub(super) fn styled(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Title => "1",
            Style::Good => "32",
            Style::Bad => "1;31",
            Style::Faint => "2",
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The first lines, and how many more there are. Without control characters: the text may be anyone's.
fn cut(text: &str, most: usize) -> Vec<String> {
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).collect();
    let mut lines: Vec<String> = text.lines().take(most).map(clean).collect();
    let more = text.lines().count().saturating_sub(most);
    if more > 0 {
        lines.push(format!("... {more} more lines"));
    }
    lines
}

/// As people read it: `1.4 ms`, `2.3 s`.
pub(super) fn readable(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    if ms < 1000.0 { format!("{ms:.1} ms") } else { format!("{:.1} s", ms / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_and_cleaned() {
        assert_eq!(cut("a\nb\x1b[31m\nc", 2), ["a", "b[31m", "... 1 more lines"]);
        assert_eq!(cut("a\nb\n", 2), ["a", "b"]);
    }

    #[test]
    fn durations_are_readable() {
        assert_eq!(readable(Duration::from_micros(1440)), "1.4 ms");
        assert_eq!(readable(Duration::from_millis(2340)), "2.3 s");
    }

    #[test]
    fn colours_are_left_out_without_a_terminal() {
        let screen = |colours| Screen { colours, steps: 0, failures: 0 };
        assert_eq!(screen(false).styled(Style::Good, "ok"), "ok");
        assert_eq!(screen(true).styled(Style::Good, "ok"), "\x1b[32mok\x1b[0m");
    }

    #[test]
    fn what_does_not_hold_is_counted() {
        let mut screen = Screen { colours: false, steps: 0, failures: 0 };
        screen.expect(true, "one is one");
        screen.expect(false, "one is two");
        assert_eq!(screen.failures(), 1);
    }
}
