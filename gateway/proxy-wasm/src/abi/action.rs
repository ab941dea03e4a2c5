//! What a callback decided.
//!
//! The specification knows continue (0) and pause (1). The C++ SDK and the Go SDKs built on its
//! numbers return wider codes, which mean different things by phase:
//!
//! | code | headers | body | trailers | connection, its data |
//! |---|---|---|---|---|
//! | 0 | continue | continue | continue | continue |
//! | 1 | stop | stop and buffer | stop | stop and buffer |
//! | 2 | (unused) | stop and apply back-pressure | stop | |
//! | 3 | stop and buffer | stop and drop | stop | |
//! | 4 | stop and apply back-pressure | | | |
//!
//! A stop after headers holds everything that follows, as the C++ host does by default. A code beyond
//! the table is read as the strictest stop of its phase: a guest newer than this host must not open
//! a door by mistake.

/// What the gateway does after a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Pass on what the callback saw.
    Continue,
    /// Hold it until the guest resumes the stream, answers itself, or closes the stream.
    Pause(PauseKind),
}

/// How a paused stream treats the data that keeps arriving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseKind {
    /// Keep it, up to the gateway's limit; beyond the limit the exchange fails (413 or 502).
    Buffer,
    /// Keep it, up to the gateway's limit; beyond the limit stop reading from the peer.
    Watermark,
    /// Body only: the guest has consumed this chunk, forget it.
    NoBuffer,
}

/// Where in the exchange a callback stands: the same code means different things by phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Headers,
    Body,
    Trailers,
    /// A new TCP connection, and its data: 0 continues, all else stops and buffers.
    Connection,
}

impl Action {
    pub(crate) const fn from_wire(phase: Phase, code: u32) -> Self {
        match (phase, code) {
            (_, 0) => Self::Continue,
            (Phase::Headers, 3) | (Phase::Body, 1) | (Phase::Connection, _) => Self::Pause(PauseKind::Buffer),
            (Phase::Headers | Phase::Trailers, _) | (Phase::Body, 2) => Self::Pause(PauseKind::Watermark),
            (Phase::Body, _) => Self::Pause(PauseKind::NoBuffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_different_things_by_phase() {
        let table = [
            (Phase::Headers, 0, Action::Continue),
            (Phase::Headers, 1, Action::Pause(PauseKind::Watermark)),
            (Phase::Headers, 2, Action::Pause(PauseKind::Watermark)),
            (Phase::Headers, 3, Action::Pause(PauseKind::Buffer)),
            (Phase::Headers, 4, Action::Pause(PauseKind::Watermark)),
            (Phase::Headers, 99, Action::Pause(PauseKind::Watermark)),
            (Phase::Body, 0, Action::Continue),
            (Phase::Body, 1, Action::Pause(PauseKind::Buffer)),
            (Phase::Body, 2, Action::Pause(PauseKind::Watermark)),
            (Phase::Body, 3, Action::Pause(PauseKind::NoBuffer)),
            (Phase::Body, u32::MAX, Action::Pause(PauseKind::NoBuffer)),
            (Phase::Trailers, 0, Action::Continue),
            (Phase::Trailers, 1, Action::Pause(PauseKind::Watermark)),
            (Phase::Trailers, 7, Action::Pause(PauseKind::Watermark)),
            (Phase::Connection, 0, Action::Continue),
            (Phase::Connection, 1, Action::Pause(PauseKind::Buffer)),
            (Phase::Connection, 9, Action::Pause(PauseKind::Buffer)),
        ];
        for (phase, code, expected) in table {
            assert_eq!(Action::from_wire(phase, code), expected, "{phase:?} {code}");
        }
    }
}
