//! Which policy a gateway starts with: what its files say; else, if it was told to go back to an earlier one
//! and the files still say what they said then, that one; else, if they cannot be served, one that was kept.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::history::{History, Pin, Record};
use crate::policy::remote::Fetch;
use crate::policy::{self, Diagnostics, Loaded};
use crate::reload::{self, Origin};

pub(super) use crate::reload::First;

/// The first policy. Blocks on the file system, and on sources of modules that are not kept yet.
///
/// # Errors
/// What is wrong with the policy's files, if no kept policy stands in for them.
pub(super) fn choose(
    source: &Path,
    fetch: &Arc<dyn Fetch>,
    history: &Arc<History>,
    is_strict: bool,
) -> Result<First, Diagnostics> {
    let begun = Instant::now();
    match policy::load(source, fetch) {
        Ok(loaded) => {
            let pin = history.pin().filter(|pin| pin.files.as_deref() == Some(&digest(&loaded)));
            let pinned = pin.and_then(|pin| pinned(history, pin));
            Ok(pinned.unwrap_or_else(|| First { loaded, parse: begun.elapsed(), origin: Origin::Files }))
        }
        Err(diagnostics) if is_strict => Err(diagnostics),
        Err(diagnostics) => {
            let other = StandIns::new(history, &reload::summary(&diagnostics)).next();
            if other.is_some() {
                tracing::error!(source = %source.display(), %diagnostics, "policy refused");
            }
            other.ok_or(diagnostics)
        }
    }
}

/// The policy that the gateway was told to go back to.
fn pinned(history: &Arc<History>, pin: Pin) -> Option<First> {
    let record = history.find(Some(pin.to)).ok();
    if record.is_none() {
        tracing::warn!(to = pin.to, "the rollback cannot be held: its policy is not kept");
    }
    revived(history, record?, |of| Origin::Pinned { of, pin })
}

/// Kept policies that may stand in for files that cannot be served, the best first.
pub(super) struct StandIns {
    history: Arc<History>,
    left: std::vec::IntoIter<Arc<Record>>,
    reason: String,
}

impl StandIns {
    /// For files of which `reason` is wrong, in one line.
    pub(super) fn new(history: &Arc<History>, reason: &str) -> Self {
        let left = history.last_good().into_iter();
        Self { history: Arc::clone(history), left, reason: reason.to_owned() }
    }
}

impl Iterator for StandIns {
    type Item = First;

    fn next(&mut self) -> Option<First> {
        let Self { history, left, reason } = self;
        left.find_map(|record| revived(history, record, |of| Origin::Kept { of, reason: reason.clone() }))
    }
}

/// A kept policy; logs why if there is none.
fn revived(history: &History, record: Arc<Record>, origin: impl FnOnce(u64) -> Origin) -> Option<First> {
    let (begun, of) = (Instant::now(), record.generation);
    let revived = history.revive(record);
    let revived = revived
        .inspect_err(|error| tracing::warn!(generation = of, %error, "a kept policy cannot be read"))
        .ok()?;
    let loaded = policy::load_kept(&revived.record.source, &revived.files);
    let loaded = loaded
        .inspect_err(|diagnostics| {
            let reason = reload::summary(diagnostics);
            tracing::warn!(generation = of, reason, "a kept policy cannot be used any more");
        })
        .ok()?;
    Some(First { loaded, parse: begun.elapsed(), origin: origin(of) })
}

fn digest(loaded: &Loaded) -> String {
    loaded.digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
