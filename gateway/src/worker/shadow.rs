//! A policy in shadow, on one worker: it decides on copies of requests, and nothing it says takes effect.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tollgate_proxy_wasm::HostFunctions;

use super::state::Worker;
use crate::filter::wasm::{Environment, Guests};
use crate::generation::{Blueprint, BuildError, Generation, Retirements, Site};
use crate::policy::rollout::Share;
use crate::telemetry::shadow::ShadowLedger;

/// Requests that a policy in shadow may be busy with, on each worker; more it does not see.
const AT_ONCE_MAX: usize = 256;

/// A policy in shadow, as all workers see it. It shares nothing with the policy in force.
pub struct ShadowPlan {
    /// The policy; its limiters and metrics are its own.
    pub blueprint: Arc<Blueprint>,
    /// What its guests share with each other, and with no other.
    pub guests: Arc<Guests>,
    /// Who still holds it.
    pub retirements: Arc<Retirements>,
    /// What it would have done.
    pub ledger: Arc<ShadowLedger>,
    /// How many of the requests it sees.
    pub share: Share,
}

/// A policy in shadow on one worker.
pub struct Shadow {
    /// The policy at work.
    pub generation: Generation,
    plan: Arc<ShadowPlan>,
    /// Hundredths of a percent that have added up; each whole is a request that it sees.
    due: Cell<u32>,
    under_way: Cell<usize>,
}

/// A request that it is busy with.
pub struct Attention(Rc<Shadow>);

impl Shadow {
    pub(super) fn build(
        plan: &Arc<ShadowPlan>,
        functions: &Rc<HostFunctions<Environment>>,
        worker: usize,
    ) -> Result<Self, BuildError> {
        let site = Site {
            worker,
            functions: Rc::clone(functions),
            guests: Arc::clone(&plan.guests),
            retirements: Arc::clone(&plan.retirements),
        };
        let generation = Generation::build(Arc::clone(&plan.blueprint), None, &site)?;
        Ok(Self { generation, plan: Arc::clone(plan), due: Cell::new(0), under_way: Cell::new(0) })
    }

    /// What it would have done.
    pub fn ledger(&self) -> &Arc<ShadowLedger> {
        &self.plan.ledger
    }

    /// Whether it sees the next request.
    fn attend(self: &Rc<Self>) -> Option<Attention> {
        let due = self.due.get() + u32::from(self.plan.share.hundredths());
        let all = u32::from(Share::ALL.hundredths());
        self.due.set(due % all);
        if due < all {
            return None;
        }
        if self.under_way.get() >= AT_ONCE_MAX {
            self.plan.ledger.skip();
            return None;
        }
        self.under_way.set(self.under_way.get() + 1);
        Some(Attention(Rc::clone(self)))
    }
}

impl std::ops::Deref for Attention {
    type Target = Shadow;

    fn deref(&self) -> &Shadow {
        &self.0
    }
}

impl Drop for Attention {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

impl Worker {
    /// The policy in shadow, if there is one and it sees this request. Without one it costs one look at a flag.
    #[inline]
    pub fn shadow(&self) -> Option<Attention> {
        if !self.has_shadow.get() {
            return None;
        }
        self.shadow.borrow().as_ref()?.attend()
    }

    /// From now on this one is in shadow, or none.
    pub(super) fn set_shadow(&self, shadow: Option<Shadow>) {
        self.has_shadow.set(shadow.is_some());
        let old = self.shadow.replace(shadow.map(Rc::new));
        drop(old);
    }

    /// Looks after the one in shadow, and gives it. For the sweep.
    pub(super) fn sweep_shadow(&self) -> Option<Rc<Shadow>> {
        let shadow = self.shadow.borrow().clone()?;
        shadow.generation.upstreams.sweep();
        shadow.generation.hosts.sweep();
        shadow.generation.publish_guests();
        Some(shadow)
    }
}
