//! A filter in shadow: it is shown what passes, and nothing that it says takes effect.
//!
//! It works on a copy of the exchange, so that its edits, answers, pauses and closes reach nobody. What
//! it would have done is read from the copy after each callback, counted, and kept for the access log.
//! It sees its own edits, and not those that filters behind it make of the request.
//!
//! Nobody waits for it. One that would have ended the exchange sees no more of it, nor does one that
//! would have held it, until it lets go. If it has not decided when the exchange is over, as it waits for
//! the answer to a call, its part is kept a while ([`Shadows`]), so that its verdict counts.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tollgate_proxy_wasm::{Action, PauseKind};

use super::verdict::{kind_of, kind_of_refusal, side_of};
use super::{Part, Run};
use crate::filter::chain::FilterInstance;
use crate::filter::exchange::{Body, Exchange, Side};
use crate::filter::wasm::{Context, Plugin, Seat};
use crate::telemetry::Phase;
use crate::telemetry::metrics::{FilterFailure, FilterOutcome, ShadowVerdict};

/// Exchanges that are over and that one filter may still decide on, on each worker.
const KEPT_MAX: usize = 256;

/// What a filter in shadow would have done.
#[derive(Debug, Clone)]
pub struct Foreseen {
    /// Its name.
    pub filter: Arc<str>,
    /// Where.
    pub phase: Phase,
    /// What.
    pub verdict: ShadowVerdict,
    /// The status of its answer.
    pub status: Option<StatusCode>,
    /// Why, shortly; empty if it did not say.
    pub reason: String,
}

/// The part of a filter in shadow in one exchange.
pub(super) struct Shadow {
    position: usize,
    context: Context,
    copy: Rc<Exchange>,
    view: Cell<View>,
    /// Each verdict of a phase once.
    foreseen: RefCell<Vec<Foreseen>>,
}

/// Whether it is shown more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// It is.
    Open,
    /// It would hold the exchange: not until it lets go.
    Held,
    /// It would have ended the exchange.
    Over,
}

/// What a callback came to that did not end the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Continue,
    Pause(PauseKind),
    Ended(FilterOutcome),
}

/// A piece of a body for a filter in shadow.
pub(in crate::filter) struct Sighted {
    pub(in crate::filter) bytes: Bytes,
    /// Bytes to which its guest may make it grow.
    pub(in crate::filter) grown_max: usize,
    pub(in crate::filter) end_of_stream: bool,
}

impl Run {
    /// The request enters a filter in shadow.
    pub(super) fn enter_shadow(
        &self,
        position: usize,
        filter: &FilterInstance,
        plugin: &Rc<Plugin>,
        end_of_stream: bool,
    ) -> Part {
        let copy = self.exchange.copy();
        let context = match plugin.begin(Seat::new(Rc::clone(&copy), position)) {
            Ok(context) => context,
            Err(error) => {
                filter.failed(kind_of_refusal(&error), &error.to_string());
                return Part::Absent;
            }
        };
        let (view, foreseen) = (Cell::new(View::Open), RefCell::default());
        let shadow = Shadow { position, context, copy, view, foreseen };
        if shadow.context.handles().request_headers {
            let count = shadow.copy.request().headers.len() + 3;
            shadow.show_head(filter, Phase::RequestHeaders, count, end_of_stream);
        }
        Part::Shadow(Box::new(shadow))
    }

    /// The response comes to a filter in shadow.
    pub(super) fn shadow_response(&self, position: usize, end_of_stream: bool) {
        self.with_open(position, |shadow, filter| {
            shadow.copy.follow(&self.exchange);
            if shadow.context.handles().response_headers {
                let count = shadow.copy.with_response(|head| head.headers.len() + 1).unwrap_or_default();
                shadow.show_head(filter, Phase::ResponseHeaders, count, end_of_stream);
            }
        });
    }

    /// A body, or a piece of it, comes to a filter in shadow. Returns what it would hold back; `None` if
    /// it sees no more of this side.
    pub(in crate::filter) fn shadow_body(
        &self,
        position: usize,
        phase: Phase,
        sighted: Sighted,
    ) -> Option<Bytes> {
        let side = side_of(phase);
        self.with_open(position, |shadow, filter| {
            let (size, end_of_stream) = (sighted.bytes.len(), sighted.end_of_stream);
            shadow.copy.body(side).replace(Some(Body::new(sighted.bytes, sighted.grown_max)));
            let heard = shadow.show(filter, phase, size, end_of_stream);
            let bytes = shadow.copy.body(side).take().map(Body::into_bytes).unwrap_or_default();
            match heard {
                Heard::Continue => {
                    shadow.copy.head_sent(side);
                    Some(Bytes::new())
                }
                Heard::Pause(_) if end_of_stream => {
                    shadow.view.set(View::Held);
                    None
                }
                Heard::Pause(PauseKind::NoBuffer) => Some(Bytes::new()),
                Heard::Pause(PauseKind::Buffer | PauseKind::Watermark) => Some(bytes),
                Heard::Ended(_) => None,
            }
        })?
    }

