//! A generation: one policy at work, with one number.
//!
//! 1. [`Blueprint`]: what all workers share, made by the control side: the policy, its routes in a
//!    table, token buckets, compiled modules, metrics. What did not change is carried over.
//! 2. [`Generation`]: what one worker builds from it beside the one it runs: filter chains, VMs and
//!    plugins, upstream pools. What did not change is carried over again, by identity.
//! 3. Commit is one pointer. An old generation is freed on its worker when its last request ends.
//!
//! A policy with `rollout` is built likewise and then serves a share of the requests beside the one in force
//! (`trial`), until it takes its place or is dropped.
//!
//! `modules` compiles, `canary` tries filters out before any worker sees them; `difference` tells people
//! beforehand what a change would do.

pub mod blueprint;
mod build;
pub mod canary;
pub mod difference;
pub mod modules;
mod retire;
mod tcp;
pub mod trial;

pub use blueprint::{Blueprint, Compiled, Modules};
pub use build::{BuildError, Generation, Next, RouteRuntime, Site};
pub use retire::{Retirements, Serving};
pub use tcp::{Serves, TcpRuntime};
pub use trial::Trial;
