//! A filter on a body's way: what it takes in, what its guest is shown, what it holds back.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use tollgate_proxy_wasm::PauseKind;

use super::{BodyPipe, Piece, PipeError};
use crate::filter::exchange::{Body, Side};
use crate::filter::run::{Run, Verdict};
use crate::policy::bodies::BodyMode;
use crate::telemetry::Phase;

/// A filter on the body's way.
pub(super) struct Stage {
    pub(super) position: usize,
    pub(super) intake: Intake,
    /// Bytes that it may be shown, or hold back.
    max: usize,
    /// Bytes to which its guest may make what it is shown grow.
    grown_max: usize,
    /// What it gathers, or what its guest has seen and holds back.
    held: Bytes,
    /// What has come behind `held` and its guest is not to see.
    behind: Bytes,
    pub(super) is_paused: bool,
    kind: PauseKind,
    /// The end, or the trailers, have come as far as here.
    has_ended: bool,
    has_trailers: bool,
    /// The guest is to see the trailers once it lets the body go.
    owes_trailers: bool,
}

/// What a stage does with the next piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intake {
    /// Shows it.
    Each,
    /// Gathers until the body is whole.
    Whole,
    /// Gathers until there is enough of it.
    Beginning,
    /// Lets it go past.
    Nothing,
}

impl Intake {
    /// What a filter with this mode takes in, and how many bytes of it at once; `max` if the mode has no
    /// limit of its own.
    pub(super) fn of(mode: BodyMode, max: usize) -> (Self, usize) {
        match mode {
            BodyMode::None => (Self::Nothing, 0),
            BodyMode::Stream => (Self::Each, max),
            BodyMode::Buffer(max) => (Self::Whole, max.get() as usize),
            BodyMode::Peek(max) => (Self::Beginning, max.get() as usize),
        }
    }
}

impl Stage {
    /// The filter at `position`; it may hold `max` bytes back if its mode has no limit of its own.
    pub(super) fn new(position: usize, mode: BodyMode, max: usize) -> Self {
        let (intake, shown_max) = Intake::of(mode, max);
        Self {
            position,
            intake,
            max: shown_max,
            grown_max: shown_max.max(max),
            held: Bytes::new(),
            behind: Bytes::new(),
            is_paused: false,
            kind: PauseKind::Buffer,
            has_ended: false,
            has_trailers: false,
            owes_trailers: false,
        }
    }

    /// Whether the guest may still want to change the head.
    pub(super) fn holds_head(&self) -> bool {
        self.is_paused || matches!(self.intake, Intake::Whole | Intake::Beginning)
    }

    /// Whether no more should be read: a paused filter asked for back-pressure, or will see no more.
    pub(super) fn is_choked(&self) -> bool {
        let is_full = matches!(self.kind, PauseKind::Watermark) && self.held.len() >= self.max;
        self.is_paused && (is_full || self.intake == Intake::Nothing)
    }
}

impl BodyPipe {
    /// Gathers; shows the whole at the end, or before the trailers.
    pub(super) fn gather_whole(&mut self, run: &Run, index: usize, piece: Piece) -> Result<(), PipeError> {
        let stage = &mut self.stages[index];
        match piece {
            Piece::Data { bytes, .. } if bytes.len() > stage.max - stage.held.len() => {
                Err(self.too_large(run, index))
            }
            Piece::Data { bytes, is_last: false } => {
                stage.held = join(&mut stage.held, bytes);
                Ok(())
            }
            last @ Piece::Data { .. } => {
                stage.intake = Intake::Each;
                self.show(run, index, last)
            }
            Piece::Trailers => self.show_before_trailers(run, index),
        }
    }

    /// Gathers; shows what there is once it is enough, or all.
    pub(super) fn gather_beginning(
        &mut self,
        run: &Run,
        index: usize,
        piece: Piece,
    ) -> Result<(), PipeError> {
        let stage = &mut self.stages[index];
        let (mut bytes, is_last) = match piece {
            Piece::Data { bytes, is_last } => (bytes, is_last),
            Piece::Trailers => return self.show_before_trailers(run, index),
        };
        let room = stage.max - stage.held.len();
        if bytes.len() < room && !is_last {
            stage.held = join(&mut stage.held, bytes);
            return Ok(());
        }
        let rest = bytes.split_off(room.min(bytes.len()));
        let is_whole = is_last && rest.is_empty();
        stage.intake = if is_whole { Intake::Each } else { Intake::Nothing };
        self.show(run, index, Piece::Data { bytes, is_last: is_whole })?;
        match is_whole {
            true => Ok(()),
            false => self.go_past(run, index, Piece::Data { bytes: rest, is_last }),
        }
    }

    /// The body is whole and trailers follow: it is shown as whole, and they are shown once it is let go.
    fn show_before_trailers(&mut self, run: &Run, index: usize) -> Result<(), PipeError> {
        let stage = &mut self.stages[index];
        stage.intake = Intake::Each;
        stage.owes_trailers = true;
        let bytes = std::mem::take(&mut stage.held);
        let phase = body_phase(self.side);
        let size = bytes.len();
        self.call(run, index, phase, Shown { bytes, size, end_of_stream: true })?;
        self.pay_trailers(run, index)
    }

    /// Shows trailers that are owed, unless the guest holds the body before them.
    fn pay_trailers(&mut self, run: &Run, index: usize) -> Result<(), PipeError> {
        let stage = &mut self.stages[index];
        if stage.is_paused || !std::mem::take(&mut stage.owes_trailers) {
            return Ok(());
        }
        self.show(run, index, Piece::Trailers)
    }

