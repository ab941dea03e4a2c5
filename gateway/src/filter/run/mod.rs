//! One exchange's way through its chain: which filters ran, and calling them. `verdict` reads what a
//! callback came to, `pause` waits for a filter that holds the exchange back, `shadow` shows it to filters
//! whose verdicts count for nothing.

mod pause;
mod shadow;
mod verdict;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tollgate_proxy_wasm::PauseKind;

use super::chain::{Chain, FilterInstance, Kind};
use super::exchange::{Exchange, Side};
use super::native::{headers, rate_limit};
use super::record::Tape;
use super::reply::Reply;
use super::wasm::{Context, Plugin, Seat};
use crate::limit::Decision;
use crate::policy::bodies::BodyMode;
use crate::telemetry::Phase;
use shadow::Shadow;
pub(super) use shadow::Sighted;
pub use shadow::{Foreseen, Shadows};
pub(in crate::filter) use verdict::{kind_of, kind_of_refusal};

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

/// What a filter did to an exchange outside a callback of it.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    /// It answered.
    #[error("a filter answered")]
    Replied(Box<Reply>),
    /// It closed the stream.
    #[error(transparent)]
    Closed(#[from] FilterError),
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
    Shadow(Box<Shadow>),
}

/// A filter that looks at a body.
pub(super) struct Looker {
    pub(super) position: usize,
    /// How much of it the filter is shown.
    pub(super) mode: BodyMode,
    /// Whether it may only look.
    pub(super) is_shadow: bool,
}

/// One exchange's way through its chain.
pub struct Run {
    chain: Rc<Chain>,
    exchange: Rc<Exchange>,
    parts: RefCell<Vec<Part>>,
    /// Filters that have seen the request: the response passes these.
    ran: Cell<usize>,
    foreseen: RefCell<Vec<Foreseen>>,
    /// Takes down one filter's part, while that is asked for.
    tape: OnceCell<Box<Tape>>,
}

impl Run {
    /// A way that begins.
    pub fn new(chain: Rc<Chain>, exchange: Rc<Exchange>) -> Self {
        let parts = RefCell::new(Vec::with_capacity(chain.filters.len()));
        Self {
            chain,
            exchange,
            parts,
            ran: Cell::new(0),
            foreseen: RefCell::default(),
            tape: OnceCell::new(),
        }
    }

    /// Whether any filter is a guest.
    pub fn has_guests(&self) -> bool {
        self.chain.has_guests
    }

    /// The filter that ended the exchange, if one did.
    pub fn ended(&self) -> Option<Ended> {
        self.exchange.course.ended.borrow().clone()
    }

    /// The request's headers pass the chain in the order written.
    pub async fn request_headers(&self, end_of_stream: bool) -> Result<HeadersOutcome, FilterError> {
        for position in 0..self.chain.filters.len() {
            self.ran.set(position + 1);
            let verdict = self.enter(position, end_of_stream)?;
            if let Some(reply) = self.settle(position, Side::Request, verdict).await? {
                return Ok(HeadersOutcome::Replied(reply));
            }
            self.taped(position, |tape| tape.head_out(Side::Request));
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
            self.taped(position, |tape| tape.head_out(Side::Response));
        }
        Ok(HeadersOutcome::Passed)
    }

    /// Tells the tape, if there is one for the filter at `position`.
    #[inline]
    pub(super) fn taped(&self, position: usize, tell: impl FnOnce(&Tape)) {
        if let Some(tape) = self.tape.get().filter(|tape| tape.position() == position) {
            tell(tape);
        }
    }

    /// Whether any filter's part is taken down.
    pub(super) fn is_taped(&self) -> bool {
        self.tape.get().is_some()
    }

    /// The answer that a filter has given, and which.
    pub(super) fn take_reply(&self) -> Option<(usize, Reply)> {
        let (by, reply) = self.exchange.signals.take_reply()?;
        self.taped(by, |tape| tape.replied(&reply));
        Some((by, reply))
    }

    /// A filter answers for the upstream: the response passes only the filters before it.
    pub fn replied_in_request(&self) {
        self.ran.set(self.ran.get().saturating_sub(1));
    }

