//! How a new policy takes over, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::field::{Duration, Field, Percentage};

/// How a new policy takes over.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct Rollout {
    /// Shares of the traffic that the new policy serves, one after the other.
    pub(in super::super) steps: Field<Vec<Field<RolloutStep>>>,
    /// What a client is known by, so that it stays on one side.
    pub(in super::super) key: Field<RolloutKey>,
    /// No step is judged by fewer requests on each side.
    pub(in super::super) minimum_requests: Field<u64>,
    /// How much worse the new policy may do before it is taken back.
    pub(in super::super) margins: Field<Margins>,
}

/// A step of a rollout.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct RolloutStep {
    /// Of the traffic.
    pub(in super::super) share: Field<Percentage>,
    /// How long it takes at least.
    pub(in super::super) time: Field<Duration>,
}

/// What a client is known by.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum RolloutKey {
    /// Its address.
    ClientAddress,
    /// The value of this header.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
}

/// Each may be `none`.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct Margins {
    /// More of its answers are 5xx.
    pub(in super::super) errors: Field<Percentage>,
    /// More of its requests see a filter fail.
    pub(in super::super) traps: Field<Percentage>,
    /// More of its requests are denied.
    pub(in super::super) denials: Field<Percentage>,
    /// Its requests take longer.
    pub(in super::super) latency: Field<Duration>,
}