    /// Lets a piece go past the guest, behind what it holds back.
    pub(super) fn go_past(&mut self, run: &Run, index: usize, piece: Piece) -> Result<(), PipeError> {
        let stage = &mut self.stages[index];
        if !stage.is_paused {
            return self.pass(run, index + 1, piece);
        }
        match piece {
            Piece::Data { bytes, is_last } => {
                stage.behind = join(&mut stage.behind, bytes);
                stage.has_ended |= is_last;
            }
            Piece::Trailers => (stage.has_ended, stage.has_trailers) = (true, true),
        }
        Ok(())
    }

    /// A guest let go what it held back.
    pub(super) fn release(&mut self, run: &Run, index: usize) -> Result<(), PipeError> {
        let stage = &mut self.stages[index];
        stage.is_paused = false;
        let held = std::mem::take(&mut stage.held);
        if stage.intake == Intake::Nothing {
            let behind = std::mem::take(&mut stage.behind);
            let (has_ended, has_trailers) = (stage.has_ended, stage.has_trailers);
            self.forward(run, index + 1, held, false, false)?;
            return self.forward(run, index + 1, behind, has_ended, has_trailers);
        }
        self.let_go(run, index, held)?;
        self.pay_trailers(run, index)
    }

    /// Shows a piece to the guest, together with what it held back.
    pub(super) fn show(&mut self, run: &Run, index: usize, piece: Piece) -> Result<(), PipeError> {
        let stage = &mut self.stages[index];
        let (phase, bytes, is_last) = match piece {
            Piece::Data { bytes, is_last } => (body_phase(self.side), join(&mut stage.held, bytes), is_last),
            Piece::Trailers => {
                stage.has_trailers = true;
                (trailers_phase(self.side), std::mem::take(&mut stage.held), true)
            }
        };
        stage.has_ended |= is_last;
        let size = match stage.has_trailers {
            true => run.exchange().trailers(self.side).borrow().as_ref().map_or(0, HeaderMap::len),
            false => bytes.len(),
        };
        self.call(run, index, phase, Shown { bytes, size, end_of_stream: is_last })
    }

    /// Calls the guest, and passes on or holds back what it leaves.
    fn call(&mut self, run: &Run, index: usize, phase: Phase, shown: Shown) -> Result<(), PipeError> {
        let (exchange, stage) = (run.exchange(), &mut self.stages[index]);
        let position = stage.position;
        if !stage.is_paused {
            // A resume from before a pause is not an answer to it.
            let _ = exchange.signals.take_resumed(position, self.side);
        }
        let before = shown.bytes.len();
        exchange.body(self.side).replace(Some(Body::new(shown.bytes, stage.grown_max)));
        let verdict = run.call_guest(position, phase, shown.size, shown.end_of_stream);
        let bytes = exchange.body(self.side).take().map(Body::into_bytes).unwrap_or_default();
        self.has_new_length |= bytes.len() != before;
        let verdict = verdict?;
        run.check_closed(phase)?;
        match verdict {
            Verdict::Continue => {
                stage.is_paused = false;
                match stage.intake {
                    Intake::Nothing => self.forward(run, index + 1, bytes, false, false),
                    _ => self.let_go(run, index, bytes),
                }
            }
            Verdict::Replied(reply) => {
                run.answered_by(position, self.side);
                Err(PipeError::Replied(reply))
            }
            Verdict::Pause(kind) => self.hold(run, index, kind, bytes),
        }
    }

    /// Passes on what a guest let go: data, then trailers.
    fn let_go(&mut self, run: &Run, index: usize, bytes: Bytes) -> Result<(), PipeError> {
        let stage = &self.stages[index];
        let (has_ended, has_trailers) = (stage.has_ended, stage.has_trailers);
        self.forward(run, index + 1, bytes, has_ended, has_trailers)
    }

    fn forward(
        &mut self,
        run: &Run,
        index: usize,
        bytes: Bytes,
        has_ended: bool,
        has_trailers: bool,
    ) -> Result<(), PipeError> {
        let is_last = has_ended && !has_trailers;
        if is_last || !bytes.is_empty() {
            self.pass(run, index, Piece::Data { bytes, is_last })?;
        }
        match has_trailers {
            true => self.pass(run, index, Piece::Trailers),
            false => Ok(()),
        }
    }

    fn hold(&mut self, run: &Run, index: usize, kind: PauseKind, bytes: Bytes) -> Result<(), PipeError> {
        let stage = &mut self.stages[index];
        run.hold(stage.position);
        stage.is_paused = true;
        stage.kind = kind;
        stage.held = match kind {
            PauseKind::NoBuffer => Bytes::new(),
            PauseKind::Buffer | PauseKind::Watermark => bytes,
        };
        // Reading stops when a watermark is reached, so only one piece can be above it.
        match matches!(kind, PauseKind::Buffer) && stage.held.len() > stage.grown_max {
            true => Err(self.too_large(run, index)),
            false => Ok(()),
        }
    }

    fn too_large(&self, run: &Run, index: usize) -> PipeError {
        let stage = &self.stages[index];
        run.note(stage.position, body_phase(self.side), "the body is too large for it");
        PipeError::TooLarge { max: stage.max }
    }
}

/// What a guest sees in one callback.
struct Shown {
    bytes: Bytes,
    /// What it is told: bytes, or how many trailers there are.
    size: usize,
    end_of_stream: bool,
}

/// The phase of a side's body.
pub(super) fn body_phase(side: Side) -> Phase {
    match side {
        Side::Request => Phase::RequestBody,
        Side::Response => Phase::ResponseBody,
    }
}

pub(super) fn trailers_phase(side: Side) -> Phase {
    match side {
        Side::Request => Phase::RequestTrailers,
        Side::Response => Phase::ResponseTrailers,
    }
}

/// What was held, and what has come.
pub(in crate::filter) fn join(held: &mut Bytes, more: Bytes) -> Bytes {
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
