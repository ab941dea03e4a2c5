//! What the control side asks of a worker.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::candidate::Beside;
use super::shadow::ShadowPlan;
use crate::generation::{Blueprint, BuildError, Trial};

/// One request of the control side. A dropped answer means that the worker is gone.
pub(super) enum Command {
    /// Build a generation beside another.
    Prepare { blueprint: Arc<Blueprint>, beside: Beside, done: oneshot::Sender<Result<(), BuildError>> },
    /// Point to the generation prepared last, if it has this number.
    Commit { number: u64, done: oneshot::Sender<Instant> },
    /// Put the generation prepared last on trial, if it has this number; another one's trial ends.
    TryOut { number: u64, trial: Arc<Trial>, done: oneshot::Sender<Instant> },
    /// Point to the generation on trial, if it has this number.
    Promote { number: u64, done: oneshot::Sender<Instant> },
    /// End the trial of this generation.
    Withdraw { number: u64, done: oneshot::Sender<Instant> },
    /// Build a policy in shadow, in the place of the one there is; none: end that.
    Shadow { plan: Option<Arc<ShadowPlan>>, done: oneshot::Sender<Result<(), BuildError>> },
    /// Forget what was prepared.
    Discard,
    /// Cut connections whose request began under this generation or one before, unless it is in force or
    /// on trial.
    Cut { through: u64 },
    /// Serve HTTP on a connection that was accepted elsewhere, from this peer.
    Adopt { stream: TcpStream, peer: SocketAddr },
    /// Panic.
    #[cfg(test)]
    Panic,
    /// Stop accepting, finish what runs within the limit, end.
    Drain { limit: Duration },
}
