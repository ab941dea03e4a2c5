//! What the admin API asks of the gateway.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::record::{Begun, NotRecorded};
use super::rollout::{NotSteered, RolloutOrder, RolloutReport};
use super::shadow::{NotShadowed, ShadowOrder, ShadowReport};
use super::status::{Phases, Status};
use crate::explain::{Comparison, Inquiry, QuestionError, Report};
use crate::filter::record::Wanted;
use crate::history::{Overview, Record};
use crate::policy::KeptFile;
use crate::policy::diagnostics::Diagnostics;

/// The gateway as the admin API sees it.
pub trait Control: Send + Sync + 'static {
    /// Reads the policy again and puts it in force, and says how that ended. The swap itself must not
    /// depend on this future being polled to its end: the client may go away.
    fn reload(&self) -> impl Future<Output = ReloadOutcome> + Send;

    /// Puts a policy in force that was before: that of generation `to`, else the one before the one in force.
    /// As with [`Control::reload`], nothing depends on the future being polled to its end.
    fn roll_back(&self, to: Option<u64>) -> impl Future<Output = ReloadOutcome> + Send;

    /// What was in force and what happened.
    fn history(&self) -> Overview;

    /// What is known of the policy of generation `number`, if it is kept.
    fn kept(&self, number: u64) -> Option<Arc<Record>>;

    /// What would become of a request. `None` if no policy is in force.
    fn explain(
        &self,
        inquiry: Inquiry,
        nearest: usize,
    ) -> impl Future<Output = Option<Result<Report, QuestionError>>> + Send;

    /// What the policy that is made of these files, and was read from `source`, would change. `None` if no
    /// policy is in force.
    fn compare(
        &self,
        source: PathBuf,
        files: Vec<KeptFile>,
    ) -> impl Future<Output = Option<Result<Comparison, Diagnostics>>> + Send;

    /// The policy on trial, and how those before it fared. Quick, as [`Control::status`].
    fn rollout(&self) -> RolloutReport;

    /// Ends a trial; gives what is known then.
    fn steer_rollout(
        &self,
        order: RolloutOrder,
    ) -> impl Future<Output = Result<RolloutReport, NotSteered>> + Send;

    /// What the policy in shadow would have done. Quick, as [`Control::status`].
    fn shadow(&self) -> ShadowReport;

    /// Takes a policy into shadow, or ends it; gives what is known then.
    fn set_shadow(
        &self,
        order: ShadowOrder,
    ) -> impl Future<Output = Result<ShadowReport, NotShadowed>> + Send;

    /// What the gateway is doing. Quick: it is asked for on the control thread.
    fn status(&self) -> Status;

    /// Whether requests should be sent here.
    fn readiness(&self) -> Readiness;

    /// Begins to record a filter.
    ///
    /// # Errors
    /// Why it cannot be recorded.
    fn record(&self, wanted: Wanted) -> Result<Begun, NotRecorded>;
}

/// Whether requests should be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Every worker serves a policy.
    Ready,
    /// So it does, but one that was kept, since the policy's own files cannot be served.
    Degraded,
    /// Not yet: the first policy is being prepared.
    Starting,
    /// No more: the gateway is shutting down.
    Draining,
}

/// How a reload ended.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ReloadOutcome {
    /// The policy is in force on every worker.
    Applied {
        /// Its generation.
        generation: u64,
        /// How long each phase took.
        phases: Phases,
    },
    /// The policy is on trial: it serves a share of the traffic, by its `rollout`.
    OnTrial {
        /// Its generation.
        generation: u64,
        /// The generation that serves the rest.
        base: u64,
        /// How long each phase took.
        phases: Phases,
    },
    /// It equals the one in force or on trial, so nothing was done.
    Unchanged {
        /// The generation in force.
        generation: u64,
    },
    /// It was refused, and the one in force goes on.
    Refused(Refusal),
}

/// Why a policy was refused.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    /// What kind of reason.
    pub kind: RefusalKind,
    /// The generation that goes on, if there is one.
    pub generation: Option<u64>,
    /// The reason in one line.
    pub message: String,
    /// All that is wrong with the policy's text, if that is the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnostics: Option<Arc<Diagnostics>>,
}

/// A kind of reason to refuse a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The policy or a file that it names is wrong, or a filter would not start with it.
    Invalid,
    /// It asks for something that cannot change at run time, such as another listener address.
    Immutable,
    /// There is no such policy to go back to.
    NotKept,
    /// The gateway failed through no fault of the policy.
    Internal,
}

impl RefusalKind {
    /// The status that says so.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Immutable => StatusCode::CONFLICT,
            Self::NotKept => StatusCode::NOT_FOUND,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "policy refused: {}", self.message)?;
        if let Some(diagnostics) = &self.diagnostics {
            writeln!(f, "\n{diagnostics}")?;
        }
        match self.generation {
            Some(generation) => writeln!(f, "Generation {generation} goes on."),
            None => writeln!(f, "No policy is in force."),
        }
    }
}
