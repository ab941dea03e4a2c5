//! One request's life, from its head to its line in the access log.
//!
//! Everything that works on the request holds the flight: the spine, the request body on its way up,
//! the response body on its way down. When the last of them lets go, by the end or by the client's
//! going away, the filters are told, and the request is counted and logged. Nothing else does that,
//! so it happens once and always.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use http::{HeaderValue, Method};

use super::error::ProxyError;
use super::respond::FILTER_CLOSED;
use super::shadow::Comparison;
use crate::filter::{Exchange, Foreseen, Run};
use crate::generation::{Generation, Next, RouteRuntime};
use crate::telemetry::Timestamp;
use crate::telemetry::access_log::{EndedBy, Record, ShadowRecord, Text, UpstreamRecord};
use crate::telemetry::metrics::{Ending, Fate, StatusClass};
use crate::telemetry::shadow::{Decision, Fate as Decided};
use crate::worker::{ConnectionState, OnTrial, Worker};

/// One request's life.
pub(super) struct Flight {
    pub(super) worker: Rc<Worker>,
    /// Whose timer bounds the request and its answer.
    pub(super) connection: Rc<ConnectionState>,
    pub(super) generation: Rc<Generation>,
    pub(super) exchange: Rc<Exchange>,
    /// As received; kept only if it will be logged.
    seen: Option<Seen>,
    /// Where it is counted while two policies share the requests.
    on_trial: Option<OnTrial>,
    /// What a policy in shadow makes of it.
    comparison: OnceCell<Rc<Comparison>>,
    route: Cell<Option<usize>>,
    /// Every filter has let the head pass, and what is sent to the upstream is up to the body.
    is_at_body: Cell<bool>,
    run: OnceCell<Run>,
    pub(super) upstream: RefCell<Option<UpstreamRecord>>,
    /// What broke the request body, for whoever sees only that sending failed.
    pub(super) body_error: RefCell<Option<BodyFailure>>,
}

/// What broke the request body.
pub(super) enum BodyFailure {
    /// The error to answer.
    Error(ProxyError),
    /// A filter's answer.
    Reply(Box<crate::filter::Reply>),
}

/// The request as received; clones of shared bytes.
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) target: Option<PathAndQuery>,
    pub(super) host: Option<HeaderValue>,
    pub(super) user_agent: Option<HeaderValue>,
}

impl Flight {
    pub(super) fn new(
        worker: Rc<Worker>,
        connection: Rc<ConnectionState>,
        generation: Rc<Generation>,
        exchange: Rc<Exchange>,
        seen: Option<Seen>,
        on_trial: Option<OnTrial>,
    ) -> Rc<Self> {
        Rc::new(Self {
            worker,
            connection,
            generation,
            exchange,
            seen,
            on_trial,
            comparison: OnceCell::new(),
            route: Cell::new(None),
            is_at_body: Cell::new(false),
            run: OnceCell::new(),
            upstream: RefCell::default(),
            body_error: RefCell::default(),
        })
    }

    /// The route was found.
    pub(super) fn set_route(&self, index: usize) {
        if self.route.replace(Some(index)) == Some(index) {
            return;
        }
        let Some(route) = self.generation.routes.get(index) else { return };
        self.exchange.set_route(Arc::clone(&route.route));
        if let Next::Forward { pool, .. } = &route.next
            && (route.chain.has_guests || self.run.get().is_some_and(Run::has_guests))
        {
            self.exchange.set_endpoints(Rc::clone(pool) as _);
        }
    }

    pub(super) fn route(&self) -> Option<&RouteRuntime> {
        self.route.get().and_then(|index| self.generation.routes.get(index))
    }

    /// The way through the route's chain, or through none if there is no route.
    pub(super) fn run(&self) -> &Run {
        self.run.get_or_init(|| {
            let chain = self.route().map_or(&self.generation.no_chain, |route| &route.chain);
            Run::new(Rc::clone(chain), Rc::clone(&self.exchange))
        })
    }

    /// The first error stays on record.
    pub(super) fn note_error(&self, word: &'static str) {
        let error = &self.exchange.course.error;
        error.set(error.get().or(Some(word)));
    }

    /// Every filter has let the head pass; whatever denies the request now, saw its body.
    pub(super) fn reach_body(&self) {
        self.is_at_body.set(true);
    }

    /// A policy in shadow decides on it, too.
    pub(super) fn compare(&self, comparison: Rc<Comparison>) {
        // There is one shadow at a time, and it is asked once.
        let _ = self.comparison.set(comparison);
    }

