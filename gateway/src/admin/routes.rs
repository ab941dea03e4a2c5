//! Paths and their handlers, inside the outer ring.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

use super::control::{Control, Readiness, Refusal, ReloadOutcome};
use super::guard::{Hosts, guard};
use super::questions::{self, UPLOAD_MAX};
use super::record::record;
use super::{rollout, shadow};
use crate::telemetry::metrics::{self, Metrics};

/// Hardly a request has a use for a body.
const BODY_MAX: usize = 16 * 1024;
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Compiling a module from cold takes seconds, and several may come at once.
const RELOAD_MAX: Duration = Duration::from_secs(600);
/// For a policy to come and to be read.
const UPLOAD_TIME_MAX: Duration = Duration::from_secs(60);

const INDEX: &str = "tollgate admin\n
GET  /livez
GET  /readyz
GET  /status
GET  /metrics
GET  /policy/history
GET  /policy/generations/N
POST /policy/reload
POST /policy/rollback?to=N
POST /policy/explain
POST /policy/diff
GET  /policy/rollout
POST /policy/rollout/promote
POST /policy/rollout/abort
GET  /policy/shadow
POST /policy/shadow?policy=FILE&share=10000
DELETE /policy/shadow
POST /filters/NAME/record?count=100&seconds=30&body_bytes=0\n";

/// The whole API as one service.
pub(super) fn router<C: Control>(control: Arc<C>, metrics: Arc<Metrics>, hosts: Hosts) -> Router {
    let quick = Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz::<C>))
        .route("/status", get(status::<C>))
        .route("/policy/history", get(history::<C>))
        .route("/policy/generations/{number}", get(generation::<C>))
        .route("/policy/rollout", get(rollout::show::<C>))
        .with_state(Arc::clone(&control))
        .merge(Router::new().route("/metrics", get(exposition)).with_state(metrics))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_MAX));
    let slow = Router::new()
        .route("/policy/reload", post(reload::<C>))
        .route("/policy/rollback", post(roll_back::<C>))
        .route("/policy/rollout/promote", post(rollout::promote::<C>))
        .route("/policy/rollout/abort", post(rollout::abort::<C>))
        .with_state(Arc::clone(&control))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, RELOAD_MAX));
    let shadow = get(shadow::show::<C>).post(shadow::start::<C>).delete(shadow::stop::<C>);
    let shadow = Router::new()
        .route("/policy/shadow", shadow)
        .with_state((Arc::clone(&control), hosts))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, RELOAD_MAX));
    // It bounds itself, and its answer comes at once.
    let recording = Router::new()
        .route("/filters/{name}/record", post(record::<C>))
        .with_state((Arc::clone(&control), hosts));
    let questions = Router::new()
        .route("/policy/explain", post(questions::explain::<C>))
        .with_state((Arc::clone(&control), hosts))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, ANSWER_MAX));
    let uploads = Router::new()
        .route("/policy/diff", post(questions::diff::<C>))
        .with_state((control, hosts))
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(UPLOAD_MAX))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, UPLOAD_TIME_MAX));
    // The last layer is the outermost.
    quick
        .merge(slow)
        .merge(shadow)
        .merge(recording)
        .merge(questions)
        .layer(RequestBodyLimitLayer::new(BODY_MAX))
        .merge(uploads)
        .layer(from_fn_with_state(hosts, guard))
        .layer(SetResponseHeaderLayer::overriding(CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .layer(CatchPanicLayer::custom(panicked))
}

async fn readyz<C: Control>(State(control): State<Arc<C>>) -> (StatusCode, &'static str) {
    match control.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready\n"),
        Readiness::Degraded => (StatusCode::OK, "ready, degraded: a kept policy serves, see /status\n"),
        Readiness::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

async fn status<C: Control>(State(control): State<Arc<C>>) -> Response {
    Json(control.status()).into_response()
}

async fn exposition(State(metrics): State<Arc<Metrics>>) -> Response {
    // With ten thousand routes this takes a while, and a swap must not wait for it.
    match tokio::task::spawn_blocking(move || metrics.render()).await {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics were not rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn reload<C: Control>(State(control): State<Arc<C>>, headers: HeaderMap) -> Response {
    told(&control.reload().await, &headers)
}

/// The query of a rollback.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RollBack {
    to: Option<u64>,
}

async fn roll_back<C: Control>(
    State(control): State<Arc<C>>,
    query: Result<Query<RollBack>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    match query {
        Ok(Query(RollBack { to })) => told(&control.roll_back(to).await, &headers),
        Err(_) => (StatusCode::BAD_REQUEST, "expected `?to=N` with the number of a generation, or nothing\n")
            .into_response(),
    }
}

async fn history<C: Control>(State(control): State<Arc<C>>) -> Response {
    Json(control.history()).into_response()
}

async fn generation<C: Control>(State(control): State<Arc<C>>, Path(number): Path<String>) -> Response {
    match number.parse().ok().and_then(|number| control.kept(number)) {
        Some(record) => Json(&*record).into_response(),
        None => (StatusCode::NOT_FOUND, "no such policy is kept\n").into_response(),
    }
}

fn told(outcome: &ReloadOutcome, headers: &HeaderMap) -> Response {
    match outcome {
        ReloadOutcome::Refused(refusal) if !wants_json(headers) => refused_as_text(refusal),
        ReloadOutcome::Refused(refusal) => (refusal.kind.status(), Json(outcome)).into_response(),
        ReloadOutcome::Applied { .. } | ReloadOutcome::OnTrial { .. } | ReloadOutcome::Unchanged { .. } => {
            Json(outcome).into_response()
        }
    }
}

fn refused_as_text(refusal: &Refusal) -> Response {
    (refusal.kind.status(), refusal.to_string()).into_response()
}

/// Whether the client asks for JSON by name. `*/*`, which curl sends, is a person who reads text.
pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = values.flat_map(|value| value.split(',')).map(|range| {
        let (media, parameters) = range.split_once(';').unwrap_or((range, ""));
        (
            media.trim(),
            parameters.split(';').any(|p| matches!(p.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")),
        )
    });
    types.any(|(media, refused)| !refused && media.eq_ignore_ascii_case("application/json"))
}

fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let message = payload.downcast_ref::<&str>().copied();
    let message =
        message.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
    tracing::error!(message, "admin handler panicked");
    (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response()
}
