//! The order in which a request tries endpoints: one that it asks for, then in turn; those that lately
//! refused last.

use std::cell::Cell;

/// Connection attempts that one request may cost.
pub(super) const ATTEMPTS_MAX: usize = 8;

/// Whose turn it is.
#[derive(Default)]
pub(super) struct Turn(Cell<usize>);

/// The endpoints for one request, each at most once.
pub(super) struct Candidates {
    start: usize,
    preferred: Option<usize>,
    tried: Vec<usize>,
}

impl Turn {
    /// Candidates among `count` endpoints, from the one whose turn it is; `preferred` comes before it.
    pub(super) fn take(&self, count: usize, preferred: Option<usize>) -> Candidates {
        let start = self.0.get();
        self.0.set(if start + 1 < count { start + 1 } else { 0 });
        Candidates { start, preferred, tried: Vec::new() }
    }
}

impl Candidates {
    /// The next endpoint to try: the next one that is not paused, or, when only paused ones are
    /// left, the next of those, since a refused connection is no worse than none tried. `None`
    /// after all, or after eight.
    pub(super) fn next(&mut self, count: usize, is_paused: impl Fn(usize) -> bool) -> Option<usize> {
        if self.tried.len() >= ATTEMPTS_MAX {
            return None;
        }
        let order = || (self.start..count).chain(0..self.start.min(count));
        let preferred = self.preferred.filter(|index| *index < count);
        let untried = || preferred.into_iter().chain(order()).filter(|index| !self.tried.contains(index));
        untried().find(|&index| !is_paused(index)).or_else(|| untried().next())
    }

    /// The endpoint did not take the connection.
    pub(super) fn failed(&mut self, index: usize) {
        self.tried.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(turn: &Turn, count: usize, paused: &[usize]) -> Vec<usize> {
        all_from(turn.take(count, None), count, paused)
    }

    fn all_from(mut candidates: Candidates, count: usize, paused: &[usize]) -> Vec<usize> {
        let mut order = Vec::new();
        while let Some(index) = candidates.next(count, |index| paused.contains(&index)) {
            order.push(index);
            candidates.failed(index);
        }
        order
    }

    #[test]
    fn in_turn_and_paused_ones_last() {
        let turn = Turn::default();
        assert_eq!(all(&turn, 3, &[]), [0, 1, 2]);
        assert_eq!(all(&turn, 3, &[]), [1, 2, 0]);
        assert_eq!(all(&turn, 3, &[2]), [0, 1, 2]);
        assert_eq!(all(&turn, 3, &[0, 1]), [2, 0, 1]);
        assert_eq!(all(&turn, 3, &[0, 1, 2]), [1, 2, 0]);
        assert_eq!(all(&turn, 1, &[0]), [0]);
    }

    #[test]
    fn a_preferred_one_comes_first_unless_it_is_paused() {
        let turn = Turn::default();
        assert_eq!(all_from(turn.take(3, Some(2)), 3, &[]), [2, 0, 1]);
        assert_eq!(all_from(turn.take(3, Some(2)), 3, &[2]), [1, 0, 2]);
        assert_eq!(all_from(turn.take(3, Some(9)), 3, &[]), [2, 0, 1]);
    }

    #[test]
    fn attempts_are_limited() {
        assert_eq!(all(&Turn::default(), 100, &[]).len(), ATTEMPTS_MAX);
    }

    #[test]
    fn a_candidate_stays_until_it_failed() {
        let turn = Turn::default();
        let mut candidates = turn.take(2, None);
        assert_eq!(candidates.next(2, |_| false), Some(0));
        assert_eq!(candidates.next(2, |_| false), Some(0));
        candidates.failed(0);
        assert_eq!(candidates.next(2, |_| false), Some(1));
    }
}
