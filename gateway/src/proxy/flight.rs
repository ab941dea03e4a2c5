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
use crate::filter::{Exchange, Foreseen, Run};
use crate::generation::{Generation, Next, RouteRuntime};
use crate::telemetry::Timestamp;
use crate::telemetry::access_log::{EndedBy, Record, ShadowRecord, Text, UpstreamRecord};
use crate::telemetry::metrics::StatusClass;
use crate::worker::{ConnectionState, Worker};

/// One request's life.
pub(super) struct Flight {
    pub(super) worker: Rc<Worker>,
    /// Whose timer bounds the request and its answer.
    pub(super) connection: Rc<ConnectionState>,
    pub(super) generation: Rc<Generation>,
    pub(super) exchange: Rc<Exchange>,
    /// As received; kept only if it will be logged.
    seen: Option<Seen>,
    route: Cell<Option<usize>>,
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
    ) -> Rc<Self> {
        Rc::new(Self {
            worker,
            connection,
            generation,
            exchange,
            seen,
            route: Cell::new(None),
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
        if let Some(seen) = &self.seen {
            self.worker.access_log().push(self.record(seen, duration));
        }
    }
}
