//! What policies in shadow would have done, over all of them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::encode::Page;
use crate::telemetry::shadow::{Finding, ShadowLedger};

/// The counts of the policy in shadow, and of those before it.
#[derive(Debug, Default)]
pub(super) struct PolicyShadows(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    before: [u64; Finding::ALL.len()],
    now: Arc<ShadowLedger>,
}

impl Counts {
    fn sum(&self, finding: Finding) -> u64 {
        self.before[finding as usize] + self.now.counted(finding)
    }
}

impl PolicyShadows {
    /// Another policy is in shadow; what the one before it still finds is not counted.
    pub(super) fn replace(&self, ledger: &Arc<ShadowLedger>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts = Counts { before: Finding::ALL.map(|finding| counts.sum(finding)), now: Arc::clone(ledger) };
    }
}

/// Writes the family of policies in shadow.
pub(super) fn encode(page: &mut Page<'_>, shadows: &PolicyShadows) -> fmt::Result {
    let sums = {
        let counts = shadows.0.lock().unwrap_or_else(PoisonError::into_inner);
        Finding::ALL.map(|finding| (finding, counts.sum(finding)))
    };
    page.counters(
        "policy_shadow",
        "Requests that a policy in shadow decided on, by what was found",
        |family| {
            sums.into_iter()
                .try_for_each(|(finding, count)| family.add(&[("finding", finding.as_str())], count))
        },
    )
}
