//! What a policy in shadow would do with a request: its routes and its request-side chain, on a copy.
//!
//! It runs in a task of its own beside the request; when both have decided, the decisions are compared.
//! Limits: it sees no body, so that a filter that waits for one does not decide; a decision takes at most
//! [`DECISION_MAX`]; `worker::Shadow` bounds how many are under way.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::admit;
use super::flight::Flight;
use crate::filter::{Exchange, FilterError, HeadersOutcome, Run};
use crate::generation::{Generation, Next};
use crate::route::RequestView;
use crate::telemetry::Timestamp;
use crate::telemetry::access_log::Text;
use crate::telemetry::shadow::{Decision, Fate, Finding, Sample, ShadowLedger};

/// How long it may take to decide.
const DECISION_MAX: Duration = Duration::from_secs(15);

/// A request on which two policies decide.
pub(super) struct Comparison {
    ledger: Arc<ShadowLedger>,
    request_id: HeaderValue,
    method: String,
    path: Text,
    live: OnceCell<Decision>,
    shadowed: OnceCell<Decision>,
}

/// Shows the request to the policy in shadow, if there is one that sees it. The request is as it comes to
/// the policy in force: checked, and in its uniform form.
pub(super) fn begin(flight: &Flight, end_of_stream: bool) {
    let Some(shadow) = flight.worker.shadow() else { return };
    let exchange = flight.exchange.copy();
    let request_id = exchange.request_id.clone();
    let (method, path) = {
        let head = exchange.request();
        (head.method.to_string(), Text::clip(head.target.path(), Text::PATH_MAX))
    };
    let comparison = Rc::new(Comparison {
        ledger: Arc::clone(shadow.ledger()),
        request_id,
        method,
        path,
        live: OnceCell::new(),
        shadowed: OnceCell::new(),
    });
    flight.compare(Rc::clone(&comparison));
    tokio::task::spawn_local(async move {
        let decision = decide(&shadow.generation, &exchange, end_of_stream).await;
        // It is set once, here.
        let _ = comparison.shadowed.set(decision);
    });
}

impl Comparison {
    /// What the policy in force has decided.
    pub(super) fn set_live(&self, decision: Decision) {
        // A flight ends once.
        let _ = self.live.set(decision);
    }
}

/// Whoever decides last compares. One that was never asked to its end, as at a shutdown, says nothing.
impl Drop for Comparison {
    fn drop(&mut self) {
        let (Some(live), Some(shadow)) = (self.live.get(), self.shadowed.get()) else { return };
        let finding = Finding::of(live, shadow);
        self.ledger.count(finding, || Sample {
            at: Timestamp::now(),
            request_id: String::from_utf8_lossy(self.request_id.as_bytes()).into_owned(),
            method: self.method.clone(),
            path: self.path.as_ref().to_owned(),
            finding,
            live: live.clone(),
            shadow: shadow.clone(),
        });
    }
}

async fn decide(generation: &Generation, exchange: &Rc<Exchange>, end_of_stream: bool) -> Decision {
    let Some(index) = find_route(generation, exchange) else { return nowhere() };
    let Some(route) = generation.routes.get(index) else { return nowhere() };
    exchange.set_route(Arc::clone(&route.route));
    if let Next::Forward { pool, .. } = &route.next
        && route.chain.has_guests
    {
        exchange.set_endpoints(Rc::clone(pool) as _);
    }
    let run = Run::new(Rc::clone(&route.chain), Rc::clone(exchange));
    let outcome = tokio::time::timeout(DECISION_MAX, run.request_headers(end_of_stream)).await;
    let fate = match outcome {
        Err(_) => Fate::Undecided,
        Ok(Ok(HeadersOutcome::Replied(reply))) => Fate::Denied {
            filter: run.ended().map(|ended| ended.filter),
            status: Some(reply.status.as_u16()),
        },
        Ok(Err(FilterError::Failed { filter, .. })) => Fate::Failed { filter },
        Ok(Err(FilterError::Closed { filter })) => Fate::Denied { filter: Some(filter), status: None },
        Ok(Ok(HeadersOutcome::Passed)) => {
            let decision = passed(generation, exchange, index);
            run.finish();
            return decision;
        }
    };
    run.finish();
    Decision { route: Some(Arc::clone(&route.route.name)), fate }
}

/// What becomes of a request that every filter let pass, one of which may have asked for another route.
fn passed(generation: &Generation, exchange: &Exchange, index: usize) -> Decision {
    let index = match exchange.take_stale_route() {
        true => find_route(generation, exchange),
        false => Some(index),
    };
    let Some(route) = index.and_then(|index| generation.routes.get(index)) else { return nowhere() };
    let fate = match &route.next {
        Next::Respond(response) if response.status.is_client_error() => {
            Fate::Denied { filter: None, status: Some(response.status.as_u16()) }
        }
        Next::Respond(_) | Next::Redirect(_) | Next::Forward { .. } => Fate::Allowed,
    };
    Decision { route: Some(Arc::clone(&route.route.name)), fate }
}

fn nowhere() -> Decision {
    Decision { route: None, fate: Fate::Denied { filter: None, status: Some(404) } }
}

fn find_route(generation: &Generation, exchange: &Exchange) -> Option<usize> {
    // It was checked for the policy in force.
    let host = admit::edited_host(exchange).ok()?;
    let head = exchange.request();
    let view = RequestView {
        host: host.as_deref(),
        path: head.target.path(),
        query: head.target.query(),
        method: &head.method,
        headers: &head.headers,
    };
    generation.blueprint.table.find(&view).map(|(index, _)| index)
}
