//! One side's body on its way through the chain.
//!
//! Pieces go in, frames come out. A guest sees a piece together with what it held back before, may
//! change all of it, and lets it go or holds it; what it lets go is the next filter's piece. The last
//! piece is told apart by `end_of_stream`, and is told even if it is empty.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use tollgate_proxy_wasm::PauseKind;

use super::exchange::{Body, Side};
use super::reply::Reply;
use super::run::{FilterError, Run, Verdict};
use super::signals::Waiter;
use crate::telemetry::Phase;

/// Why a body cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    /// A filter holds back more than it may.
    #[error("more than {max} bytes held back by a filter")]
    TooLarge {
        /// `limits.buffer_bytes`.
        max: usize,
    },
    /// A filter answered in the middle of the body.
    #[error("a filter answered")]
    Replied(Box<Reply>),
    /// A filter failed or closed the stream.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

/// What arrives at a stage.
enum Piece {
    Data { bytes: Bytes, is_last: bool },
    Trailers,
}

/// A filter on the body's way.
struct Stage {
    position: usize,
    held: Bytes,
    is_paused: bool,
    kind: PauseKind,
    /// The end, or the trailers, have come as far as here.
    has_ended: bool,
    has_trailers: bool,
}

/// One side's body on its way through the chain.
pub struct BodyPipe {
    side: Side,
    stages: Vec<Stage>,
    out: VecDeque<Frame<Bytes>>,
    has_read_all: bool,
    is_complete: bool,
}

/// What the source of a body gives.
pub struct Fed {
    /// The next frame; `None` at the end.
    pub frame: Option<Frame<Bytes>>,
    /// Whether nothing follows it.
    pub is_last: bool,
}

impl BodyPipe {
    /// The way of `side`'s body through the filters of `run` that look at bodies; `None` if none does.
    pub fn new(run: &Run, side: Side) -> Option<Self> {
        let positions = run.body_positions(side);
        if positions.is_empty() {
            return None;
        }
        let stage = |position| Stage {
            position,
            held: Bytes::new(),
            is_paused: false,
            kind: PauseKind::Buffer,
            has_ended: false,
            has_trailers: false,
        };
        let stages = positions.into_iter().map(stage).collect();
        Some(Self { side, stages, out: VecDeque::new(), has_read_all: false, is_complete: false })
    }

