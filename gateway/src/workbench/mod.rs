//! Filters and policies at work without traffic: what `tollgate filter` and `tollgate test` show.
//!
//! A filter here runs on the host code that serves requests: a generation with one route and one
//! filter ([`Stage`]), on a guarded thread with a current-thread runtime, its module from the same
//! compiler and cache. Only the two ends are not sockets: [`drive`] takes the place of the spine,
//! hands the request to the chain, plays the upstream, and takes down what comes out ([`Outcome`]).
//! Side calls go to origins on loopback that play a script (`origin`).
//!
//! A whole policy runs in [`policy`], whose two ends are sockets.
//!
//! * `cases` runs test cases and compares. `bench` repeats an exchange and takes times (`measure`).
//! * [`replay`] plays what a gateway recorded, and compares.
//! * [`inspect`] looks at a module without running it.
//!
//! Limits: those of the policy's defaults; a log of 10 000 lines per case.

pub mod bench;
pub mod cases;
mod exchange;
pub mod inspect;
mod log;
pub mod measure;
mod origin;
mod pieces;
pub mod policy;
pub mod replay;
mod stage;

use std::io;

pub use exchange::{End, Outcome, Received, Sent, drive};
pub use log::{Line, Lines};
pub use stage::{Stage, StageError};

/// Runs `work` on a guarded thread with a runtime, as a worker's requests run.
///
/// # Errors
/// If the thread or its runtime cannot be made, or the work panicked.
pub fn on_worker<T: Send>(log: Lines, work: impl AsyncFnOnce() -> T + Send) -> io::Result<T> {
    tollgate_wasmedge::run_guarded("filter", move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())?;
        tracing::subscriber::with_default(log.subscriber(), || Ok(runtime.block_on(work())))
    })?
}
