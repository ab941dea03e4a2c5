//! One connection's way through its chain.
//!
//! * `call`: one callback of a guest, and what follows from a failure.
//! * `loss`: guests that lose their VM between two callbacks.
//! * `outlet`: what has passed every filter.

mod call;
mod loss;
mod outlet;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Instant;

use bytes::Bytes;
use tollgate_proxy_wasm::PeerType;

use self::call::count;
use self::outlet::Outlet;
use super::connection::Connection;
use crate::filter::body::join;
use crate::filter::chain::Chain;
use crate::filter::exchange::{Side, SideIndex};
use crate::filter::run::{Ended, kind_of_refusal};
use crate::filter::wasm::{Context, NetworkSeat};
use crate::telemetry::Phase;
use crate::telemetry::metrics::FilterOutcome;

/// Why a chain ended a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// A filter failed, and its policy is to refuse.
    #[error("filter {filter} failed")]
    Failed {
        /// Which.
        filter: Arc<str>,
    },
    /// A filter closed the connection.
    #[error("filter {filter} closed the connection")]
    Closed {
        /// Which.
        filter: Arc<str>,
    },
    /// A filter holds back more than it may.
    #[error("filter {filter} holds back more than {max} bytes")]
    TooLarge {
        /// Which.
        filter: Arc<str>,
        /// `tcp.buffer_bytes`.
        max: usize,
    },
}

/// One connection's way through its chain.
pub struct Passage {
    chain: Rc<Chain>,
    connection: Rc<Connection>,
    /// By position.
    parts: Vec<Part>,
    outlets: [Outlet; 2],
    ended: Option<Ended>,
}

/// A filter's part in a connection.
#[derive(Default)]
struct Part {
    /// `None` if it takes no part, or none any more. What it has held back then goes on.
    context: Option<Context>,
    flows: [Flow; 2],
}

/// One direction at one filter.
#[derive(Default)]
struct Flow {
    held: Bytes,
    is_paused: bool,
    /// The end has come as far as here.
    has_ended: bool,
}

/// What a callback came to.
enum Verdict {
    Continue,
    Hold,
}

impl Passage {
    /// A way that begins.
    pub fn new(chain: Rc<Chain>, connection: Rc<Connection>) -> Self {
        let parts = Vec::with_capacity(chain.filters.len());
        Self { chain, connection, parts, outlets: Default::default(), ended: None }
    }

    /// The new connection passes the chain in the order written. Waits while a filter holds it back.
    pub async fn enter(&mut self) -> Result<(), Stop> {
        for position in 0..self.chain.filters.len() {
            self.parts.push(Part::default());
            if let Verdict::Hold = self.begin(position)? {
                self.wait_for_entry(position).await?;
            }
        }
        Ok(())
    }

    /// Whether any filter looks at the data of `side`.
    pub fn looks_at(&self, side: Side) -> bool {
        self.parts.iter().any(|part| part.looks_at(side))
    }

    /// Bytes have arrived on `side`, or, with `is_last`, its end.
    pub fn push(&mut self, side: Side, bytes: Bytes, is_last: bool) -> Result<(), Stop> {
        self.pass(side, 0, bytes, is_last)
    }

    /// How many bytes of `side` may be read at once: a filter is shown at most one byte more than it may
    /// hold back.
    pub fn room(&self, side: Side) -> usize {
        let max = self.connection.buffer_bytes_max;
        let room = |part: &Part| {
            let flow = &part.flows[side.index()];
            if flow.is_paused { (max - flow.held.len().min(max)).saturating_add(1) } else { max }
        };
        let looking = self.parts.iter().filter(|part| part.looks_at(side));
        looking.map(room).min().unwrap_or(usize::MAX)
    }

    /// What has passed on `side`.
    pub fn outlet(&mut self, side: Side) -> &mut Outlet {
        &mut self.outlets[side.index()]
    }

    /// Wakes this task when a filter asks for something outside a callback.
    pub fn register(&self, cx: &task::Context<'_>) {
        if !self.parts.is_empty() {
            self.connection.signals.register(cx);
        }
    }

    /// Acts on what filters asked for outside a callback: lets go what they resumed.
    pub fn settle(&mut self) -> Result<(), Stop> {
        if self.parts.is_empty() {
            return Ok(());
        }
        self.check_closed(Phase::Background)?;
        for side in [Side::Request, Side::Response] {
            for step in 0..self.parts.len() {
                self.resume(side, step)?;
            }
        }
        Ok(())
    }

    /// Tells every filter that the connection to the client, and that to the upstream if there was one,
    /// are over, and who ended them; then ends the filters' parts, guests' `on_done`, `on_log` and
    /// `on_delete` included.
    pub fn close(&mut self, downstream: PeerType, upstream: Option<PeerType>) {
        for position in 0..self.parts.len() {
            self.tell_closed(position, Phase::DownstreamClose, downstream);
        }
        if let Some(upstream) = upstream {
            for position in (0..self.parts.len()).rev() {
                self.tell_closed(position, Phase::UpstreamClose, upstream);
            }
        }
        for position in 0..self.parts.len() {
            self.end(position);
        }
    }