    /// The next frame that the filters let go; `None` at the end. Asks `source` for more as long as no
    /// filter wants back-pressure. Pending while the source is, or while a filter holds the rest back:
    /// then the task is woken when a filter asks for something.
    pub fn poll<E: From<PipeError>>(
        &mut self,
        run: &Run,
        waiter: Waiter,
        cx: &mut Context<'_>,
        mut source: impl FnMut(&mut Context<'_>) -> Poll<Result<Fed, E>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        loop {
            if let Some(frame) = self.out.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.is_complete {
                return Poll::Ready(None);
            }
            run.wait(waiter, cx);
            let is_closed = self.has_read_all || self.is_choked(run.exchange().buffer_bytes_max);
            let fed = if is_closed { Poll::Pending } else { source(cx) };
            let stepped = match fed {
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Ok(fed)) => self.push(run, fed),
                Poll::Pending => match self.resume(run) {
                    Ok(()) if !self.is_complete && self.out.is_empty() => return Poll::Pending,
                    resumed => resumed,
                },
            };
            if let Err(error) = stepped {
                return Poll::Ready(Some(Err(error.into())));
            }
        }
    }

    /// Whether all has come out.
    pub fn is_complete(&self) -> bool {
        self.is_complete && self.out.is_empty()
    }

    /// Whether a filter holds the end back.
    pub fn is_paused(&self) -> bool {
        self.stages.iter().any(|stage| stage.is_paused)
    }

    /// Whether no more should be read: a filter that asked for back-pressure is paused.
    fn is_choked(&self, max: usize) -> bool {
        let chokes = |stage: &Stage| {
            stage.is_paused && matches!(stage.kind, PauseKind::Watermark) && stage.held.len() >= max
        };
        self.stages.iter().any(chokes)
    }

    /// A frame has arrived, or the end.
    fn push(&mut self, run: &Run, fed: Fed) -> Result<(), PipeError> {
        let is_end = fed.frame.as_ref().is_none_or(Frame::is_trailers);
        self.has_read_all = is_end || fed.is_last;
        match fed.frame.map(Frame::into_data) {
            None => self.push_data(run, Bytes::new(), true),
            Some(Ok(bytes)) => self.push_data(run, bytes, fed.is_last),
            Some(Err(frame)) => match frame.into_trailers() {
                Ok(trailers) => self.push_trailers(run, trailers),
                Err(_) => Ok(()),
            },
        }
    }

    /// A piece has arrived.
    fn push_data(&mut self, run: &Run, bytes: Bytes, is_last: bool) -> Result<(), PipeError> {
        self.pass(run, 0, Piece::Data { bytes, is_last })
    }

    /// The trailers have arrived, which end the body.
    fn push_trailers(&mut self, run: &Run, trailers: HeaderMap) -> Result<(), PipeError> {
        run.exchange().trailers(self.side).replace(Some(trailers));
        self.pass(run, 0, Piece::Trailers)
    }

    /// Lets go what filters resumed outside a callback.
    fn resume(&mut self, run: &Run) -> Result<(), PipeError> {
        run.check_closed()?;
        if let Some((_, reply)) = run.exchange().signals.take_reply() {
            return Err(PipeError::Replied(Box::new(reply)));
        }
        for index in 0..self.stages.len() {
            let stage = &mut self.stages[index];
            let goes_on = stage.is_paused
                && (run.exchange().signals.take_resumed(stage.position, self.side)
                    || run.release_orphan(stage.position, self.side.body_phase())?);
            if goes_on {
                stage.is_paused = false;
                let bytes = std::mem::take(&mut stage.held);
                let (has_ended, has_trailers) = (stage.has_ended, stage.has_trailers);
                self.forward(run, index + 1, bytes, has_ended, has_trailers)?;
            }
        }
        Ok(())
    }

    /// Passes a piece on from the stage at `index`.
    fn pass(&mut self, run: &Run, index: usize, piece: Piece) -> Result<(), PipeError> {
        let Some(stage) = self.stages.get_mut(index) else {
            self.emit(run, piece);
            return Ok(());
        };
        let (position, was_paused) = (stage.position, stage.is_paused);
        let (phase, bytes, is_last) = match piece {
            Piece::Data { bytes, is_last } => (self.side.body_phase(), join(&mut stage.held, bytes), is_last),
            Piece::Trailers => (self.side.trailers_phase(), std::mem::take(&mut stage.held), true),
        };
        stage.has_ended |= is_last;
        stage.has_trailers |= matches!(phase, Phase::RequestTrailers | Phase::ResponseTrailers);
        let (has_ended, has_trailers) = (stage.has_ended, stage.has_trailers);

        let exchange = run.exchange();
        let size = match has_trailers {
            true => exchange.trailers(self.side).borrow().as_ref().map_or(0, HeaderMap::len),
            false => bytes.len(),
        };
        if !was_paused {
            // A resume from before a pause is not an answer to it.
            let _ = exchange.signals.take_resumed(position, self.side);
        }
        exchange.body(self.side).replace(Some(Body::new(bytes)));
        let verdict = run.call_guest(position, phase, size, is_last);
        let bytes = exchange.body(self.side).take().map(Body::into_bytes).unwrap_or_default();
        let verdict = verdict?;
        run.check_closed()?;
        match verdict {
            Verdict::Continue => {
                if let Some(stage) = self.stages.get_mut(index) {
                    stage.is_paused = false;
                }
                self.forward(run, index + 1, bytes, has_ended, has_trailers)
            }
            Verdict::Replied(reply) => Err(PipeError::Replied(reply)),
            Verdict::Pause(kind) => self.hold(run, index, kind, bytes),
        }
    }

    /// Passes on what a stage let go: data, then trailers.
    fn forward(
        &mut self,
        run: &Run,
        index: usize,
        bytes: Bytes,
        has_ended: bool,
        has_trailers: bool,
    ) -> Result<(), PipeError> {
        if !has_trailers {
            return self.pass(run, index, Piece::Data { bytes, is_last: has_ended });
        }
        if !bytes.is_empty() {
            self.pass(run, index, Piece::Data { bytes, is_last: false })?;
        }
        self.pass(run, index, Piece::Trailers)
    }

    fn hold(&mut self, run: &Run, index: usize, kind: PauseKind, bytes: Bytes) -> Result<(), PipeError> {
        let Some(stage) = self.stages.get_mut(index) else { return Ok(()) };
        run.hold(stage.position);
        stage.is_paused = true;
        stage.kind = kind;
        stage.held = match kind {
            PauseKind::NoBuffer => Bytes::new(),
            PauseKind::Buffer | PauseKind::Watermark => bytes,
        };
        let max = run.exchange().buffer_bytes_max;
        // Reading stops when a watermark is reached, so only one piece can be above it.
        match matches!(kind, PauseKind::Buffer) && stage.held.len() > max {
            true => Err(PipeError::TooLarge { max }),
            false => Ok(()),
        }
    }

    fn emit(&mut self, run: &Run, piece: Piece) {
        match piece {
            Piece::Data { bytes, is_last } => {
                if !bytes.is_empty() {
                    self.out.push_back(Frame::data(bytes));
                }
                self.is_complete |= is_last;
            }
            Piece::Trailers => {
                if let Some(trailers) = run.exchange().trailers(self.side).take() {
                    self.out.push_back(Frame::trailers(trailers));
                }
                self.is_complete = true;
            }
        }
    }
}

/// Phases of a side's body.
trait BodyPhases {
    fn body_phase(self) -> Phase;
    fn trailers_phase(self) -> Phase;
}

impl BodyPhases for Side {
    fn body_phase(self) -> Phase {
        match self {
            Side::Request => Phase::RequestBody,
            Side::Response => Phase::ResponseBody,
        }
    }

    fn trailers_phase(self) -> Phase {
        match self {
            Side::Request => Phase::RequestTrailers,
            Side::Response => Phase::ResponseTrailers,
        }
    }
}

/// What was held, and what has come.
fn join(held: &mut Bytes, more: Bytes) -> Bytes {
    if held.is_empty() {
        return more;
    }
    let mut whole = match std::mem::take(held).try_into_mut() {
        Ok(held) => held,
        Err(held) => {
            let mut copy = BytesMut::with_capacity(held.len() + more.len());
            copy.extend_from_slice(&held);
            copy
        }
    };
    whole.extend_from_slice(&more);
    whole.freeze()
}
