//! What `/policy/shadow` shows and takes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Json, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::control::Control;
use super::guard::Hosts;
use crate::policy::rollout::Share;
use crate::telemetry::Timestamp;
use crate::telemetry::shadow::Sample;

/// A policy in shadow, and what it would have done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ShadowReport {
    /// The policy, if there is one.
    pub shadow: Option<ShadowStatus>,
    /// The last requests on which it differs from the policy in force, the newest last.
    pub samples: Vec<Sample>,
}

/// A policy in shadow.
#[derive(Debug, Clone, Serialize)]
pub struct ShadowStatus {
    /// Its file.
    pub policy: String,
    /// SHA-256 of all that makes it up, in hexadecimal.
    pub digest: String,
    /// Since when.
    pub since: Timestamp,
    /// How many of the requests it sees.
    pub share_percent: f64,
    /// How many requests were found to be so.
    pub findings: BTreeMap<&'static str, u64>,
}

/// What may be asked of a shadow.
#[derive(Debug, Clone)]
pub enum ShadowOrder {
    /// Take a policy into shadow, in the place of the one that is.
    Start {
        /// Its file.
        policy: PathBuf,
        /// How many of the requests it sees.
        share: Share,
    },
    /// End it.
    Stop,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotShadowed {
    /// The policy is wrong.
    #[error("the policy is wrong in {errors} places; `tollgate check` tells which")]
    Policy {
        /// In how many places.
        errors: usize,
    },
    /// It does not compile, or a filter of it does not start.
    #[error("the policy cannot be put to work; the gateway's log and `tollgate check` tell why")]
    Refused,
    /// No policy is in shadow.
    #[error("no policy is in shadow")]
    None,
    /// The gateway is shutting down.
    #[error("the gateway is shutting down")]
    Draining,
}

impl NotShadowed {
    fn status(&self) -> StatusCode {
        match self {
            Self::Policy { .. } | Self::Refused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::None => StatusCode::CONFLICT,
            Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What may be asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    policy: PathBuf,
    /// In hundredths of a percent.
    #[serde(default = "all")]
    share: u16,
}

fn all() -> u16 {
    Share::ALL.hundredths()
}

const USAGE: &str =
    "expected `?policy=/path/of/policy.yaml&share=10000`, the share in hundredths of a percent\n";

pub(super) async fn show<C: Control>(State((control, _)): State<(Arc<C>, Hosts)>) -> Response {
    Json(control.shadow()).into_response()
}

/// Has the gateway read a policy with its eyes and copy requests to it: for the gateway's user alone, as such a
/// policy may name secret files and send what it sees anywhere.
pub(super) async fn start<C: Control>(
    State((control, hosts)): State<(Arc<C>, Hosts)>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Response {
    if hosts != Hosts::Socket {
        return not_here();
    }
    let asked = query.ok().and_then(|Query(Asked { policy, share })| Some((policy, Share::new(share)?)));
    let Some((policy, share)) = asked.filter(|(policy, share)| policy.is_absolute() && *share > Share::NONE)
    else {
        return (StatusCode::BAD_REQUEST, USAGE).into_response();
    };
    order(&*control, ShadowOrder::Start { policy, share }).await
}

pub(super) async fn stop<C: Control>(State((control, hosts)): State<(Arc<C>, Hosts)>) -> Response {
    if hosts != Hosts::Socket {
        return not_here();
    }
    order(&*control, ShadowOrder::Stop).await
}

async fn order<C: Control>(control: &C, order: ShadowOrder) -> Response {
    match control.set_shadow(order).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => (error.status(), format!("{error}\n")).into_response(),
    }
}

fn not_here() -> Response {
    (StatusCode::FORBIDDEN, super::SOCKET_ONLY).into_response()
}
