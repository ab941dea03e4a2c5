//! A policy on trial, on one worker: beside the one in force, and serving a share of its requests.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderMap;

use super::state::Worker;
use crate::generation::{Generation, Trial};
use crate::telemetry::metrics::{Ending, RolloutHandle, RolloutSide};

/// A policy on trial.
pub(super) struct Candidate {
    pub(super) generation: Rc<Generation>,
    seat: Rc<Seat>,
}

/// What a request needs of a trial; it keeps no generation alive.
struct Seat {
    trial: Arc<Trial>,
    cells: RolloutHandle,
}

/// A request in a trial, whichever policy serves it.
pub struct OnTrial {
    seat: Rc<Seat>,
    side: RolloutSide,
}

/// Who serves a request in a trial.
pub struct Assigned {
    /// The policy.
    pub generation: Rc<Generation>,
    /// Where it is counted.
    pub on_trial: OnTrial,
}

/// What a generation is built beside: what it may share with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// The generation in force.
    Current,
    /// The one on trial, if there is one.
    Candidate,
}

impl Candidate {
    pub(super) fn new(generation: Rc<Generation>, trial: Arc<Trial>, worker: usize) -> Self {
        let cells = trial.cells(worker);
        Self { generation, seat: Rc::new(Seat { trial, cells }) }
    }
}

impl OnTrial {
    /// The request is over.
    pub fn count(&self, ending: &Ending) {
        self.seat.cells.count(self.side, ending);
    }
}

impl Worker {
    /// Who serves a request, if a policy is on trial. `client` and `headers` as the policy in force sees
    /// them. Read once per request; without a trial it costs one look at a flag.
    #[inline]
    pub fn assign(&self, client: IpAddr, headers: &HeaderMap) -> Option<Assigned> {
        if !self.has_candidate.get() {
            return None;
        }
        self.assign_on_trial(client, headers)
    }

    fn assign_on_trial(&self, client: IpAddr, headers: &HeaderMap) -> Option<Assigned> {
        let candidate = self.candidate.borrow();
        let Candidate { generation, seat } = candidate.as_ref()?;
        let side = seat.trial.side(client, headers);
        let generation = match side {
            RolloutSide::Candidate => Rc::clone(generation),
            RolloutSide::Base => self.generation(),
        };
        Some(Assigned { generation, on_trial: OnTrial { seat: Rc::clone(seat), side } })
    }

    /// The generation in force and the one on trial.
    pub(super) fn generations(&self) -> impl Iterator<Item = Rc<Generation>> {
        let candidate = self.candidate.borrow().as_ref().map(|candidate| Rc::clone(&candidate.generation));
        std::iter::once(self.generation()).chain(candidate)
    }

    pub(super) fn beside(&self, beside: Beside) -> Rc<Generation> {
        let candidate = match beside {
            Beside::Current => None,
            Beside::Candidate => self.candidate.borrow().as_ref().map(|it| Rc::clone(&it.generation)),
        };
        candidate.unwrap_or_else(|| self.generation())
    }

    /// Puts a generation on trial, in the place of the one that was.
    pub(super) fn try_out(&self, candidate: Candidate) {
        self.has_candidate.set(true);
        let old = self.candidate.replace(Some(candidate));
        drop(old);
    }

    /// Ends the trial of generation `number`.
    pub(super) fn take_candidate(&self, number: u64) -> Option<Rc<Generation>> {
        let taken =
            self.candidate.borrow_mut().take_if(|candidate| candidate.generation.blueprint.number == number);
        self.has_candidate.set(self.candidate.borrow().is_some());
        taken.map(|candidate| candidate.generation)
    }
}