    /// What was decided on the request before its body and its upstream were asked.
    fn decision(&self) -> Decision {
        let course = &self.exchange.course;
        let (status, is_at_body) = (course.status.get(), self.is_at_body.get());
        let denied = |filter| Decided::Denied { filter, status: status.map(|status| status.as_u16()) };
        let fate = match self.run.get().and_then(Run::ended) {
            Some(ended) if ended.phase.is_of_request() && is_at_body => Decided::Undecided,
            Some(ended) if ended.phase.is_of_request() => denied(Some(ended.filter)),
            Some(_) => Decided::Allowed,
            // Too large, or malformed. What the upstream answers is no error.
            None if is_at_body
                && status.is_some_and(|it| it.is_client_error())
                && course.error.get().is_some() =>
            {
                Decided::Undecided
            }
            None if self.upstream.borrow().is_none() && status.is_some_and(|it| it.is_client_error()) => {
                denied(None)
            }
            None => Decided::Allowed,
        };
        Decision { route: self.route().map(|route| Arc::clone(&route.route.name)), fate }
    }

    /// How the request ended, to compare policies by: what the upstream refuses is not the policy's doing.
    fn ending(&self, took: Duration) -> Ending {
        let course = &self.exchange.course;
        let status = course.status.get();
        let has_failed = match status {
            Some(status) if status.is_server_error() => true,
            Some(status) if status.is_client_error() => false,
            // Broken off; a client that went away leaves no word.
            Some(_) | None => course.error.get().is_some_and(|word| word != FILTER_CLOSED),
        };
        let is_ours = self.upstream.borrow().is_none();
        let is_denied = self.run.get().is_some_and(|run| run.ended().is_some())
            || is_ours && status.is_some_and(|status| status.is_client_error());
        let fate = match (has_failed, is_denied) {
            (true, _) => Fate::Failed,
            (false, true) => Fate::Denied,
            (false, false) => Fate::Served,
        };
        Ending { fate, has_trapped: course.has_trapped.get(), took }
    }

    fn record(&self, seen: &Seen, duration: Duration) -> Record {
        let text = |value: &HeaderValue, max| Text::clip(value.as_bytes(), max);
        let course = &self.exchange.course;
        let path = seen.target.as_ref().map_or("", PathAndQuery::path);
        let ended_by = self.run.get().and_then(Run::ended).map(|ended| EndedBy {
            filter: ended.filter,
            phase: ended.phase,
            reason: Text::clip(ended.reason, Text::SHORT_MAX),
        });
        Record {
            time: Timestamp(self.exchange.time()),
            request_id: text(&self.exchange.request_id, Text::SHORT_MAX),
            client: self.exchange.client.address,
            method: Some(seen.method.clone()),
            host: seen.host.as_ref().map(|host| text(host, Text::HOST_MAX)),
            path: Some(Text::clip(path, Text::PATH_MAX)),
            route: self.route().map(|route| Arc::clone(&route.route.name)),
            status: course.status.get(),
            bytes_in: course.received.get(),
            bytes_out: course.sent.get(),
            duration,
            upstream: self.upstream.take(),
            user_agent: seen.user_agent.as_ref().map(|agent| text(agent, Text::SHORT_MAX)),
            ended_by,
            shadow: self
                .run
                .get()
                .map(Run::take_foreseen)
                .unwrap_or_default()
                .into_iter()
                .map(shadow)
                .collect(),
            error: course.error.get(),
            generation: self.generation.blueprint.number,
        }
    }
}

fn shadow(foreseen: Foreseen) -> ShadowRecord {
    let Foreseen { filter, phase, verdict, status, reason } = foreseen;
    ShadowRecord { filter, phase, verdict, status, reason: Text::clip(reason, Text::SHORT_MAX) }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(run) = self.run.get() {
            run.finish();
        }
        let duration = Instant::now().saturating_duration_since(self.exchange.started);
        let metrics = self.route().map_or(&self.generation.unrouted, |route| &route.metrics);
        metrics.record(StatusClass::of(self.exchange.course.status.get()), duration);
        if let Some(comparison) = self.comparison.get() {
            comparison.set_live(self.decision());
        }
        if let Some(on_trial) = &self.on_trial {
            on_trial.count(&self.ending(duration));
        }
        if let Some(seen) = &self.seen {
            self.worker.access_log().push(self.record(seen, duration));
        }
    }
}