    /// The trailers come to a filter in shadow.
    pub(in crate::filter) fn shadow_trailers(&self, position: usize, phase: Phase) {
        let side = side_of(phase);
        self.with_open(position, |shadow, filter| {
            let trailers = self.exchange.trailers(side).borrow().clone();
            let size = trailers.as_ref().map_or(0, HeaderMap::len);
            shadow.copy.trailers(side).replace(trailers);
            shadow.show_head(filter, phase, size, true);
        });
    }

    /// The body is larger than the filter may be shown, or holds back.
    pub(in crate::filter) fn shadow_too_large(&self, position: usize, phase: Phase) {
        self.with_open(position, |shadow, filter| {
            shadow.view.set(View::Over);
            shadow.note(filter, phase, ShadowVerdict::TooLarge, None, "the body is too large for it");
        });
    }

    /// Works on a filter in shadow that is to be shown more.
    fn with_open<R>(&self, position: usize, work: impl FnOnce(&Shadow, &FilterInstance) -> R) -> Option<R> {
        let parts = self.parts.borrow();
        let (Some(Part::Shadow(shadow)), Some(filter)) =
            (parts.get(position), self.chain.filters.get(position))
        else {
            return None;
        };
        shadow.is_open(filter).then(|| work(shadow, filter))
    }

    pub(super) fn finish_shadow(&self, position: usize, mut shadow: Box<Shadow>) {
        let Some(filter) = self.chain.filters.get(position) else { return };
        shadow.copy.course.follow(&self.exchange.course);
        let is_decided = shadow.is_decided(filter);
        if is_decided {
            shadow.end(filter);
        }
        self.foreseen.borrow_mut().append(shadow.foreseen.get_mut());
        if !is_decided {
            filter.shadows.keep(shadow, filter);
        }
    }

    /// What filters in shadow would have done. For the end of the exchange.
    pub fn take_foreseen(&self) -> Vec<Foreseen> {
        self.foreseen.take()
    }
}

impl Shadow {
    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// Shows a head, or trailers; a pause there holds all.
    fn show_head(&self, filter: &FilterInstance, phase: Phase, size: usize, end_of_stream: bool) {
        if let Heard::Pause(_) = self.show(filter, phase, size, end_of_stream) {
            self.view.set(View::Held);
        }
    }

    fn show(&self, filter: &FilterInstance, phase: Phase, size: usize, end_of_stream: bool) -> Heard {
        let (signals, side) = (&self.copy.signals, side_of(phase));
        // A resume from before a pause is not an answer to it.
        let _ = signals.take_resumed(self.position, side);
        let started = Instant::now();
        let heard = match self.context.call(phase, size, end_of_stream) {
            Err(failure) => Heard::Ended(self.fail(filter, phase, kind_of(&failure), &failure.to_string())),
            Ok(action) => match (self.heed(filter, phase), action) {
                (Some(outcome), _) => Heard::Ended(outcome),
                (None, Action::Continue) => Heard::Continue,
                // It resumed the stream in the very callback that pauses it.
                (None, Action::Pause(_)) if signals.take_resumed(self.position, side) => Heard::Continue,
                (None, Action::Pause(kind)) => {
                    self.note(filter, phase, ShadowVerdict::Pause, None, "");
                    Heard::Pause(kind)
                }
            },
        };
        let outcome = match heard {
            Heard::Continue => FilterOutcome::Continue,
            Heard::Pause(_) => FilterOutcome::Pause,
            Heard::Ended(outcome) => outcome,
        };
        filter.metrics.call(phase, outcome, started.elapsed());
        heard
    }

