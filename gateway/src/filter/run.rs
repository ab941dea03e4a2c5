//! One exchange's way through its chain: which filters ran, and calling them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use tollgate_proxy_wasm::{Action, Failure, PauseKind};

use super::chain::{Chain, FilterInstance, Kind};
use super::exchange::{Exchange, Side};
use super::native::{headers, rate_limit};
use super::reply::Reply;
use super::signals::Waiter;
use super::wasm::{BeginError, Context, Plugin, Seat};
use crate::limit::Decision;
use crate::policy::filter::OnFailure;
use crate::telemetry::Phase;
use crate::telemetry::metrics::{FilterFailure, FilterOutcome};

/// What a chain made of a side's headers.
#[must_use]
pub enum HeadersOutcome {
    /// Every filter let it pass.
    Passed,
    /// A filter answered.
    Replied(Box<Reply>),
}

/// Why a chain ended an exchange, other than by an answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FilterError {
    /// A filter failed, and its policy is to refuse.
    #[error("filter {filter} failed: {reason}")]
    Failed {
        /// Which.
        filter: Arc<str>,
        /// How, in words for the log.
        reason: String,
    },
    /// A filter reset the stream.
    #[error("filter {filter} closed the stream")]
    Closed {
        /// Which.
        filter: Arc<str>,
    },
}

/// The filter that ended an exchange, for the access log.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its name.
    pub filter: Arc<str>,
    /// Where.
    pub phase: Phase,
    /// Why, shortly.
    pub reason: String,
}

/// What one callback came to.
#[must_use]
pub(super) enum Verdict {
    Continue,
    Pause(PauseKind),
    Replied(Box<Reply>),
}

/// What a filter keeps from request to response.
enum Part {
    /// It has not run, or takes no part any more.
    Absent,
    Native,
    Limited(Decision),
    Guest(Context),
}

/// One exchange's way through its chain.
pub struct Run {
    chain: Rc<Chain>,
    exchange: Rc<Exchange>,
    parts: RefCell<Vec<Part>>,
    /// Filters that have seen the request: the response passes these.
    ran: Cell<usize>,
    ended: RefCell<Option<Ended>>,
}

impl Run {
    /// A way that begins.
    pub fn new(chain: Rc<Chain>, exchange: Rc<Exchange>) -> Self {
        let parts = RefCell::new(Vec::with_capacity(chain.filters.len()));
        Self { chain, exchange, parts, ran: Cell::new(0), ended: RefCell::default() }
    }

    /// Whether any filter is a guest.
    pub fn has_guests(&self) -> bool {
        self.chain.has_guests
    }

    /// The filter that ended the exchange, if one did.
    pub fn ended(&self) -> Option<Ended> {
        self.ended.borrow().clone()
    }

    /// The request's headers pass the chain in the order written.
    pub async fn request_headers(&self, end_of_stream: bool) -> Result<HeadersOutcome, FilterError> {
        for position in 0..self.chain.filters.len() {
            self.ran.set(position + 1);
            let verdict = self.enter(position, end_of_stream)?;
            if let Some(reply) = self.settle(position, Side::Request, verdict).await? {
                return Ok(HeadersOutcome::Replied(reply));
            }
        }
        Ok(HeadersOutcome::Passed)
    }

    /// The response's headers pass the filters that ran, in reverse.
    pub async fn response_headers(&self, end_of_stream: bool) -> Result<HeadersOutcome, FilterError> {
        for position in (0..self.ran.get()).rev() {
            let verdict = self.respond(position, end_of_stream)?;
            if let Some(reply) = self.settle(position, Side::Response, verdict).await? {
                // The filters behind this one have seen the response that it replaces.
                self.ran.set(position);
                return Ok(HeadersOutcome::Replied(reply));
            }
        }
        Ok(HeadersOutcome::Passed)
    }

    /// A filter answers for the upstream: the response passes only the filters before it.
    pub fn replied_in_request(&self) {
        self.ran.set(self.ran.get().saturating_sub(1));
    }

    /// Positions that look at the body of `side`, in the order of that side.
    pub(super) fn body_positions(&self, side: Side) -> Vec<usize> {
        let parts = self.parts.borrow();
        let wants = |position: &usize| match parts.get(*position) {
            Some(Part::Guest(context)) => context.wants_body(side),
            _ => false,
        };
        match side {
            Side::Request => (0..self.ran.get()).filter(wants).collect(),
            Side::Response => (0..self.ran.get()).rev().filter(wants).collect(),
        }
    }

