//! The admin API: what operators and their probes ask and tell a running gateway.
//!
//! | Request | Answer |
//! | --- | --- |
//! | `GET /livez` | 200: the control thread answers |
//! | `GET /readyz` | 200 if requests are served, else 503 with the reason |
//! | `GET /status` | JSON: [`Status`] |
//! | `GET /metrics` | OpenMetrics text |
//! | `POST /policy/reload` | 200 with a [`ReloadOutcome`]; 422 (the policy is wrong), 409 (it asks for what cannot change at run time) or 500 with the diagnosis, as JSON if `Accept` names it, else as text |
//! | `GET /policy/history` | JSON: [`Overview`](crate::history::Overview) |
//! | `GET /policy/generations/N` | JSON: the [`Record`](crate::history::Record) of a policy that is kept, or 404 |
//! | `POST /policy/rollback?to=N` | as for a reload, and 404 if there is no such policy; without `to` the one before |
//! | `POST /policy/explain` | what would become of a request (a JSON object `method`, `url`, `headers`, `from`, `all`): 200, or 404 if no route takes it; loopback and Unix socket only |
//! | `POST /policy/diff` | what another policy would change (see [`upload`]): 200 for nothing, 409, or 422 with what is wrong with it; Unix socket only |
//! | `GET /policy/rollout` | JSON: [`RolloutReport`] |
//! | `POST /policy/rollout/promote`, `/abort` | 200 with the report then; 409 if no policy is on trial |
//! | `GET /policy/shadow` | JSON: [`ShadowReport`] |
//! | `POST /policy/shadow?policy=FILE&share=N` | takes a policy into shadow: 200 with the report then, or 422; Unix socket only |
//! | `DELETE /policy/shadow` | ends that: 200, or 409 if there is none; Unix socket only |
//! | `POST /filters/NAME/record` | JSON lines: what that filter is given and makes of it; loopback only |
//!
//! It runs on the control runtime, never on a worker, and knows the rest of the gateway only through
//! [`Control`]. From the socket inwards: connections (`serve`), the outer ring of tower-http layers
//! and the guard against browsers (`guard`), handlers (`routes`).
//!
//! There is no authentication. A Unix socket is for the gateway's user alone; on TCP the policy binds it to a loopback address unless told otherwise
//! aloud. A web page must not reach it through its reader's browser, see `guard`.
//!
//! Limits: 64 connections, 16 KiB of headers in 64 fields, 16 KiB of body (64 MiB for a policy, one at once), 10 s for the headers to
//! come and for an answer, 10 min for a reload or a rollback to end.
//! One recording at a time, of at most 10 min and 256 MiB.

mod control;
mod guard;
mod questions;
mod record;
mod rollout;
mod routes;
mod serve;
mod shadow;
mod socket;
mod status;
#[cfg(test)]
mod tests;
pub mod upload;

/// The answer to what only the gateway's own user may ask for.
const SOCKET_ONLY: &str = "only on a Unix socket, which `admin.unix` in the policy gives the gateway\n";

pub use control::{Control, Readiness, Refusal, RefusalKind, ReloadOutcome};
pub use record::{Begun, NotRecorded};
pub use rollout::{NotSteered, RolloutNote, RolloutOrder, RolloutReport, RolloutStatus, Served};
pub use serve::serve;
pub use shadow::{NotShadowed, ShadowOrder, ShadowReport, ShadowStatus};
pub use socket::{Listener, UnixSocket};
pub use status::{
    Degraded, EndpointStatus, FilterState, FilterStatus, GenerationStatus, Phases, RejectedStatus, Status,
    Trigger, UpstreamStatus,
};
