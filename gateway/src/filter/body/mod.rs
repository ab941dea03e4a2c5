//! One side's body on its way through the chain.
//!
//! Pieces go in, frames come out. Each filter that looks at bodies is a [`stage`] of the way, and takes
//! from it what the policy's [`BodyMode`](crate::policy::bodies::BodyMode) says:
//! * stream: it sees a piece together with what it held back before, may change all of it, and lets it
//!   go or holds it. The last piece is told apart by `end_of_stream`, and is told even if it is empty.
//! * buffer: pieces are gathered, and shown once, whole. More than may be gathered is an error, found
//!   before any of it is copied into the guest.
//! * peek: the beginning is gathered and shown once; the rest goes past.
//!
//! What a stage lets go is the next one's piece. While a stage gathers, or holds the beginning back, the
//! head waits ([`BodyPipe::poll_begin`]): filters may still change it, or answer instead.
//!
//! Filters in shadow stand beside the way ([`watch`]).
//!
//! A pause in the one callback of a gathering stage holds everything, trailers too, until the filter
//! resumes the stream: it has seen all that it will see.

mod stage;
mod watch;

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

pub(super) use self::stage::join;
use self::stage::{Intake, Stage};
use self::watch::Watcher;
use super::exchange::Side;
use super::reply::Reply;
use super::run::{FilterError, Looker, Run};
use super::signals::Waiter;

/// Why a body cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    /// It has more bytes than a filter may be shown, or may hold back.
    #[error("more than {max} bytes for a filter")]
    TooLarge {
        /// The filter's `buffer`, or `limits.buffer_bytes`.
        max: usize,
    },
    /// A filter answered in the middle of the body.
    #[error("a filter answered")]
    Replied(Box<Reply>),
    /// A filter failed or closed the stream.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

/// What arrives at a stage. The trailers themselves are in the exchange.
enum Piece {
    Data { bytes: Bytes, is_last: bool },
    Trailers,
}

