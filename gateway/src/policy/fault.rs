//! What becomes of exchanges when their filter fails, and of the filter.

use std::num::NonZeroU32;
use std::time::Duration;

/// What becomes of a request when a filter fails, and whether its verdicts take effect otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnFailure {
    /// It is refused with 503.
    #[default]
    Closed,
    /// It goes on without the filter.
    Open,
    /// It goes on, and so it does whatever the filter says: that is only counted and logged.
    Shadow,
}

/// When a filter that keeps failing is kept from running, and for how long. Of one worker: each has its
/// own circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Circuit {
    /// How many failures, not made up for by as many exchanges that went well, open it. A spent budget
    /// counts as ten: it has held up the whole worker. Default 32.
    pub failures: NonZeroU32,
    /// How long it stays open at first. Then one exchange is let through: if it goes well the circuit
    /// closes, else it stays open twice as long. Default 100 ms.
    pub rest: Duration,
    /// How long it stays open at most. Not shorter than `rest`. Default 10 s.
    pub longest_rest: Duration,
}

impl Default for Circuit {
    fn default() -> Self {
        const FAILURES: NonZeroU32 = NonZeroU32::new(32).unwrap();
        Self { failures: FAILURES, rest: Duration::from_millis(100), longest_rest: Duration::from_secs(10) }
    }
}

/// What others rely on a filter for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It tells who may pass: it must not be passed when it fails.
    Authentication,
}
