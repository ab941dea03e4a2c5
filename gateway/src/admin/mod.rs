//! The admin API: what operators and their probes ask and tell a running gateway.
//!
//! | Request | Answer |
//! | --- | --- |
//! | `GET /livez` | 200: the control thread answers |
//! | `GET /readyz` | 200 if requests are served, else 503 with the reason |
//! | `GET /status` | JSON: [`Status`] |
//! | `GET /metrics` | OpenMetrics text |
//! | `POST /policy/reload` | 200 with a [`ReloadOutcome`]; 422 (the policy is wrong), 409 (it asks for what cannot change at run time) or 500 with the diagnosis, as JSON if `Accept` names it, else as text |
//! | `GET /policy/rollout` | JSON: [`RolloutReport`] |
//! | `POST /policy/rollout/promote`, `/abort` | 200 with the report then; 409 if no policy is on trial |
//! | `GET /policy/shadow` | JSON: [`ShadowReport`] |
//! | `POST /policy/shadow?policy=FILE&share=N` | takes a policy into shadow: 200 with the report then, or 422; loopback only |
//! | `DELETE /policy/shadow` | ends that: 200, or 409 if there is none |
//! | `POST /filters/NAME/record` | JSON lines: what that filter is given and makes of it; loopback only |
//!
//! It runs on the control runtime, never on a worker, and knows the rest of the gateway only through
//! [`Control`]. From the socket inwards: connections (`serve`), the outer ring of tower-http layers
//! and the guard against browsers (`guard`), handlers (`routes`).
//!
//! There is no authentication: the policy binds it to a loopback address unless told otherwise
//! aloud. A web page must not reach it through its reader's browser, see `guard`.
//!
//! Limits: 64 connections, 16 KiB of headers in 64 fields, 16 KiB of body, 10 s for the headers to
//! come and for an answer, 10 min for a reload to end.
//! One recording at a time, of at most 10 min and 256 MiB.

mod control;
mod guard;
mod record;
mod rollout;
mod routes;
mod serve;
mod shadow;
mod status;
#[cfg(test)]
mod tests;

pub use control::{Control, Readiness, Refusal, RefusalKind, ReloadOutcome};
pub use record::{Begun, NotRecorded};
pub use rollout::{NotSteered, RolloutNote, RolloutOrder, RolloutReport, RolloutStatus, Served};
pub use serve::serve;
pub use shadow::{NotShadowed, ShadowOrder, ShadowReport, ShadowStatus};
pub use status::{
    EndpointStatus, FilterState, FilterStatus, GenerationStatus, Phases, RejectedStatus, Status, Trigger,
    UpstreamStatus,
};
