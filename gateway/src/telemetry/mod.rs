//! What operators see: metrics, access log, program log.
//!
//! Nothing here blocks or slows a worker: [`metrics`] are relaxed atomic adds on handles resolved
//! before the first request, [`access_log`] is a bounded queue to a thread of its own that drops
//! and counts rather than waits, and the program log ([`logging`]) is for what is rare.
//!
//! Labels are bounded: they are names of the policy in force and closed sets of ours, never
//! anything a client sends.

pub mod access_log;
pub mod logging;
pub mod metrics;
mod phase;
pub mod shadow;
mod timestamp;

pub use phase::Phase;
pub use timestamp::Timestamp;
