//! A filter in shadow beside a body's way: it is shown what its mode says, of copies, and nothing waits.

use bytes::Bytes;

use super::Piece;
use super::stage::{Intake, body_phase, join, trailers_phase};
use crate::filter::exchange::Side;
use crate::filter::run::{Run, Sighted};
use crate::policy::bodies::BodyMode;

/// A filter in shadow.
pub(super) struct Watcher {
    position: usize,
    /// The stage that it stands before.
    pub(super) stage: usize,
    intake: Intake,
    /// Bytes that it may be shown, or would hold back.
    max: usize,
    grown_max: usize,
    /// What is gathered for it, or what it would hold back.
    held: Bytes,
}

impl Watcher {
    pub(super) fn new(position: usize, stage: usize, mode: BodyMode, max: usize) -> Self {
        let (intake, shown_max) = Intake::of(mode, max);
        let grown_max = shown_max.max(max);
        Self { position, stage, intake, max: shown_max, grown_max, held: Bytes::new() }
    }

    /// A piece goes past.
    pub(super) fn see(&mut self, run: &Run, side: Side, piece: &Piece) {
        match piece {
            Piece::Data { bytes, is_last } => self.see_data(run, side, bytes.clone(), *is_last),
            Piece::Trailers => self.see_trailers(run, side),
        }
    }

    fn see_data(&mut self, run: &Run, side: Side, mut bytes: Bytes, is_last: bool) {
        let room = self.max.saturating_sub(self.held.len());
        match self.intake {
            Intake::Nothing => {}
            Intake::Each => self.show(run, side, bytes, is_last),
            Intake::Whole if bytes.len() > room => self.give_up(run, side),
            Intake::Whole if is_last => self.show(run, side, bytes, true),
            Intake::Whole => self.held = join(&mut self.held, bytes),
            Intake::Beginning if bytes.len() < room && !is_last => self.held = join(&mut self.held, bytes),
            Intake::Beginning => {
                let is_whole = is_last && bytes.len() <= room;
                bytes.truncate(room);
                self.show(run, side, bytes, is_whole);
                self.intake = Intake::Nothing;
            }
        }
    }

    fn see_trailers(&mut self, run: &Run, side: Side) {
        match self.intake {
            Intake::Nothing => return,
            Intake::Each => {}
            // It is shown as whole first.
            Intake::Whole | Intake::Beginning => self.show(run, side, Bytes::new(), true),
        }
        if self.intake != Intake::Nothing {
            run.shadow_trailers(self.position, trailers_phase(side));
        }
    }

    /// Shows what was held together with what has come.
    fn show(&mut self, run: &Run, side: Side, more: Bytes, end_of_stream: bool) {
        let bytes = join(&mut self.held, more);
        let sighted = Sighted { bytes, grown_max: self.grown_max, end_of_stream };
        match run.shadow_body(self.position, body_phase(side), sighted) {
            Some(held) if held.len() > self.grown_max => self.give_up(run, side),
            Some(held) => self.held = held,
            None => self.intake = Intake::Nothing,
        }
    }

    fn give_up(&mut self, run: &Run, side: Side) {
        self.held = Bytes::new();
        self.intake = Intake::Nothing;
        run.shadow_too_large(self.position, body_phase(side));
    }
}