/// One side's body on its way through the chain.
pub struct BodyPipe {
    side: Side,
    stages: Vec<Stage>,
    watchers: Vec<Watcher>,
    out: VecDeque<Frame<Bytes>>,
    has_read_all: bool,
    /// The end has come out of the last stage.
    has_ended: bool,
    has_new_length: bool,
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
        let max = run.exchange().buffer_bytes_max;
        let lookers = run.lookers(side);
        if lookers.is_empty() {
            return None;
        }
        let (mut stages, mut watchers) = (Vec::with_capacity(lookers.len()), Vec::new());
        for Looker { position, mode, is_shadow } in lookers {
            match is_shadow {
                false => stages.push(Stage::new(position, mode, max)),
                true => watchers.push(Watcher::new(position, stages.len(), mode, max)),
            }
        }
        Some(Self {
            side,
            stages,
            watchers,
            out: VecDeque::new(),
            has_read_all: false,
            has_ended: false,
            has_new_length: false,
        })
    }

    /// Waits until the head may go: until the filters let the first frame, or the end, go. A body whose
    /// beginning has not come yet is waited for only if a filter is to see it before the head goes.
    pub fn poll_begin<E: From<PipeError>>(
        &mut self,
        run: &Run,
        waiter: Waiter,
        cx: &mut Context<'_>,
        source: impl FnMut(&mut Context<'_>) -> Poll<Result<Fed, E>>,
    ) -> Poll<Result<(), E>> {
        match self.drive(run, waiter, cx, source) {
            Poll::Pending if self.stages.iter().any(Stage::holds_head) => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
            ready => ready,
        }
    }

    /// The next frame that the filters let go; `None` at the end. Asks `source` for more as long as no
    /// filter wants back-pressure. Pending while the source is, or while a filter holds the rest back:
    /// then the task is woken when a filter asks for something.
    pub fn poll<E: From<PipeError>>(
        &mut self,
        run: &Run,
        waiter: Waiter,
        cx: &mut Context<'_>,
        source: impl FnMut(&mut Context<'_>) -> Poll<Result<Fed, E>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        match ready!(self.drive(run, waiter, cx, source)) {
            Ok(()) => Poll::Ready(self.out.pop_front().map(Ok)),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    /// Ready when there is a frame to take, or the end.
    fn drive<E: From<PipeError>>(
        &mut self,
        run: &Run,
        waiter: Waiter,
        cx: &mut Context<'_>,
        mut source: impl FnMut(&mut Context<'_>) -> Poll<Result<Fed, E>>,
    ) -> Poll<Result<(), E>> {
        loop {
            if self.has_ended || !self.out.is_empty() {
                return Poll::Ready(Ok(()));
            }
            run.wait(waiter, cx);
            let is_closed = self.has_read_all || self.stages.iter().any(Stage::is_choked);
            let fed = if is_closed { Poll::Pending } else { source(cx) };
            match fed {
                Poll::Ready(fed) => self.push(run, fed?)?,
                // What was let go may have made room for more.
                Poll::Pending if self.resume(run)? => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether all has come out and was taken.
    pub fn is_complete(&self) -> bool {
        self.has_ended && self.out.is_empty()
    }

    /// How many bytes are left to take, once all have come out. Unknown for a body with trailers, which
    /// is sent in chunks.
    pub fn bytes_left(&self) -> Option<u64> {
        let lengths = self.out.iter().map(|frame| frame.data_ref().map(|data| data.len() as u64));
        if self.has_ended { lengths.sum() } else { None }
    }

    /// Whether a filter made the body longer or shorter, so far.
    pub fn has_new_length(&self) -> bool {
        self.has_new_length
    }

    /// A frame has arrived, or the end.
    fn push(&mut self, run: &Run, fed: Fed) -> Result<(), PipeError> {
        let is_end = fed.frame.as_ref().is_none_or(Frame::is_trailers);
        self.has_read_all = is_end || fed.is_last;
        match fed.frame.map(Frame::into_data) {
            None => self.pass(run, 0, Piece::Data { bytes: Bytes::new(), is_last: true }),
            Some(Ok(bytes)) => self.pass(run, 0, Piece::Data { bytes, is_last: fed.is_last }),
            Some(Err(frame)) => match frame.into_trailers() {
                Ok(trailers) => self.push_trailers(run, trailers),
                Err(_) => Ok(()),
            },
        }
    }

    /// The trailers have arrived, which end the body.
    fn push_trailers(&mut self, run: &Run, trailers: HeaderMap) -> Result<(), PipeError> {
        run.exchange().trailers(self.side).replace(Some(trailers));
        self.pass(run, 0, Piece::Trailers)
    }

    /// Lets go what filters resumed outside a callback; returns whether any did.
    fn resume(&mut self, run: &Run) -> Result<bool, PipeError> {
        let phase = stage::body_phase(self.side);
        run.check_closed(phase)?;
        if let Some((by, reply)) = run.take_reply() {
            run.note(by, phase, &reply.reason);
            run.answered_by(by, self.side);
            return Err(PipeError::Replied(Box::new(reply)));
        }
        let mut has_resumed = false;
        for index in 0..self.stages.len() {
            let stage = &self.stages[index];
            let goes_on = stage.is_paused
                && (run.release_failed(stage.position, phase)?
                    || run.exchange().signals.take_resumed(stage.position, self.side)
                    || run.release_orphan(stage.position, phase)?);
            if goes_on {
                self.release(run, index)?;
                has_resumed = true;
            }
        }
        Ok(has_resumed)
    }

    /// A piece arrives at the stage at `index`, or has passed the last one.
    fn pass(&mut self, run: &Run, index: usize, piece: Piece) -> Result<(), PipeError> {
        if run.is_taped() {
            self.tape(run, index, &piece);
        }
        for watcher in self.watchers.iter_mut().filter(|watcher| watcher.stage == index) {
            watcher.see(run, self.side, &piece);
        }
        match self.stages.get(index).map(|stage| stage.intake) {
            None => self.emit(run, piece),
            Some(Intake::Each) => return self.show(run, index, piece),
            Some(Intake::Whole) => return self.gather_whole(run, index, piece),
            Some(Intake::Beginning) => return self.gather_beginning(run, index, piece),
            Some(Intake::Nothing) => return self.go_past(run, index, piece),
        }
        Ok(())
    }

    /// Tells the tape what leaves the stage before, and what comes to this one.
    #[cold]
    fn tape(&self, run: &Run, index: usize, piece: &Piece) {
        let side = self.side;
        if let Some(before) = index.checked_sub(1).and_then(|before| self.stages.get(before)) {
            run.taped(before.position, |tape| match piece {
                Piece::Data { bytes, .. } => tape.data_out(side, bytes),
                Piece::Trailers => tape.trailers_out(side),
            });
        }
        if let Some(stage) = self.stages.get(index) {
            run.taped(stage.position, |tape| match piece {
                Piece::Data { bytes, .. } => tape.data_in(side, bytes),
                Piece::Trailers => tape.trailers_in(side),
            });
        }
    }

    fn emit(&mut self, run: &Run, piece: Piece) {
        match piece {
            Piece::Data { bytes, is_last } => {
                if !bytes.is_empty() {
                    self.out.push_back(Frame::data(bytes));
                }
                self.has_ended |= is_last;
            }
            Piece::Trailers => {
                if let Some(trailers) = run.exchange().trailers(self.side).take() {
                    self.out.push_back(Frame::trailers(trailers));
                }
                self.has_ended = true;
            }
        }
    }
}
