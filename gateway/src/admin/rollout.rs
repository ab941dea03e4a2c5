//! What `/policy/rollout` shows and takes.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use http::StatusCode;
use serde::Serialize;

use super::control::Control;
use super::status::Trigger;
use crate::telemetry::Timestamp;

/// Policies that come into force in steps.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RolloutReport {
    /// The one that is under way.
    pub running: Option<RolloutStatus>,
    /// How the last one ended.
    pub last: Option<RolloutNote>,
    /// What happened lately, the newest last.
    pub events: Vec<RolloutNote>,
}

/// A policy on trial.
#[derive(Debug, Clone, Serialize)]
pub struct RolloutStatus {
    /// Its generation.
    pub generation: u64,
    /// The generation that serves the rest.
    pub base: u64,
    /// SHA-256 of all that makes it up, in hexadecimal.
    pub digest: String,
    /// What made the gateway read it.
    pub trigger: Trigger,
    /// When it began.
    pub begun: Timestamp,
    /// The step that it is in, from 1.
    pub step: usize,
    /// How many there are.
    pub steps: usize,
    /// How much of the traffic it serves.
    pub share_percent: f64,
    /// When the step began.
    pub step_begun: Timestamp,
    /// How long the step takes at least.
    pub step_seconds: f64,
    /// Requests that it must serve in the step.
    pub minimum_requests: u32,
    /// What it has served in this step.
    pub candidate_served: Served,
    /// What the policy in force has served meanwhile.
    pub base_served: Served,
}

/// Requests of one policy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Served {
    /// All that have ended.
    pub requests: u64,
    /// Answered by 5xx, or not to the end.
    pub errors: u64,
    /// Refused by the gateway or a filter.
    pub denials: u64,
    /// In which a filter failed.
    pub traps: u64,
    /// The 95th percentile of the time to the last byte, exact to an eighth.
    pub latency_p95_ms: f64,
}

/// Something that happened to a rollout.
#[derive(Debug, Clone, Serialize)]
pub struct RolloutNote {
    /// When.
    pub at: Timestamp,
    /// What: `begun`, `stepped`, `promoted`, `taken_back`, `aborted` or `replaced`.
    pub event: &'static str,
    /// The generation on trial.
    pub generation: u64,
    /// How much of the traffic it served, from then on or at last.
    pub share_percent: f64,
    /// Why, if there is more to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What may be asked of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutOrder {
    /// Put the policy in force whole, now.
    Promote,
    /// Take it back, now.
    Abort,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSteered {
    /// No policy is on trial.
    #[error("no rollout is under way")]
    NoRollout,
    /// The gateway is shutting down.
    #[error("the gateway is shutting down")]
    Draining,
}

pub(super) async fn show<C: Control>(State(control): State<Arc<C>>) -> Response {
    Json(control.rollout()).into_response()
}

pub(super) async fn promote<C: Control>(State(control): State<Arc<C>>) -> Response {
    steer(&*control, RolloutOrder::Promote).await
}

pub(super) async fn abort<C: Control>(State(control): State<Arc<C>>) -> Response {
    steer(&*control, RolloutOrder::Abort).await
}

async fn steer<C: Control>(control: &C, order: RolloutOrder) -> Response {
    match control.steer_rollout(order).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => (StatusCode::CONFLICT, format!("{error}\n")).into_response(),
    }
}