    /// Notes what the guest asked for beside the result of a callback. Returns how that would have ended
    /// the exchange.
    fn heed(&self, filter: &FilterInstance, phase: Phase) -> Option<FilterOutcome> {
        let signals = &self.copy.signals;
        if self.view.get() == View::Over {
            return None;
        }
        if let Some((_, fault)) = signals.take_fault() {
            self.context.spoil();
            return Some(self.fail(filter, phase, fault.kind(), &fault.to_string()));
        }
        if signals.take_edited() {
            self.note(filter, phase, ShadowVerdict::Edit, None, "");
        }
        if let Some((_, reply)) = signals.take_reply() {
            let (verdict, outcome) = match reply.status.is_client_error() {
                true => (ShadowVerdict::Deny, FilterOutcome::Deny),
                false => (ShadowVerdict::Respond, FilterOutcome::Respond),
            };
            self.view.set(View::Over);
            self.note(filter, phase, verdict, Some(reply.status), &reply.reason);
            return Some(outcome);
        }
        if signals.take_closed() {
            self.view.set(View::Over);
            self.note(filter, phase, ShadowVerdict::Close, None, "");
            return Some(FilterOutcome::Close);
        }
        None
    }

    fn fail(&self, filter: &FilterInstance, phase: Phase, why: FilterFailure, reason: &str) -> FilterOutcome {
        filter.failed(why, reason);
        self.view.set(View::Over);
        self.note(filter, phase, ShadowVerdict::Fail, None, reason);
        FilterOutcome::Fail
    }

    fn note(
        &self,
        filter: &FilterInstance,
        phase: Phase,
        verdict: ShadowVerdict,
        status: Option<StatusCode>,
        reason: &str,
    ) {
        filter.metrics.shadow(verdict);
        let mut all = self.foreseen.borrow_mut();
        if all.iter().all(|known| (known.phase, known.verdict) != (phase, verdict)) {
            let (filter, reason) = (Arc::clone(&filter.name), reason.to_owned());
            all.push(Foreseen { filter, phase, verdict, status, reason });
        }
    }

    /// Whether the guest is to be shown more, now that it may have acted outside callbacks of the
    /// exchange. One whose VM was lost is not.
    fn is_open(&self, filter: &FilterInstance) -> bool {
        // What it asked for is noted there.
        let _ = self.heed(filter, Phase::Background);
        let signals = &self.copy.signals;
        let has_resumed = signals.take_resumed(self.position, Side::Request)
            | signals.take_resumed(self.position, Side::Response);
        if has_resumed && self.view.get() == View::Held {
            self.view.set(View::Open);
        }
        self.view.get() == View::Open && !self.context.is_orphaned()
    }

    /// Whether no verdict is to be waited for.
    fn is_decided(&self, filter: &FilterInstance) -> bool {
        let _ = self.is_open(filter);
        self.view.get() != View::Held || self.context.is_orphaned()
    }

    /// Ends its part: the guest's `on_done`, `on_log` and `on_delete`.
    fn end(&self, filter: &FilterInstance) {
        if let Err(failure) = filter.end(&self.context) {
            filter.metrics.failure(kind_of(&failure));
            self.note(filter, Phase::Done, ShadowVerdict::Fail, None, &failure.to_string());
        }
    }
}

/// Exchanges that are over and that a filter in shadow has not decided on. Looked through by the
/// worker's sweep; those that do not fit, or take too long, end without a verdict.
#[derive(Default)]
pub struct Shadows(RefCell<VecDeque<Kept>>);

struct Kept {
    since: Instant,
    shadow: Box<Shadow>,
}

impl Shadows {
    fn keep(&self, shadow: Box<Shadow>, filter: &FilterInstance) {
        let mut kept = self.0.borrow_mut();
        let oldest = if kept.len() < KEPT_MAX { None } else { kept.pop_front() };
        kept.push_back(Kept { since: Instant::now(), shadow });
        drop(kept);
        if let Some(oldest) = oldest {
            oldest.end(filter);
        }
    }

    /// Logs what has been decided meanwhile, and ends what has waited longer than `limit`.
    pub(in crate::filter) fn sweep(&self, filter: &FilterInstance, limit: Duration) {
        if self.0.borrow().is_empty() {
            return;
        }
        // Taken out while guests run.
        for kept in self.0.take() {
            if kept.shadow.is_decided(filter) || kept.since.elapsed() > limit {
                kept.end(filter);
            } else {
                self.0.borrow_mut().push_back(kept);
            }
        }
    }
}

impl Kept {
    fn end(self, filter: &FilterInstance) {
        self.shadow.end(filter);
        for Foreseen { filter, phase, verdict, status, reason } in self.shadow.foreseen.take() {
            tracing::info!(
                filter = &*filter,
                request_id = self.shadow.copy.request_id.to_str().unwrap_or_default(),
                phase = phase.as_str(),
                verdict = verdict.as_str(),
                status = status.map(|status| status.as_u16()),
                reason,
                "a filter in shadow decided when the exchange was over"
            );
        }
    }
}
