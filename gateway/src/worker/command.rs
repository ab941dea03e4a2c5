//! What the control side asks of a worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::generation::{Blueprint, BuildError};

/// One request of the control side. A dropped answer means that the worker is gone.
pub(super) enum Command {
    /// Build a generation beside the current one.
    Prepare { blueprint: Arc<Blueprint>, done: oneshot::Sender<Result<(), BuildError>> },
    /// Point to the generation prepared last, if it has this number.
    Commit { number: u64, done: oneshot::Sender<Instant> },
    /// Forget what was prepared.
    Discard,
    /// Cut connections whose request began under this generation or one before.
    Cut { through: u64 },
    /// Panic.
    #[cfg(test)]
    Panic,
    /// Stop accepting, finish what runs within the limit, end.
    Drain { limit: Duration },
}
