//! Signals that a gateway answers.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
pub(super) enum Received {
    HangUp,
    End(SignalKind),
}

/// Signals that the gateway answers.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received::End(SignalKind::terminate()),
            _ = self.interrupt.recv() => Received::End(SignalKind::interrupt()),
            _ = self.hangup.recv() => Received::HangUp,
        }
    }

    /// The next signal to end; what else comes before it is left out.
    pub(super) async fn end(&mut self) -> SignalKind {
        loop {
            if let Received::End(kind) = self.next().await {
                return kind;
            }
        }
    }
}