    /// Calls the guest at `position` for a body or trailers phase.
    pub(super) fn call_guest(
        &self,
        position: usize,
        phase: Phase,
        size: usize,
        end_of_stream: bool,
    ) -> Result<Verdict, FilterError> {
        let parts = self.parts.borrow();
        let (Some(Part::Guest(context)), Some(filter)) =
            (parts.get(position), self.chain.filters.get(position))
        else {
            return Ok(Verdict::Continue);
        };
        let started = Instant::now();
        let result = context.call(phase, size, end_of_stream);
        let verdict = self.judge(position, filter, phase, result);
        drop(parts);
        self.count(filter, phase, &verdict, started);
        match verdict {
            Ok(verdict) => Ok(verdict),
            Err(reason) => self.fail(position, filter, phase, reason).map(|()| Verdict::Continue),
        }
    }

    /// The request enters a filter.
    fn enter(&self, position: usize, end_of_stream: bool) -> Result<Verdict, FilterError> {
        let filter = &self.chain.filters[position];
        let started = Instant::now();
        let (part, verdict) = match &filter.kind {
            Kind::RateLimit(limiter) => {
                let decision = rate_limit::check(limiter, &self.exchange);
                match decision {
                    Decision::Allowed { .. } => (Part::Limited(decision), Ok(Verdict::Continue)),
                    Decision::Denied { .. } => {
                        let reply = Box::new(rate_limit::denial(limiter, &decision));
                        (Part::Absent, Ok(Verdict::Replied(reply)))
                    }
                }
            }
            Kind::Headers(edits) => {
                self.exchange.with_request(|head| headers::apply(&edits.request, &mut head.headers));
                (Part::Native, Ok(Verdict::Continue))
            }
            Kind::Wasm(plugin) => self.enter_guest(position, filter, plugin, end_of_stream),
        };
        self.parts.borrow_mut().push(part);
        self.conclude(position, filter, Phase::RequestHeaders, verdict, started)
    }

    fn enter_guest(
        &self,
        position: usize,
        filter: &FilterInstance,
        plugin: &Rc<Plugin>,
        end_of_stream: bool,
    ) -> (Part, Result<Verdict, String>) {
        let context = match plugin.begin(Seat::new(Rc::clone(&self.exchange), position)) {
            Ok(context) => context,
            Err(error) => {
                filter.metrics.failure(kind_of_refusal(&error));
                return (Part::Absent, Err(error.to_string()));
            }
        };
        // A resume from before a pause is not an answer to it.
        let _ = self.exchange.signals.take_resumed(position, Side::Request);
        let result = match context.handles().request_headers {
            true => {
                let count = self.exchange.request().headers.len() + 3;
                context.call(Phase::RequestHeaders, count, end_of_stream)
            }
            false => Ok(Action::Continue),
        };
        let verdict = self.judge(position, filter, Phase::RequestHeaders, result);
        (Part::Guest(context), verdict)
    }

    /// The response enters a filter.
    fn respond(&self, position: usize, end_of_stream: bool) -> Result<Verdict, FilterError> {
        let filter = &self.chain.filters[position];
        let started = Instant::now();
        self.rehome(position, filter);
        let parts = self.parts.borrow();
        let verdict = match (&filter.kind, parts.get(position)) {
            (Kind::RateLimit(limiter), Some(Part::Limited(decision))) => {
                self.exchange.with_response(|head| limiter.fields().add_to(&mut head.headers, decision));
                Ok(Verdict::Continue)
            }
            (Kind::Headers(edits), Some(Part::Native)) => {
                self.exchange.with_response(|head| headers::apply(&edits.response, &mut head.headers));
                Ok(Verdict::Continue)
            }
            (Kind::Wasm(_), Some(Part::Guest(context))) if context.handles().response_headers => {
                let count = self.exchange.with_response(|head| head.headers.len() + 1).unwrap_or_default();
                let _ = self.exchange.signals.take_resumed(position, Side::Response);
                let result = context.call(Phase::ResponseHeaders, count, end_of_stream);
                self.judge(position, filter, Phase::ResponseHeaders, result)
            }
            _ => return Ok(Verdict::Continue),
        };
        drop(parts);
        self.conclude(position, filter, Phase::ResponseHeaders, verdict, started)
    }

