//! How many lines of log a filter may write.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Lines that one filter may write on one worker in a second.
pub(super) const LINES_PER_SECOND: u32 = 200;
const WINDOW: Duration = Duration::from_secs(1);

/// The lines of one filter on one worker.
#[derive(Debug, Default)]
pub(super) struct LineLimit {
    since: Cell<Option<Instant>>,
    lines: Cell<u32>,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Written,
    LeftOut {
        /// The first one of this second.
        is_first: bool,
    },
}

impl LineLimit {
    /// Counts a line.
    pub(super) fn admit(&self, now: Instant) -> Line {
        if self.since.get().is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            self.since.set(Some(now));
            self.lines.set(0);
        }
        let before = self.lines.get();
        self.lines.set(before.saturating_add(1));
        match before < LINES_PER_SECOND {
            true => Line::Written,
            false => Line::LeftOut { is_first: before == LINES_PER_SECOND },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_no_more() {
        let (limit, start) = (LineLimit::default(), Instant::now());
        let lines = |at| (0..LINES_PER_SECOND + 2).map(|_| limit.admit(at)).collect::<Vec<_>>();
        for second in 0..3 {
            let lines = lines(start + WINDOW * second);
            let (written, left_out) = lines.split_at(LINES_PER_SECOND as usize);
            assert!(written.iter().all(|line| *line == Line::Written));
            assert_eq!(left_out, [Line::LeftOut { is_first: true }, Line::LeftOut { is_first: false }]);
        }
    }
}