    /// The filter that ended the connection, if one did.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// Begins the part of the filter at `position`.
    fn begin(&mut self, position: usize) -> Result<Verdict, Stop> {
        let filter = Rc::clone(&self.chain.filters[position]);
        let Some((plugin, _)) = filter.guest() else { return Ok(Verdict::Continue) };
        let started = Instant::now();
        let context = match plugin.begin(NetworkSeat::new(Rc::clone(&self.connection), position)) {
            Ok(context) => context,
            Err(error) => {
                let reason = error.to_string();
                filter.failed(kind_of_refusal(&error), &reason);
                let result = self.fail(position, &filter, Phase::NewConnection, reason);
                count(&filter, Phase::NewConnection, FilterOutcome::Fail, started);
                return result.map(|()| Verdict::Continue);
            }
        };
        // A resume from before a pause is not an answer to it.
        let _ = self.connection.signals.take_resumed(position, Side::Request);
        let handles = context.handles();
        self.parts[position].context = Some(context);
        if !handles.new_connection {
            return Ok(Verdict::Continue);
        }
        self.call(position, Side::Request, Phase::NewConnection, 0, false)
    }

    /// Waits until the filter at `position` lets the new connection go on.
    async fn wait_for_entry(&mut self, position: usize) -> Result<(), Stop> {
        if let Some(context) = &self.parts[position].context {
            context.hold(&self.connection);
        }
        let connection = Rc::clone(&self.connection);
        poll_fn(|cx| {
            let signals = &connection.signals;
            if signals.take_resumed(position, Side::Request)
                || signals.closed().is_some()
                || self.is_lost(position)
            {
                return Poll::Ready(());
            }
            signals.register(cx);
            Poll::Pending
        })
        .await;
        self.check_closed(Phase::Background)?;
        self.fail_lost(position, Phase::NewConnection)
    }

    /// Passes bytes on from the filter that is `step`s from where `side` begins.
    fn pass(&mut self, side: Side, step: usize, mut bytes: Bytes, mut is_last: bool) -> Result<(), Stop> {
        for step in step..self.parts.len() {
            let position = self.position(side, step);
            match self.offer(position, side, bytes, is_last)? {
                Some((let_go, ends)) => (bytes, is_last) = (let_go, ends),
                None => return Ok(()),
            }
            if bytes.is_empty() && !is_last {
                return Ok(());
            }
        }
        self.outlets[side.index()].push(bytes, is_last);
        Ok(())
    }

    fn position(&self, side: Side, step: usize) -> usize {
        match side {
            Side::Request => step,
            Side::Response => self.parts.len() - 1 - step,
        }
    }

    /// Shows bytes to the filter at `position`, together with what it holds back. `None`: it holds all.
    fn offer(
        &mut self,
        position: usize,
        side: Side,
        bytes: Bytes,
        is_last: bool,
    ) -> Result<Option<(Bytes, bool)>, Stop> {
        if self.parts[position].looks_at(side) {
            self.rehome(position, side)?;
        }
        let part = &mut self.parts[position];
        let is_shown = part.looks_at(side);
        let flow = &mut part.flows[side.index()];
        flow.has_ended |= is_last;
        let (was_paused, has_ended) = (std::mem::take(&mut flow.is_paused), flow.has_ended);
        let whole = join(&mut flow.held, bytes);
        if !is_shown {
            return Ok(Some((whole, has_ended)));
        }
        if !was_paused {
            // A resume from before a pause is not an answer to it.
            let _ = self.connection.signals.take_resumed(position, side);
        }
        let size = whole.len();
        self.connection.show(side, whole);
        let verdict = self.call(position, side, data_phase(side), size, has_ended);
        let bytes = self.connection.take(side);
        match verdict? {
            Verdict::Continue => Ok(Some((bytes, has_ended))),
            Verdict::Hold => self.hold(position, side, bytes).map(|()| None),
        }
    }

    fn hold(&mut self, position: usize, side: Side, bytes: Bytes) -> Result<(), Stop> {
        let part = &mut self.parts[position];
        if let Some(context) = &part.context {
            context.hold(&self.connection);
        }
        let flow = &mut part.flows[side.index()];
        flow.is_paused = true;
        flow.held = bytes;
        let (held, max) = (flow.held.len(), self.connection.buffer_bytes_max);
        if held <= max {
            return Ok(());
        }
        let filter = Arc::clone(&self.chain.filters[position].name);
        self.note(position, data_phase(side), &format!("holds back more than {max} bytes"));
        Err(Stop::TooLarge { filter, max })
    }

    /// Lets go what the filter at `step` of `side` holds back, if it was resumed meanwhile, or takes no
    /// part any more.
    fn resume(&mut self, side: Side, step: usize) -> Result<(), Stop> {
        let position = self.position(side, step);
        if !self.parts[position].flows[side.index()].is_paused {
            return Ok(());
        }
        self.fail_lost(position, data_phase(side))?;
        let is_gone = self.parts[position].context.is_none();
        if !is_gone && !self.connection.signals.take_resumed(position, side) {
            return Ok(());
        }
        let flow = &mut self.parts[position].flows[side.index()];
        flow.is_paused = false;
        let (held, has_ended) = (std::mem::take(&mut flow.held), flow.has_ended);
        self.pass(side, step + 1, held, has_ended)
    }
}

impl Part {
    fn looks_at(&self, side: Side) -> bool {
        let Some(context) = &self.context else { return false };
        match side {
            Side::Request => context.handles().downstream_data,
            Side::Response => context.handles().upstream_data,
        }
    }
}

fn data_phase(side: Side) -> Phase {
    match side {
        Side::Request => Phase::DownstreamData,
        Side::Response => Phase::UpstreamData,
    }
}