    /// A filter answered for the upstream in the middle of the request body: the response passes only
    /// the filters before it.
    pub(super) fn answered_by(&self, position: usize, side: Side) {
        if side == Side::Request {
            self.ran.set(position.min(self.ran.get()));
        }
    }

    /// The filters that look at the body of `side`, in the order of that side.
    pub(super) fn lookers(&self, side: Side) -> Vec<Looker> {
        let parts = self.parts.borrow();
        let mode = |position| {
            let (context, is_shadow) = match parts.get(position)? {
                Part::Guest(context) => (context, false),
                Part::Shadow(shadow) => (shadow.context(), true),
                Part::Absent | Part::Native | Part::Limited(_) => return None,
            };
            context.body_mode(side).map(|mode| Looker { position, mode, is_shadow })
        };
        match side {
            Side::Request => (0..self.ran.get()).filter_map(mode).collect(),
            Side::Response => (0..self.ran.get()).rev().filter_map(mode).collect(),
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
        self.taped(position, Tape::call_begins);
        let result = context.call(phase, size, end_of_stream);
        self.taped(position, Tape::call_ended);
        let verdict = self.judge(position, filter, phase, context, result);
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
        if let Some(plugin) = filter.in_shadow() {
            let part = self.enter_shadow(position, filter, plugin, end_of_stream);
            self.parts.borrow_mut().push(part);
            return Ok(Verdict::Continue);
        }
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
        // A resume from before a pause is not an answer to it.
        let _ = self.exchange.signals.take_resumed(position, Side::Request);
        let count = self.exchange.request().headers.len() + 3;
        let seat = Seat::new(Rc::clone(&self.exchange), position);
        let begun = match self.new_tape(position, filter, plugin) {
            None => plugin.begin_exchange(seat, count, end_of_stream),
            // A tape begins with a context that lives.
            Some(tape) => plugin.begin(seat).map(|context| {
                tape.head_in(Side::Request, end_of_stream);
                let _ = self.tape.set(Box::new(tape));
                let result = context.call(Phase::RequestHeaders, count, end_of_stream);
                (context, result)
            }),
        };
        let (context, result) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                let reason = error.to_string();
                filter.failed(kind_of_refusal(&error), &reason);
                return (Part::Absent, Err(reason));
            }
        };
        let verdict = self.judge(position, filter, Phase::RequestHeaders, &context, result);
        (Part::Guest(context), verdict)
    }

    /// A tape for the filter's part, if that is asked for and none runs.
    fn new_tape(&self, position: usize, filter: &FilterInstance, plugin: &Plugin) -> Option<Tape> {
        match self.tape.get() {
            None => plugin.recorder().begin(&filter.name, &self.exchange, position),
            Some(_) => None,
        }
    }

    /// The response enters a filter.
    fn respond(&self, position: usize, end_of_stream: bool) -> Result<Verdict, FilterError> {
        let filter = &self.chain.filters[position];
        if filter.in_shadow().is_some() {
            self.shadow_response(position, end_of_stream);
            return Ok(Verdict::Continue);
        }
        let started = Instant::now();
        self.rehome(position, filter);
        let parts = self.parts.borrow();
        if let Some(Part::Guest(_)) = parts.get(position) {
            self.taped(position, |tape| tape.head_in(Side::Response, end_of_stream));
        }
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
                self.judge(position, filter, Phase::ResponseHeaders, context, result)
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

    /// The exchange's data.
    pub fn exchange(&self) -> &Rc<Exchange> {
        &self.exchange
    }

    fn end_part(&self, position: usize, context: &Context) {
        let Some(filter) = self.chain.filters.get(position) else { return };
        if let Err(failure) = filter.end(context) {
            self.failed_at_end(position, &failure);
        }
    }

    /// Ends every filter's part, guests' `on_done`, `on_log` and `on_delete` included.
    pub fn finish(&self) {
        let parts = std::mem::take(&mut *self.parts.borrow_mut());
        for (position, part) in parts.into_iter().enumerate() {
            match part {
                Part::Guest(context) => self.end_part(position, &context),
                Part::Shadow(shadow) => self.finish_shadow(position, shadow),
                Part::Absent | Part::Native | Part::Limited(_) => {}
            }
        }
    }
}