    /// A guest whose VM was lost to a neighbour's fault while the upstream worked gets a context in
    /// the new VM: it has let the request pass, and sees the response without what it kept of the
    /// request.
    fn rehome(&self, position: usize, filter: &FilterInstance) {
        let Kind::Wasm(plugin) = &filter.kind else { return };
        let is_orphaned =
            matches!(self.parts.borrow().get(position), Some(Part::Guest(context)) if context.is_orphaned());
        if !is_orphaned {
            return;
        }
        if let Ok(context) = plugin.begin(Seat::new(Rc::clone(&self.exchange), position))
            && let Some(part) = self.parts.borrow_mut().get_mut(position)
        {
            *part = Part::Guest(context);
        }
    }

    /// Reads a guest's result together with what it asked for in the callback.
    fn judge(
        &self,
        position: usize,
        filter: &FilterInstance,
        phase: Phase,
        result: Result<Action, Failure>,
    ) -> Result<Verdict, String> {
        let signals = &self.exchange.signals;
        let refusal = signals.take_refusal().filter(|(by, _)| *by == position);
        let action = match result {
            Ok(action) => action,
            Err(failure) => {
                filter.metrics.failure(kind_of(&failure));
                return Err(failure.to_string());
            }
        };
        if let Some((_, refusal)) = refusal {
            filter.metrics.failure(FilterFailure::Host);
            return Err(refusal.to_string());
        }
        if let Some((by, reply)) = signals.take_reply() {
            self.note(by, phase, &reply.reason);
            return Ok(Verdict::Replied(Box::new(reply)));
        }
        if signals.closed_by() == Some(position) {
            self.note(position, phase, "closed the stream");
        }
        Ok(match action {
            Action::Continue => Verdict::Continue,
            Action::Pause(kind) if signals.take_resumed(position, side_of(phase)) => {
                let _ = kind;
                Verdict::Continue
            }
            Action::Pause(kind) => Verdict::Pause(kind),
        })
    }

    /// Counts a headers callback and applies `on_failure`.
    fn conclude(
        &self,
        position: usize,
        filter: &FilterInstance,
        phase: Phase,
        verdict: Result<Verdict, String>,
        started: Instant,
    ) -> Result<Verdict, FilterError> {
        self.count(filter, phase, &verdict, started);
        match verdict {
            Ok(verdict) => {
                if let Verdict::Replied(reply) = &verdict {
                    self.note(position, phase, &reply.reason);
                }
                Ok(verdict)
            }
            Err(reason) => self.fail(position, filter, phase, reason).map(|()| Verdict::Continue),
        }
    }

    fn count(
        &self,
        filter: &FilterInstance,
        phase: Phase,
        verdict: &Result<Verdict, String>,
        started: Instant,
    ) {
        let outcome = match verdict {
            Ok(Verdict::Continue) => FilterOutcome::Continue,
            Ok(Verdict::Pause(_)) => FilterOutcome::Pause,
            Ok(Verdict::Replied(reply)) if reply.status.is_client_error() => FilterOutcome::Deny,
            Ok(Verdict::Replied(_)) => FilterOutcome::Respond,
            Err(_) => FilterOutcome::Fail,
        };
        filter.metrics.call(phase, outcome, started.elapsed());
    }

    /// A filter failed: it takes no part any more, and the exchange goes on or ends by its policy.
    fn fail(
        &self,
        position: usize,
        filter: &FilterInstance,
        phase: Phase,
        reason: String,
    ) -> Result<(), FilterError> {
        let part =
            self.parts.borrow_mut().get_mut(position).map(|part| std::mem::replace(part, Part::Absent));
        drop(part);
        match filter.on_failure {
            OnFailure::Open => {
                tracing::debug!(filter = &*filter.name, reason, "a filter failed open");
                Ok(())
            }
            OnFailure::Closed => {
                self.note(position, phase, &reason);
                Err(FilterError::Failed { filter: Arc::clone(&filter.name), reason })
            }
        }
    }

