//! When memory that connections have left is given back to the system.
//!
//! The allocator keeps it for those to come, which is right as long as they come. When far fewer connections are
//! served than there were, and it does not go on so, the time has come: a wave that is parked or closed is
//! followed by one trim, and a load that is steady by none.

/// A fall of fewer connections, some MiB, is not worth the time.
const LEAST: usize = 256;
/// Nor is one of a smaller part of them: that many come and go.
const PART: usize = 8;

/// How the number of connections that are served falls.
#[derive(Debug, Default)]
pub(super) struct Ebb {
    /// The most since the last trim.
    high: usize,
    /// At the last look.
    before: usize,
}

impl Ebb {
    /// Looks at the number of connections that are served; whether memory is to be given back now.
    pub(super) fn is_out(&mut self, served: usize) -> bool {
        self.high = self.high.max(served);
        let fallen = self.high - served;
        let falls = self.before.saturating_sub(served);
        self.before = served;
        let is_out = fallen >= LEAST.max(self.high / PART) && falls <= fallen / PART;
        if is_out {
            self.high = served;
        }
        is_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(served: &[usize]) -> Vec<bool> {
        let mut ebb = Ebb::default();
        served.iter().map(|served| ebb.is_out(*served)).collect()
    }

    #[test]
    fn a_wave_that_has_gone_is_told_once() {
        assert_eq!(
            looks(&[0, 4_000, 10_000, 6_000, 100, 0, 0]),
            [false, false, false, false, false, true, false]
        );
    }

    #[test]
    fn few_connections_or_a_small_part_are_no_wave() {
        assert_eq!(looks(&[255, 0, 0]), [false; 3]);
        assert_eq!(looks(&[10_000, 9_000, 9_000, 10_000, 9_000, 9_000]), [false; 6]);
    }

    /// A fall without an end is told when it is slow against what has fallen.
    #[test]
    fn a_slow_fall_is_told_now_and_then() {
        let falling: Vec<usize> = (0..40).map(|look| 4_000 - look * 100).collect();
        assert_eq!(looks(&falling).into_iter().filter(|is_out| *is_out).count(), 4);
    }
}