    /// Waits while the filter at `position` holds the headers back.
    async fn settle(
        &self,
        position: usize,
        side: Side,
        verdict: Verdict,
    ) -> Result<Option<Box<Reply>>, FilterError> {
        let signals = &self.exchange.signals;
        match verdict {
            Verdict::Continue => self.check_closed().map(|()| None),
            Verdict::Replied(reply) => Ok(Some(reply)),
            Verdict::Pause(_) => {
                self.check_closed()?;
                self.hold(position);
                poll_fn(|cx| {
                    if signals.take_resumed(position, side) || signals.is_urgent() || self.is_orphan(position)
                    {
                        return Poll::Ready(());
                    }
                    signals.register(Waiter::Spine, cx);
                    Poll::Pending
                })
                .await;
                self.check_closed()?;
                if let Some((by, reply)) = signals.take_reply() {
                    self.note(by, phase_of(side), &reply.reason);
                    return Ok(Some(Box::new(reply)));
                }
                self.release_orphan(position, phase_of(side))?;
                Ok(None)
            }
        }
    }

    /// The filter at `position` holds the exchange back: it is to be woken if the VM fails.
    pub(super) fn hold(&self, position: usize) {
        if let Some(Part::Guest(context)) = self.parts.borrow().get(position) {
            context.hold(&self.exchange);
        }
    }

    /// Whether what the filter at `position` held back goes on because its VM is gone.
    pub(super) fn release_orphan(&self, position: usize, phase: Phase) -> Result<bool, FilterError> {
        let Some(filter) = self.chain.filters.get(position).filter(|_| self.is_orphan(position)) else {
            return Ok(false);
        };
        let reason = "its VM failed while the exchange waited for it".to_owned();
        self.fail(position, filter, phase, reason).map(|()| true)
    }

    fn is_orphan(&self, position: usize) -> bool {
        matches!(self.parts.borrow().get(position), Some(Part::Guest(context)) if context.is_orphaned())
    }

    /// An error if a filter reset the stream.
    pub(super) fn check_closed(&self) -> Result<(), FilterError> {
        match self.exchange.signals.closed_by().and_then(|position| self.chain.filters.get(position)) {
            Some(filter) => Err(FilterError::Closed { filter: Arc::clone(&filter.name) }),
            None => Ok(()),
        }
    }

    /// Wakes this task when a filter asks for something outside a callback of this exchange.
    pub fn wait(&self, waiter: Waiter, cx: &std::task::Context<'_>) {
        if self.chain.has_guests {
            self.exchange.signals.register(waiter, cx);
        }
    }

    /// The exchange's data.
    pub fn exchange(&self) -> &Rc<Exchange> {
        &self.exchange
    }

    /// The first filter that ended the exchange stays on record.
    fn note(&self, position: usize, phase: Phase, reason: &str) {
        let Some(filter) = self.chain.filters.get(position) else { return };
        self.ended.borrow_mut().get_or_insert_with(|| Ended {
            filter: Arc::clone(&filter.name),
            phase,
            reason: reason.to_owned(),
        });
    }

    /// Ends every filter's part, guests' `on_done`, `on_log` and `on_delete` included.
    pub fn finish(&self) {
        let parts = std::mem::take(&mut *self.parts.borrow_mut());
        drop(parts);
    }
}

fn kind_of(failure: &Failure) -> FilterFailure {
    match failure {
        Failure::Budget { .. } => FilterFailure::Budget,
        Failure::Trap { .. } => FilterFailure::Trap,
        Failure::Broken | Failure::UnknownContext | Failure::Reentered => FilterFailure::Host,
    }
}

fn kind_of_refusal(error: &BeginError) -> FilterFailure {
    match error {
        BeginError::CircuitOpen => FilterFailure::CircuitOpen,
        BeginError::Start(_) => FilterFailure::Host,
        BeginError::Failed(failure) => kind_of(failure),
    }
}

fn side_of(phase: Phase) -> Side {
    match phase {
        Phase::RequestHeaders | Phase::RequestBody | Phase::RequestTrailers => Side::Request,
        Phase::ResponseHeaders
        | Phase::ResponseBody
        | Phase::ResponseTrailers
        | Phase::Done
        | Phase::Background => Side::Response,
    }
}

fn phase_of(side: Side) -> Phase {
    match side {
        Side::Request => Phase::RequestHeaders,
        Side::Response => Phase::ResponseHeaders,
    }
}
